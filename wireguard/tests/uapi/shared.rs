//! What `wg` makes of keys that are ours: prefixes of several peers, and what was dropped.

use ipnet::IpNet;
use wireguard::PrivateKey;
use wireguard::uapi::{AllowedIpChange, DropCause, PeerUpdate, Update};

use super::namespace::{eventually, run};
use super::pair::{Family, Pair};

type Kind = fn(IpNet) -> AllowedIpChange;

#[test]
fn wg_shows_a_prefix_at_every_peer_that_it_is_sent_to() {
    let Pair { mut east, .. } = Pair::without_devices(Family::V4);
    east.start();
    let [one, other, third] = [1, 2, 3].map(|it| PrivateKey::from([it; 32]).public_key());
    let allowed = |key, changes: &[(Kind, &str)]| PeerUpdate {
        allowed_ips: changes
            .iter()
            .map(|(kind, prefix)| kind(prefix.parse().unwrap()))
            .collect(),
        ..PeerUpdate::new(key)
    };
    let (add, share, accept): (Kind, Kind, Kind) = (
        AllowedIpChange::Add,
        AllowedIpChange::Share,
        AllowedIpChange::Accept,
    );
    let update = Update {
        peers: vec![
            allowed(one, &[(add, "10.0.0.0/8")]),
            allowed(other, &[(share, "10.0.0.0/8"), (accept, "10.9.0.0/16")]),
            allowed(third, &[(accept, "10.0.0.0/8"), (add, "10.7.0.0/16")]),
        ],
        ..Update::default()
    };
    east.uapi().set(&update).unwrap();

    let shown = || run("wg", &["show", &east.interface, "allowed-ips"]);
    let has = |key, prefixes: &str| {
        let line = format!("{key}\t{prefixes}\n");
        assert!(shown().contains(&line), "no {line:?} in {}", shown());
    };
    has(one, "10.0.0.0/8");
    has(other, "10.0.0.0/8");
    has(third, "10.7.0.0/16");
    let state = east.uapi().get().unwrap();
    let accepted = |key| state.peers[key].accepted_ips.clone();
    assert_eq!(accepted(&one), [].into());
    assert_eq!(accepted(&other), ["10.9.0.0/16".parse().unwrap()].into());
    assert_eq!(accepted(&third), ["10.0.0.0/8".parse().unwrap()].into());

    // As ever, what `wg` gives to one peer it takes from all others.
    east.wg(&["peer", &third.to_string(), "allowed-ips", "10.0.0.0/8"]);
    has(one, "(none)");
    has(other, "(none)");
    has(third, "10.0.0.0/8");
    let state = east.uapi().get().unwrap();
    assert_eq!(state.peers[&third].accepted_ips, [].into());
}

#[test]
fn what_was_dropped_is_told_and_wg_passes_over_it() {
    let pair = Pair::configured(Family::V4);
    let (east, west) = (&pair.east, &pair.west);
    let inside = west.inside.to_string();
    east.run("ping", &["-c", "1", "-W", "10", &inside]);
    let peer = east.private_key.public_key();
    let dropped = || west.uapi().get().unwrap().peers[&peer].dropped.clone();
    assert_eq!(dropped(), [].into());

    // A source that the west does not take from this peer.
    east.run(
        "ip",
        &["addr", "add", "10.66.0.1/32", "dev", &east.interface],
    );
    let mut ping = east.command("ping");
    ping.args([
        "-c",
        "3",
        "-i",
        "0.2",
        "-W",
        "1",
        "-I",
        "10.66.0.1",
        &inside,
    ]);
    assert!(!ping.output().unwrap().status.success());
    eventually("the west tells of it", || {
        dropped() == [(DropCause::Spoofed, 3)].into()
    });
    let dump = west.peer_dump();
    assert_eq!(dump.len(), 8, "{dump:?}");
}
