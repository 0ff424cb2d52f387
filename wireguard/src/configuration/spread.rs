//! Decides whom a packet goes to: the peer that its destination is routed to, or one of several that
//! share the prefix.
//!
//! Of several, each flow prefers one (rendezvous hashing): flows are spread evenly, and when a peer
//! has no session, or comes or goes, no flows move but its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Configuration, Peer, PeerIndex};
use crate::PublicKey;
use crate::flow::{flow_hash, mixed};
use crate::session::Session;
use crate::tunnel::Now;

/// What is to be done with a packet.
pub(crate) enum Way<'a> {
    Open(Open<'a>),
    /// It has to wait for a session with this peer.
    Shut(&'a Arc<Peer>),
}

/// Where a packet can be sent at once.
pub(crate) struct Open<'a> {
    /// Whose session it is, which may be the partner of the peer that the packet is for.
    pub(crate) peer: &'a Arc<Peer>,
    pub(crate) session: Arc<Session>,
    /// Whom the flow would prefer if there were a session, which can be asked for.
    pub(crate) missed: Option<&'a Arc<Peer>>,
}

/// Which flows prefer a peer, as a number. It begins as the key's, so that it is the same after
/// a restart; who succeeds another takes over its flows.
pub(super) struct Seat(AtomicU64);

impl Configuration {
    /// Where a packet with this destination goes now. `None` if it is routed to nobody.
    pub(crate) fn way(&self, packet: &[u8], destination: IpAddr, now: Now) -> Option<Way<'_>> {
        match self.allowed_ips.receivers(destination) {
            [] => None,
            [one] => Some(self.way_to(self.peers_by_index.get(one)?, now)),
            several => self.way_to_one_of(several, flow_hash(packet), now),
        }
    }

    /// Whether an end can be asked for a session, under either key.
    pub(crate) fn is_somewhere(&self, peer: &Peer) -> bool {
        let has_endpoint = |it: &Peer| it.tunnel.endpoint().is_some();
        has_endpoint(peer) || self.partner(peer).is_some_and(|it| has_endpoint(it))
    }

    fn way_to<'a>(&'a self, peer: &'a Arc<Peer>, now: Now) -> Way<'a> {
        match self.pairs.sender(peer, now) {
            None => Way::Shut(peer),
            Some((peer, session)) => Way::Open(Open {
                peer,
                session,
                missed: None,
            }),
        }
    }

    /// The way that a flow prefers among those that are open, if any is.
    fn way_to_one_of(&self, peers: &[PeerIndex], flow: u64, now: Now) -> Option<Way<'_>> {
        // Whom the flow prefers among all, but for those of which nobody knows where they are.
        let mut first: Option<((bool, u64), &Arc<Peer>)> = None;
        let mut best: Option<(u64, Open<'_>)> = None;
        for peer in peers.iter().filter_map(|it| self.peers_by_index.get(it)) {
            let weight = peer.seat.weight(flow);
            let rank = (self.is_somewhere(peer), weight);
            if first.is_none_or(|(other, _)| other < rank) {
                first = Some((rank, peer));
            }
            let is_better = best.as_ref().is_none_or(|(other, _)| *other < weight);
            if is_better && let Way::Open(open) = self.way_to(peer, now) {
                best = Some((weight, open));
            }
        }
        let ((is_somewhere, weight), first) = first?;
        Some(match best {
            None => Way::Shut(first),
            Some((chosen, open)) => Way::Open(Open {
                missed: (is_somewhere && chosen < weight).then_some(first),
                ..open
            }),
        })
    }
}

impl Seat {
    pub(super) fn of(key: &PublicKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
        Self(AtomicU64::new(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }

    pub(super) fn take_over(&self, other: &Self) {
        let seat = other.0.load(Ordering::Relaxed);
        self.0.store(seat, Ordering::Relaxed);
    }

    fn weight(&self, flow: u64) -> u64 {
        mixed(flow ^ self.0.load(Ordering::Relaxed))
    }
}
