//! Decides which secrets each pair of nodes mixes into its handshakes: out of one secret for each pair
//! of clusters, or what the two nodes' agents agreed on.
//!
//! No two pairs of nodes have the same, so that what one node knows opens no tunnel between others
//! without its cluster's secret.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use topology::id::{ClusterName, NodeName};
use topology::report::Problem;
use wireguard::uapi::{DeviceState, PeerState};
use wireguard::{PresharedKey, PublicKey};
use zeroize::Zeroizing;

use crate::desired::Peer;

/// Everything that says which secret goes with whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secrets {
    /// The secrets of the own cluster with others; `None` where the operator wants no such secrets.
    pub files: Option<BTreeMap<ClusterName, Shared>>,
    /// What was agreed on with each node; `None` where nothing is to be, and a device without files
    /// keeps what it has.
    pub agreed: Option<BTreeMap<(ClusterName, NodeName), Orders>>,
}

/// The secret of two clusters; [`PresharedKey::none`] where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    pub current: PresharedKey,
    /// What it was before, as long as the other side may have it still.
    pub former: Option<PresharedKey>,
}

/// What a device should have for a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    pub main: Choice,
    pub alternate: Option<Choice>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// What two agents agreed on.
    Agreed(PresharedKey),
    /// What follows from the clusters' secret and both nodes' keys.
    Base,
}

/// What follows from the clusters' secret for two nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bases {
    pub current: PresharedKey,
    pub former: Option<PresharedKey>,
}

/// The secrets themselves, as a device has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub main: PresharedKey,
    pub alternate: Option<PresharedKey>,
}

/// Not secret; keeps these secrets apart from all others that may be made of the same one.
const SALT: &[u8] = b"causeway wireguard preshared key 1";

/// WireGuard refuses a session that is older (Reject-After-Time).
const SESSION_SECONDS_MAX: u64 = 180;

impl Secrets {
    /// What the device should have for `peer`, the key of which is one of `ends`; `None` leaves it with
    /// what it has.
    ///
    /// It follows from the keys of this very moment: a secret must not lag behind a key that changes.
    pub fn wanted(&self, peer: &Peer, ends: [PublicKey; 2], is_new: bool) -> Option<Resolved> {
        let bases = || Bases::of(self.files.as_ref(), &peer.cluster, ends);
        let Some(agreed) = &self.agreed else {
            self.files.as_ref()?;
            return Some(Orders::BASE.resolve(&bases()));
        };
        match agreed.get(&(peer.cluster.clone(), peer.node.clone())) {
            Some(orders) => Some(orders.resolve(&bases())),
            None if is_new => Some(Orders::BASE.resolve(&bases())),
            // An earlier agent may have agreed on it; that is found out first.
            None => None,
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            current: PresharedKey::none(),
            former: None,
        }
    }
}

impl Bases {
    pub fn of(
        files: Option<&BTreeMap<ClusterName, Shared>>,
        cluster: &ClusterName,
        ends: [PublicKey; 2],
    ) -> Self {
        let shared = files.and_then(|it| it.get(cluster));
        let of = |secret: &PresharedKey| match secret.is_none() {
            true => PresharedKey::none(),
            false => pair(secret, ends),
        };
        Self {
            current: shared.map_or_else(PresharedKey::none, |it| of(&it.current)),
            former: shared.and_then(|it| it.former.as_ref()).map(of),
        }
    }
}

impl Orders {
    const BASE: Self = Self {
        main: Choice::Base,
        alternate: None,
    };

    /// What a device has: all that does not follow from files was agreed on, and nobody agrees on
    /// nothing.
    pub fn adopt(held: &Resolved, bases: &Bases) -> Self {
        let choice = |it: &PresharedKey| match *it == bases.current {
            true => Choice::Base,
            false => Choice::Agreed(it.clone()),
        };
        let former = bases.former.as_ref();
        let alternate = held.alternate.as_ref().filter(|it| Some(*it) != former);
        Self {
            main: if held.main.is_none() {
                Choice::Base
            } else {
                choice(&held.main)
            },
            alternate: alternate.map(choice),
        }
    }

    pub fn resolve(&self, bases: &Bases) -> Resolved {
        let main = self.main.resolve(bases);
        let former = bases.former.as_ref().filter(|_| self.main == Choice::Base);
        let alternate = self.alternate.as_ref().map(|it| it.resolve(bases));
        let alternate = alternate.or(former).filter(|it| *it != main);
        Resolved {
            main: main.clone(),
            alternate: alternate.cloned(),
        }
    }
}

impl Choice {
    pub fn resolve<'a>(&'a self, bases: &'a Bases) -> &'a PresharedKey {
        match self {
            Self::Agreed(secret) => secret,
            Self::Base => &bases.current,
        }
    }
}

impl From<&PeerState> for Resolved {
    fn from(state: &PeerState) -> Self {
        let main = state.preshared_key.clone();
        Self {
            main: main.unwrap_or_else(PresharedKey::none),
            alternate: state.alternate_preshared_key.clone(),
        }
    }
}

