//! Decides which secret each pair of nodes mixes into its handshakes, out of one secret for each pair
//! of clusters.
//!
//! No two pairs of nodes have the same, so that what one node knows opens no tunnel between others
//! without its cluster's secret.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use topology::id::ClusterName;
use topology::report::Problem;
use wireguard::uapi::DeviceState;
use wireguard::{PresharedKey, PublicKey};

use crate::desired::Peer;

/// The secrets of the own cluster with others; `None` where the operator wants no such secrets, and
/// the device keeps what it has.
pub type Secrets = Option<BTreeMap<ClusterName, PresharedKey>>;

/// Not secret; keeps these secrets apart from all others that may be made of the same one.
const SALT: &[u8] = b"causeway wireguard preshared key 1";

/// WireGuard refuses a session that is older (Reject-After-Time).
const SESSION_SECONDS_MAX: u64 = 180;

/// The secret of two nodes, the same from both ends.
pub fn pair(secret: &PresharedKey, ends: [PublicKey; 2]) -> PresharedKey {
    let [first, second] = if ends[0] <= ends[1] {
        ends
    } else {
        [ends[1], ends[0]]
    };
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret.to_hex().as_bytes());
    let mut bytes = [0; 32];
    extracted
        .expand(&[first.as_bytes(), second.as_bytes()], HKDF_SHA256)
        .and_then(|it| it.fill(&mut bytes))
        .expect("an output as long as the hash is not too long");
    bytes.into()
}

/// The clusters with a secret to which there has been no session for so long that the secrets may
/// differ. A secret that was replaced on one side only shows here when the last session is over.
pub fn problems(
    secrets: &Secrets,
    peers: &BTreeMap<PublicKey, Peer>,
    device: &DeviceState,
    now_unix_seconds: u64,
) -> BTreeSet<Problem> {
    let Some(secrets) = secrets else {
        return BTreeSet::new();
    };
    let silent = peers.iter().filter(|(key, peer)| {
        let state = device.peers.get(key);
        let handshake = state.and_then(|it| it.last_handshake);
        let is_fresh = handshake
            .is_some_and(|it| now_unix_seconds < it.seconds.saturating_add(SESSION_SECONDS_MAX));
        // Nothing was tried where nothing was sent.
        let is_tried = state.is_some_and(|it| 0 < it.sent_bytes);
        secrets.contains_key(&peer.cluster) && is_tried && !is_fresh && peer.successor_of.is_none()
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

    use wireguard::uapi::{PeerState, UnixTime};

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
        let secrets = BTreeMap::from([("us".parse().unwrap(), PresharedKey::from([7; 32]))]);
        let found = |secrets: &Secrets, sent_bytes, handshake: Option<u64>| {
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
            problems(secrets, &peers, &device, 1_000).len()
        };

        let with = Some(secrets);
        assert_eq!(found(&with, 1, None), 1);
        assert_eq!(found(&with, 1, Some(1_000 - SESSION_SECONDS_MAX)), 1);
        assert_eq!(found(&with, 1, Some(999)), 0);
        assert_eq!(found(&with, 0, None), 0, "nothing was tried");
        assert_eq!(found(&None, 1, None), 0, "there is no secret");
    }

    const DERIVED: &str = "47effd91e5f1bcd2c3321634a689e7a93707fc8b6185a5db310d93496057c7e5";

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
