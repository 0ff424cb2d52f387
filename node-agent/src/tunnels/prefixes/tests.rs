//! Applies plans to a model of a device, as strictly as the device itself.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;
use wireguard::PublicKey;
use wireguard::uapi::{AllowedIpChange, DeviceState, PeerState, Update};

use crate::desired::{Desired, Peer, Ways};
use crate::preshared::Secrets;
use crate::search::KEEPALIVE_SECONDS;
use crate::tunnels::{Wish, is_extended, plan};

proptest! {
    #[test]
    fn gives_each_prefix_to_whom_it_should_be_sent(
        before in device(), wanted in ways(), is_plain in any::<bool>(),
    ) {
        let desired = desired(wanted);
        let wish = Wish { is_plain, ..wish(&desired) };
        let mut device = before.clone();

        if let Some(update) = plan(&before, &wish) {
            prop_assert!(!is_plain || !is_extended(&update), "{update:?}");
            follow(&mut device, &update, &desired)?;
        }

        prop_assert_eq!(plan(&device, &wish), None, "a second plan after {:?}", before);
        for (prefix, ways) in &desired.allowed_ips {
            let (sent, accepted) = holders(&device, prefix);
            if is_plain {
                prop_assert_eq!((sent, accepted), ([ways.first].into(), BTreeSet::new()));
            } else {
                prop_assert_eq!((&sent, &accepted), (&ways.sent, &ways.accepted));
            }
        }
        let known = |it: &IpNet| desired.allowed_ips.contains_key(it);
        for peer in device.peers.values() {
            prop_assert!(peer.allowed_ips.iter().all(known), "{:?}", device);
        }
        let peers: BTreeSet<&PublicKey> = device.peers.keys().collect();
        prop_assert_eq!(peers, desired.peers.keys().collect::<BTreeSet<_>>());
    }

    #[test]
    fn takes_nothing_from_anybody_that_might_still_be_wanted(before in device(), wanted in ways()) {
        let desired = desired(wanted);
        let wish = Wish { keep_unknown: true, ..wish(&desired) };
        let mut device = before.clone();

        if let Some(update) = plan(&before, &wish) {
            follow(&mut device, &update, &desired)?;
        }

        prop_assert_eq!(plan(&device, &wish), None);
        for prefix in PREFIXES.map(|it| it.parse::<IpNet>().unwrap()) {
            let (sent, _) = holders(&device, &prefix);
            let (sent_before, _) = holders(&before, &prefix);
            match desired.allowed_ips.get(&prefix) {
                Some(ways) => prop_assert!(ways.sent.is_subset(&sent)),
                None => prop_assert_eq!(sent, sent_before),
            }
        }
        prop_assert!(before.peers.keys().all(|it| device.peers.contains_key(it)));
    }
}

const PREFIXES: [&str; 3] = ["10.2.1.0/24", "10.2.2.0/24", "fd02::/64"];

/// Any peers with any prefixes, of which each is in one role at most with each peer; keys 1 to 4 are
/// wanted, 5 is not.
fn device() -> impl Strategy<Value = DeviceState> {
    let roles = prop::collection::vec(0..3_u8, PREFIXES.len());
    prop::collection::btree_map(1..=5_u8, roles, 0..5).prop_map(|peers| {
        let peers = peers.into_iter().map(|(number, roles)| {
            let mut state = PeerState {
                persistent_keepalive_seconds: KEEPALIVE_SECONDS,
                ..PeerState::default()
            };
            for (prefix, role) in PREFIXES.iter().zip(roles) {
                let prefix = prefix.parse().unwrap();
                let _nowhere = match role {
                    0 => false,
                    1 => state.allowed_ips.insert(prefix),
                    _ => state.accepted_ips.insert(prefix),
                };
            }
            (key(number), state)
        });
        DeviceState {
            peers: peers.collect(),
            ..DeviceState::default()
        }
    })
}

