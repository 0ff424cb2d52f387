//! A static key that changes under traffic.

use std::cell::RefCell;
use std::process::Stdio;

use wireguard::PrivateKey;
use wireguard::uapi::{PeerUpdate, Setting, Update};

use super::namespace::eventually;
use super::pair::{Family, Pair};

const PACKETS: &str = "600";

#[test]
fn a_key_rotates_and_no_packet_is_lost() {
    let pair = Pair::configured(Family::V4);
    let (east, west) = (&pair.east, &pair.west);
    let inside = west.inside.to_string();
    east.run("ping", &["-c", "1", "-W", "10", &inside]);
    let ping = east
        .command("ping")
        .args(["-c", PACKETS, "-i", "0.005", "-W", "10", &inside])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ping = RefCell::new(ping);
    let is_over = || ping.borrow_mut().try_wait().unwrap().is_some();

    let mut former = west.private_key.clone();
    let mut rounds = 0;
    while !is_over() {
        let next = PrivateKey::generate();
        let successor = PeerUpdate {
            successor_of: Some(Setting::To(former.public_key())),
            ..PeerUpdate::new(next.public_key())
        };
        change(east, successor);
        let update = Update {
            private_key: Some(Setting::To(next.clone())),
            ..Update::default()
        };
        west.uapi().set(&update).unwrap();
        eventually("the successor has a session that is in use", || {
            let state = east.uapi().get().unwrap();
            let peer = &state.peers[&next.public_key()];
            is_over() || peer.last_handshake.is_some() && 1_000 < peer.sent_bytes
        });
        change(east, PeerUpdate::removal(former.public_key()));
        let state = east.uapi().get().unwrap();
        let [(key, peer)] = &state.peers.into_iter().collect::<Vec<_>>()[..] else {
            panic!("one peer");
        };
        assert_eq!(*key, next.public_key(), "round {rounds}");
        assert!(peer.allowed_ips.contains(&west.inside.into()));
        former = next;
        rounds += 1;
    }
    assert!(2 < rounds, "{rounds}");

    let output = ping.into_inner().wait_with_output().unwrap();
    let summary = String::from_utf8(output.stdout).unwrap();
    let expected = format!("{PACKETS} packets transmitted, {PACKETS} received");
    assert!(summary.contains(&expected), "{summary}");
}

fn change(end: &super::pair::End, peer: PeerUpdate) {
    let peers = vec![peer];
    let update = Update {
        peers,
        ..Update::default()
    };
    end.uapi().set(&update).unwrap();
}
