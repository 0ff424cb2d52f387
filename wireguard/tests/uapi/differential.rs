//! The same texts to our device and to Debian's `wireguard-go`: the same answers, and the same state.

use std::net::UdpSocket;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wireguard::uapi::{AllowedIpChange, DeviceState, PeerState, PeerUpdate, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use super::pair::{End, Family, Pair};

const TEXTS: usize = 600;

/// A port that somebody else has in both namespaces.
const PORT_TAKEN: u16 = 7_777;

/// The kernel's answer to another version of the protocol, which is ours; theirs is `EINVAL`.
const UNKNOWN_VERSION: &str = "errno=-96\n\n";

#[test]
fn answers_and_ends_up_as_wireguard_go_does() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let Pair { mut east, mut west } = Pair::without_devices(Family::V4);
    east.start();
    west.start_program("env", &["LOG_LEVEL=silent", "wireguard-go", "-f"]);
    let _taken = [&east, &west].map(take_port);
    let start = "set=1\nlisten_port=5000\nfwmark=0\n\n";
    for end in [&east, &west] {
        assert_eq!(end.ask(start), "errno=0\n\n");
    }

    let mut refused = 0;
    for number in 0..TEXTS {
        let text = text(&mut random);
        let before = seen(&east);
        let (ours, theirs) = (east.ask(&text), west.ask(&text));
        if theirs == "errno=0\n\n" {
            assert_eq!(ours, theirs, "text {number}: {text}");
        } else {
            refused += 1;
            let peers = text.split_once("public_key").map_or("", |(_, it)| it);
            let expected = if peers.contains("protocol_version=2") {
                UNKNOWN_VERSION
            } else {
                // It closes the connection on what it cannot read after an error.
                &theirs
            };
            assert_eq!(ours, expected, "text {number}: {text}");
            assert_eq!(seen(&east), before, "text {number} changed it: {text}");
            // Theirs did what came before the mistake.
            west.uapi().set(&restoring(&before)).unwrap();
        }
        assert_eq!(seen(&east), seen(&west), "text {number}: {text}");
    }
    assert!((TEXTS / 20..TEXTS / 2).contains(&refused), "{refused}");
}

fn take_port(end: &End) -> UdpSocket {
    end.udp([0, 0, 0, 0].into(), PORT_TAKEN)
}

/// What a device is, but for what traffic does to it.
fn seen(end: &End) -> DeviceState {
    let mut state = end.uapi().get().unwrap();
    for peer in state.peers.values_mut() {
        *peer = PeerState {
            preshared_key: peer.preshared_key.clone(),
            endpoint: peer.endpoint,
            persistent_keepalive_seconds: peer.persistent_keepalive_seconds,
            allowed_ips: peer.allowed_ips.clone(),
            ..PeerState::default()
        };
    }
    state
}

fn restoring(state: &DeviceState) -> Update {
    let peers = state.peers.iter().map(|(key, peer)| PeerUpdate {
        preshared_key: Some(match &peer.preshared_key {
            None => Setting::Clear,
            Some(key) => Setting::To(key.clone()),
        }),
        endpoint: peer.endpoint,
        persistent_keepalive_seconds: Some(peer.persistent_keepalive_seconds),
        allowed_ips: peer
            .allowed_ips
            .iter()
            .copied()
            .map(AllowedIpChange::Add)
            .collect(),
        ..PeerUpdate::new(*key)
    });
    Update {
        private_key: Some(match &state.private_key {
            None => Setting::Clear,
            Some(key) => Setting::To(key.clone()),
        }),
        listen_port: Some(state.listen_port),
        fwmark: Some(state.fwmark),
        replace_peers: true,
        peers: peers.collect(),
    }
}

