//! Decides where each node is looked for: at the likeliest place first, and at the next one as long as
//! no handshake comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wireguard::PublicKey;
use wireguard::uapi::PeerState;

use crate::desired::Desired;

/// How long one place is tried: two handshakes, which begin 5 s apart.
const TRY: Duration = Duration::from_secs(11);

/// A session in use is renewed after 120 s, and for a quarter of a minute the old one is good enough.
const HANDSHAKE_SECONDS_MAX: u64 = 135;

/// A node whose packets come from elsewhere than it says is behind NAT, which forgets who is silent
/// for longer than 30 s.
const NAT_KEEPALIVE_SECONDS: u16 = 25;

/// Keeps tunnels known to be up where no probes do, and heals them fast: less than WireGuard's own
/// 10 s, more than its 5 s between handshakes would allow to be useful.
pub const KEEPALIVE_SECONDS: u16 = 5;

/// Where every peer was looked for last.
#[derive(Debug, Default)]
pub struct Search {
    sought: BTreeMap<PublicKey, Sought>,
}

#[derive(Debug)]
struct Sought {
    /// What was announced then, the likeliest first.
    places: Vec<SocketAddr>,
    index: usize,
    since: Instant,
}

/// What is known when places are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub peers: &'a BTreeMap<PublicKey, PeerState>,
    /// Peers whose tunnels do not answer probes.
    pub unhealthy: &'a BTreeSet<PublicKey>,
    pub now: Instant,
    pub now_unix_seconds: u64,
}

impl Search {
    /// The endpoints to set now: none for peers that are where they should be, or that roamed.
    pub fn places(&mut self, desired: &Desired, seen: Seen<'_>) -> BTreeMap<PublicKey, SocketAddr> {
        self.sought.retain(|key, _| desired.peers.contains_key(key));
        // A successor is where its predecessor is.
        let peers = desired.peers.iter();
        let peers = peers.filter(|(_, it)| it.successor_of.is_none());
        let moves = peers.filter_map(|(key, peer)| {
            let state = seen.peers.get(key);
            let place = self.place(*key, &peer.endpoints, state, seen)?;
            (state.and_then(|it| it.endpoint) != Some(place)).then_some((*key, place))
        });
        moves.collect()
    }

    fn place(
        &mut self,
        key: PublicKey,
        places: &[SocketAddr],
        state: Option<&PeerState>,
        seen: Seen<'_>,
    ) -> Option<SocketAddr> {
        let first = *places.first()?;
        let endpoint = state.and_then(|it| it.endpoint);
        let is_up = is_up(key, state, seen);
        let Some(sought) = self.sought.get_mut(&key) else {
            // An earlier agent may have found it.
            let index = places.iter().position(|it| Some(*it) == endpoint);
            let found = index.filter(|_| is_up);
            self.sought
                .insert(key, Sought::at(places, found.unwrap_or(0), seen.now));
            return (!is_up || endpoint.is_none()).then_some(first);
        };
        if sought.places != places {
            *sought = Sought::at(places, 0, seen.now);
            return Some(first);
        }
        if endpoint.is_none() {
            return Some(sought.places[sought.index]);
        }
        if is_up {
            sought.since = seen.now;
            return None;
        }
        if sought.since + TRY <= seen.now {
            sought.index = (sought.index + 1) % sought.places.len();
            sought.since = seen.now;
            return Some(sought.places[sought.index]);
        }
        None
    }
}

impl Sought {
    fn at(places: &[SocketAddr], index: usize, now: Instant) -> Self {
        Self {
            places: places.to_vec(),
            index,
            since: now,
        }
    }
}

/// Whether the peer answers where it is looked for now. One that was never sent anything is not
/// looked for.
fn is_up(key: PublicKey, state: Option<&PeerState>, seen: Seen<'_>) -> bool {
    let Some(state) = state else {
        return false;
    };
    let is_silent = state.last_handshake.is_none() && state.sent_bytes == 0;
    let age_seconds = state
        .last_handshake
        .map(|it| seen.now_unix_seconds.saturating_sub(it.seconds));
    let max = if seen.unhealthy.contains(&key) {
        TRY.as_secs()
    } else {
        HANDSHAKE_SECONDS_MAX
    };
    is_silent || age_seconds.is_some_and(|it| it < max)
}

/// Seconds between keepalives towards a peer, which needs them when it is behind NAT, when we are, or
/// when nothing else tries the tunnel.
pub fn keepalive_seconds(
    places: &[SocketAddr],
    state: Option<&PeerState>,
    is_own_behind_nat: bool,
    is_probed: bool,
) -> u16 {
    let has_session = |it: &&PeerState| it.last_handshake.is_some();
    let endpoint = state.filter(has_session).and_then(|it| it.endpoint);
    let is_behind_nat = endpoint.is_some_and(|it| !places.contains(&it));
    match (is_behind_nat || is_own_behind_nat, is_probed) {
        (_, false) => KEEPALIVE_SECONDS,
        (true, true) => NAT_KEEPALIVE_SECONDS,
        (false, true) => 0,
    }
}

#[cfg(test)]
mod tests;
