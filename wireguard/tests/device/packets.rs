//! Single packets between two devices: whose pass, where they go, and what waits.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use wireguard::uapi::{PeerUpdate, Setting, Update};
use wireguard::{PresharedKey, PrivateKey};

use super::echo::exchange;
use super::namespace::{eventually, patiently, run};
use super::pair::{Family, PORT, Pair};

#[test]
fn carries_packets_both_ways_and_wg_shows_it() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::configured(family);

        assert_eq!(exchange(&pair.east, &pair.west, 20), 20);

        for (end, other) in [(&pair.east, &pair.west), (&pair.west, &pair.east)] {
            let dump = end.peer_dump();
            assert_eq!(dump[0], other.private_key.public_key().to_string());
            assert_eq!(dump[2], SocketAddr::new(other.outside, PORT).to_string());
            assert_ne!(dump[4], "0", "the latest handshake");
            assert_ne!(dump[5], "0", "bytes received");
            assert_ne!(dump[6], "0", "bytes sent");

            let shown = run("wg", &["show", &end.interface]);
            let public_key = end.private_key.public_key();
            assert!(
                shown.contains(&format!("public key: {public_key}")),
                "{shown}"
            );
            assert!(shown.contains("latest handshake: "), "{shown}");
        }
    }
}

#[test]
fn drops_packets_whose_source_is_not_the_senders() {
    let pair = Pair::configured(Family::V4);
    let borrowed = "10.77.0.3".parse().unwrap();
    pair.east.add_address(&pair.east.interface, borrowed);
    let genuine = pair.east.udp(pair.east.inside, 0);
    let spoofed = pair.east.udp(borrowed, 0);
    let receiver = pair.west.udp(pair.west.inside, 7);

    for _ in 0..5 {
        spoofed.send_to(b"spoofed", (pair.west.inside, 7)).unwrap();
        genuine.send_to(b"genuine", (pair.west.inside, 7)).unwrap();
    }

    let mut buffer = [0; 64];
    for _ in 0..5 {
        let (length, source) = patiently(|| receiver.recv_from(&mut buffer)).unwrap();
        assert_eq!(
            (&buffer[..length], source.ip()),
            (&b"genuine"[..], pair.east.inside)
        );
    }
}

#[test]
fn sends_nothing_but_handshakes_to_whom_does_not_answer() {
    let pair = Pair::without_devices(Family::V4);
    let Pair { mut east, west } = pair;
    east.start();
    let network = west.udp(west.outside, PORT);
    east.configure(&west);
    east.wg(&[
        "peer",
        &west.private_key.public_key().to_string(),
        "allowed-ips",
        "10.77.0.2/32",
    ]);
    let sender = east.udp(east.inside, 0);

    for destination in ["10.77.0.2:7", "10.77.0.99:7"] {
        for _ in 0..50 {
            sender.send_to(b"plaintext", destination).unwrap();
        }
    }

    let mut buffer = [0; 2048];
    let length = patiently(|| network.recv(&mut buffer)).unwrap();
    assert_eq!((length, buffer[0]), (148, 1), "a handshake initiation");
    network
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let silence = patiently(|| network.recv(&mut buffer)).unwrap_err().kind();
    assert_eq!(silence, ErrorKind::WouldBlock);
}

#[test]
fn does_not_talk_to_a_peer_with_another_key() {
    let pair = Pair::configured(Family::V4);
    let stranger = PrivateKey::generate().public_key().to_string();
    let east = pair.east.private_key.public_key().to_string();
    pair.west.wg(&[
        "peer",
        &east,
        "remove",
        "peer",
        &stranger,
        "allowed-ips",
        "10.77.0.1/32",
    ]);

    let receiver = pair.west.udp(pair.west.inside, 7);
    receiver
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let sender = pair.east.udp(pair.east.inside, 0);
    sender.send_to(b"hello", (pair.west.inside, 7)).unwrap();

    assert!(patiently(|| receiver.recv(&mut [0; 64])).is_err());
    assert_eq!(pair.east.peer_dump()[4], "0", "no handshake");
}

#[test]
fn a_packet_waits_for_a_peer_that_comes_up_later() {
    let Pair { mut east, mut west } = Pair::without_devices(Family::V4);
    east.start();
    east.configure(&west);
    let sender = east.udp(east.inside, 0);
    sender.send_to(b"early", (west.inside, 7)).unwrap();
    eventually("the first initiation is sent", || {
        east.peer_dump()[6] != "0"
    });

    west.start();
    west.set_private_key();
    west.wg(&["listen-port", &PORT.to_string()]);
    let receiver = west.udp(west.inside, 7);
    let peer = east.private_key.public_key().to_string();
    west.wg(&["peer", &peer, "allowed-ips", "10.77.0.1/32"]);

    let mut buffer = [0; 64];
    let length = patiently(|| receiver.recv(&mut buffer)).unwrap();
    assert_eq!(&buffer[..length], b"early");
}

#[test]
fn a_persistent_keepalive_connects_without_traffic() {
    let pair = Pair::configured(Family::V4);
    let peer = pair.west.private_key.public_key().to_string();

    pair.east.wg(&["peer", &peer, "persistent-keepalive", "1"]);

    for end in [&pair.east, &pair.west] {
        eventually("a handshake", || end.peer_dump()[4] != "0");
    }
    let before: u64 = pair.west.peer_dump()[5].parse().unwrap();
    eventually("more keepalives", || {
        before < pair.west.peer_dump()[5].parse().unwrap()
    });
}

#[test]
fn follows_a_peer_that_changes_its_port_and_address() {
    let pair = Pair::configured(Family::V4);
    assert_eq!(exchange(&pair.east, &pair.west, 1), 1);

    pair.west.wg(&["listen-port", "51999"]);
    assert_eq!(exchange(&pair.west, &pair.east, 3), 3);

    let endpoint = SocketAddr::new(pair.west.outside, 51_999).to_string();
    assert_eq!(pair.east.peer_dump()[2], endpoint);
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);

    pair.west.wg(&["listen-port", &PORT.to_string()]);
    pair.west.wg(&["listen-port", "51999"]);
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);
}

#[test]
fn talks_with_wireguard_go() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::with_wireguard_go(family);
        let preshared_key = PresharedKey::generate();
        for (end, other) in [(&pair.east, &pair.west), (&pair.west, &pair.east)] {
            let peer = PeerUpdate {
                preshared_key: Some(Setting::To(preshared_key.clone())),
                ..PeerUpdate::new(other.private_key.public_key())
            };
            let peers = vec![peer];
            end.uapi()
                .set(&Update {
                    peers,
                    ..Update::default()
                })
                .unwrap();
        }

        assert_eq!(exchange(&pair.east, &pair.west, 20), 20);
        assert_eq!(exchange(&pair.west, &pair.east, 20), 20);
    }
}