/// A request about few keys and prefixes, so that requests meet; of some, one line is wrong.
fn text(random: &mut SmallRng) -> String {
    let mut lines = vec!["set=1".to_owned()];
    for (percent, line) in [
        (20, format!("private_key={}", private_key(random))),
        (
            20,
            format!("listen_port={}", random.random_range(5_000..5_003)),
        ),
        (20, format!("fwmark={}", random.random_range(0..3))),
        (5, "replace_peers=true".to_owned()),
    ] {
        if random.random_range(0..100) < percent {
            lines.push(line);
        }
    }
    for _ in 0..random.random_range(0..4) {
        push_peer(random, &mut lines);
    }
    if random.random_range(0..100) < 20 {
        let mistake = *MISTAKES.choose(random).unwrap();
        if mistake.starts_with("listen_port=") {
            // Theirs tries every port of a text, ours the last.
            lines.retain(|it| !it.starts_with("listen_port="));
        }
        let place = random.random_range(1..=lines.len());
        lines.insert(place, mistake.to_owned());
    }
    lines.join("\n") + "\n\n"
}

/// Lines that are wrong wherever they stand, or in most places.
const MISTAKES: &[&str] = &[
    "allowed_ip=10.0.0.0/33",
    "allowed_ip=10.0.0.0",
    "allowed_ip=10.0.0/8",
    "allowed_ip=10.0.0.0/-1",
    "allowed_ip=010.0.0.0/8",
    "allowed_ip=fd00::/129",
    "allowed_ip=fe80::1%lo/64",
    "allowed_ip=",
    "endpoint=192.0.2.1",
    "endpoint=192.0.2.1:65536",
    "endpoint=192.0.2.1:",
    "endpoint=host:1",
    "endpoint=2001:db8::1:1",
    "endpoint=[2001:db8::1]",
    "endpoint=[192.0.2.1]:1",
    "endpoint=",
    "fwmark=4294967296",
    "fwmark=-1",
    "fwmark=0x1",
    "fwmark=",
    "listen_port=7777",
    "listen_port=65536",
    "listen_port=-1",
    "listen_port=+5001",
    "listen_port=",
    "nonsense",
    "nonsense=1",
    "=",
    "=1",
    "persistent_keepalive_interval=65536",
    "persistent_keepalive_interval=off",
    "persistent_keepalive_interval=",
    "preshared_key=00",
    "preshared_key=zz",
    "private_key=00",
    "private_key=",
    "protocol_version=2",
    "public_key=00",
    "public_key=",
    "remove=false",
    "replace_allowed_ips=false",
    "replace_peers=false",
    "update_only=1",
    " listen_port=5001",
    "listen_port =5001",
    "get=1",
    "set=1",
    "errno=0",
];

fn push_peer(random: &mut SmallRng, lines: &mut Vec<String>) {
    let key = PrivateKey::from([random.random_range(1..6); 32]).public_key();
    lines.push(format!("public_key={}", spelled(random, &key)));
    // First what says whether the rest counts: theirs goes line by line.
    for (percent, line) in [
        (15, "remove=true"),
        (15, "update_only=true"),
        (30, "protocol_version=1"),
        (20, "replace_allowed_ips=true"),
    ] {
        if random.random_range(0..100) < percent {
            lines.push(line.to_owned());
        }
    }
    let last = random.random_range(0..4);
    for (percent, line) in [
        (
            20,
            format!("preshared_key={}", hex(random.random_range(0..3))),
        ),
        (
            20,
            format!("endpoint=192.0.2.{last}:{:03}", random.random_range(1..70)),
        ),
        (10, format!("endpoint=[2001:db8::{last}]:9")),
        (
            20,
            format!(
                "persistent_keepalive_interval={}",
                random.random_range(0..3) * 30_000
            ),
        ),
        (
            50,
            format!(
                "allowed_ip=10.0.{last}.9/{:02}",
                random.random_range(0..=32)
            ),
        ),
        (
            30,
            format!("allowed_ip=fd00::{last}:9/{}", random.random_range(0..=128)),
        ),
        (20, "allowed_ip=0.0.0.0/0".to_owned()),
        (20, format!("allowed_ip=::ffff:10.0.0.{last}/127")),
    ] {
        if random.random_range(0..100) < percent {
            lines.push(line);
        }
    }
}

fn private_key(random: &mut SmallRng) -> String {
    hex(random.random_range(0..4))
}

/// A key of one byte that repeats; that of zeros is none.
fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn spelled(random: &mut SmallRng, key: &PublicKey) -> String {
    let text = key.to_hex();
    if random.random() {
        text
    } else {
        text.to_uppercase()
    }
}