fn ways() -> impl Strategy<Value = BTreeMap<IpNet, Ways>> {
    let some = prop::collection::btree_set((1..=4_u8).prop_map(key), 1..4);
    let more = prop::collection::btree_set((1..=4_u8).prop_map(key), 0..4);
    let ways = (some, more).prop_map(|(sent, more)| Ways {
        first: *sent.last().unwrap(),
        accepted: more.difference(&sent).copied().collect(),
        sent,
    });
    let prefix = prop::sample::select(PREFIXES.to_vec());
    prop::collection::btree_map(prefix.prop_map(|it| it.parse().unwrap()), ways, 0..3)
}

/// Applies an update line by line. A prefix that somebody was sent, and shall be, is never nobody's.
fn follow(
    device: &mut DeviceState,
    update: &Update,
    desired: &Desired,
) -> Result<(), TestCaseError> {
    let is_served = |device: &DeviceState, it: &IpNet| !holders(device, it).0.is_empty();
    let wanted = desired.allowed_ips.keys();
    let served: Vec<IpNet> = wanted.filter(|it| is_served(device, it)).copied().collect();
    for peer in &update.peers {
        if peer.remove {
            device.peers.remove(&peer.public_key);
        }
        for change in &peer.allowed_ips {
            apply(device, peer.public_key, *change);
            for prefix in &served {
                prop_assert!(
                    is_served(device, prefix),
                    "a gap at {:?} in {:?}",
                    change,
                    update
                );
            }
        }
        if !peer.remove {
            let state = device.peers.entry(peer.public_key).or_default();
            let seconds = peer.persistent_keepalive_seconds;
            state.persistent_keepalive_seconds =
                seconds.unwrap_or(state.persistent_keepalive_seconds);
        }
    }
    Ok(())
}

fn apply(device: &mut DeviceState, key: PublicKey, change: AllowedIpChange) {
    if let AllowedIpChange::Add(prefix) = change {
        for other in device.peers.values_mut() {
            other.allowed_ips.remove(&prefix);
            other.accepted_ips.remove(&prefix);
        }
    }
    let state = device.peers.entry(key).or_default();
    match change {
        AllowedIpChange::Accept(prefix) => {
            state.allowed_ips.remove(&prefix);
            state.accepted_ips.insert(prefix);
        }
        AllowedIpChange::Add(prefix) | AllowedIpChange::Share(prefix) => {
            state.accepted_ips.remove(&prefix);
            state.allowed_ips.insert(prefix);
        }
        AllowedIpChange::Remove(prefix) => {
            state.allowed_ips.remove(&prefix);
            state.accepted_ips.remove(&prefix);
        }
    }
}

fn holders(device: &DeviceState, prefix: &IpNet) -> (BTreeSet<PublicKey>, BTreeSet<PublicKey>) {
    let peers = || device.peers.iter();
    let sent = peers().filter(|(_, it)| it.allowed_ips.contains(prefix));
    let accepted = peers().filter(|(_, it)| it.accepted_ips.contains(prefix));
    (
        sent.map(|(key, _)| *key).collect(),
        accepted.map(|(key, _)| *key).collect(),
    )
}

fn desired(allowed_ips: BTreeMap<IpNet, Ways>) -> Desired {
    let endpoint = "198.51.100.11:51871".parse().unwrap();
    let peers = (1..=4_u8).map(|number| {
        let peer = Peer {
            cluster: "us".parse().unwrap(),
            node: format!("node-{number}").parse().unwrap(),
            endpoint,
            endpoints: vec![endpoint],
            successor_of: None,
        };
        (key(number), peer)
    });
    Desired {
        peers: peers.collect(),
        allowed_ips,
        ..Desired::default()
    }
}

fn wish(desired: &Desired) -> Wish<'_> {
    static NOWHERE: BTreeMap<PublicKey, std::net::SocketAddr> = BTreeMap::new();
    static NOTHING: Secrets = Secrets {
        files: None,
        agreed: None,
    };
    Wish {
        desired,
        places: &NOWHERE,
        secrets: &NOTHING,
        key: None,
        is_behind_nat: false,
        is_probed: false,
        keep_unknown: false,
        is_plain: false,
    }
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}