/// The secret of two nodes, the same from both ends.
pub fn pair(secret: &PresharedKey, ends: [PublicKey; 2]) -> PresharedKey {
    let [first, second] = if ends[0] <= ends[1] {
        ends
    } else {
        [ends[1], ends[0]]
    };
    let hex = Zeroizing::new(secret.to_hex());
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(hex.as_bytes());
    let mut bytes = Zeroizing::new([0; 32]);
    extracted
        .expand(&[first.as_bytes(), second.as_bytes()], HKDF_SHA256)
        .and_then(|it| it.fill(&mut *bytes))
        .expect("an output as long as the hash is not too long");
    (*bytes).into()
}

/// The clusters with a secret to which there has been no session for so long that the secrets may
/// differ. A secret that was replaced on one side only shows here when the last session is over.
pub fn problems(
    files: Option<&BTreeMap<ClusterName, Shared>>,
    peers: &BTreeMap<PublicKey, Peer>,
    device: &DeviceState,
    now_unix_seconds: u64,
) -> BTreeSet<Problem> {
    let Some(files) = files else {
        return BTreeSet::new();
    };
    let silent = peers.iter().filter(|(key, peer)| {
        let state = device.peers.get(key);
        let handshake = state.and_then(|it| it.last_handshake);
        let is_fresh = handshake
            .is_some_and(|it| now_unix_seconds < it.seconds.saturating_add(SESSION_SECONDS_MAX));
        // Nothing was tried where nothing was sent.
        let is_tried = state.is_some_and(|it| 0 < it.sent_bytes);
        let has_secret = files
            .get(&peer.cluster)
            .is_some_and(|it| !it.current.is_none());
        has_secret && is_tried && !is_fresh && peer.successor_of.is_none()
    });
    silent
        .map(|(_, peer)| Problem {
            what: format!(
                "no handshake with {}/{} for {SESSION_SECONDS_MAX} s; it may have another preshared secret",
                peer.cluster, peer.node
            ),
            remedy: format!(
                "compare the file {} in --wireguard-psk with the one for this cluster on the other side; if they are equal, check that UDP 51871 passes",
                peer.cluster
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use wireguard::uapi::UnixTime;

    use super::*;

    #[test]
    fn is_the_same_from_both_ends_and_another_for_others() {
        let secret = PresharedKey::from([7; 32]);

        assert_eq!(
            pair(&secret, [key(1), key(2)]),
            pair(&secret, [key(2), key(1)])
        );
        assert_ne!(
            pair(&secret, [key(1), key(2)]),
            pair(&secret, [key(1), key(3)])
        );
        let other = PresharedKey::from([8; 32]);
        assert_ne!(
            pair(&secret, [key(1), key(2)]),
            pair(&other, [key(1), key(2)])
        );
    }

    #[test]
    fn stays_what_it_is_across_releases() {
        let derived = pair(&PresharedKey::from([7; 32]), [key(1), key(2)]);

        // Python: hkdf of hashlib and hmac, as in RFC 5869.
        assert_eq!(derived.to_hex(), DERIVED);
    }

    #[test]
    fn suspects_a_secret_when_handshakes_fail() {
        let endpoint: SocketAddr = "192.0.2.1:51871".parse().unwrap();
        let peer = Peer {
            cluster: "us".parse().unwrap(),
            node: "node-1".parse().unwrap(),
            endpoint,
            endpoints: vec![endpoint],
            successor_of: None,
        };
        let peers = BTreeMap::from([(key(1), peer)]);
        let shared = |current| Shared {
            current,
            former: None,
        };
        let files = |it| Some(BTreeMap::from([("us".parse().unwrap(), shared(it))]));
        let found =
            |files: &Option<BTreeMap<ClusterName, Shared>>, sent_bytes, handshake: Option<u64>| {
                let state = PeerState {
                    sent_bytes,
                    last_handshake: handshake.map(|seconds| UnixTime {
                        seconds,
                        nanoseconds: 0,
                    }),
                    ..PeerState::default()
                };
                let device = DeviceState {
                    peers: BTreeMap::from([(key(1), state)]),
                    ..DeviceState::default()
                };
                problems(files.as_ref(), &peers, &device, 1_000).len()
            };

        let with = files([7; 32].into());
        let without = files(PresharedKey::none());
        assert_eq!(found(&with, 1, None), 1);
        assert_eq!(found(&with, 1, Some(1_000 - SESSION_SECONDS_MAX)), 1);
        assert_eq!(found(&with, 1, Some(999)), 0);
        assert_eq!(found(&with, 0, None), 0, "nothing was tried");
        assert_eq!(found(&without, 1, None), 0, "there is no secret");
        assert_eq!(found(&None, 1, None), 0, "none is wanted");
    }

    const DERIVED: &str = "47effd91e5f1bcd2c3321634a689e7a93707fc8b6185a5db310d93496057c7e5";

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
