//! What is set, by `wg`, by our client or wrongly, while a device is in use.

use std::net::SocketAddr;
use std::thread;

use wireguard::uapi::{AllowedIpChange, PeerUpdate, Setting, Update};
use wireguard::{PresharedKey, PrivateKey};

use super::echo::exchange;
use super::pair::{Family, PORT, Pair};

#[test]
fn the_client_configures_what_wg_shows() {
    let pair = Pair::new(Family::V4);
    let key = PrivateKey::generate().public_key();
    let preshared_key = PresharedKey::generate();
    let prefix = "10.9.0.0/16".parse().unwrap();
    let peer = PeerUpdate {
        preshared_key: Some(Setting::To(preshared_key.clone())),
        endpoint: Some("192.0.2.9:9".parse().unwrap()),
        persistent_keepalive_seconds: Some(25),
        allowed_ips: vec![AllowedIpChange::Add(prefix)],
        ..PeerUpdate::new(key)
    };
    let update = Update {
        private_key: Some(Setting::To(pair.east.private_key.clone())),
        listen_port: Some(PORT),
        fwmark: Some(0x42),
        peers: vec![peer],
        ..Update::default()
    };

    pair.east.uapi().set(&update).unwrap();

    let dump = pair.east.peer_dump();
    assert_eq!(dump[0], key.to_string());
    assert_eq!(dump[1], preshared_key.to_base64());
    assert_eq!(dump[2..4], ["192.0.2.9:9", "10.9.0.0/16"]);
    assert_eq!(dump[7], "25");
    let state = pair.east.uapi().get().unwrap();
    assert_eq!(state.public_key(), Some(pair.east.private_key.public_key()));
    assert_eq!((state.listen_port, state.fwmark), (PORT, 0x42));
    assert!(state.peers[&key].allowed_ips.contains(&prefix));
}

#[test]
fn changing_a_peer_under_traffic_loses_nothing() {
    let pair = Pair::configured(Family::V4);
    let other_address = "192.0.2.22".parse().unwrap();
    pair.west.add_address("cable", other_address);
    let other_peer = PrivateKey::generate().public_key().to_string();
    let peer = pair.west.private_key.public_key().to_string();
    let endpoint = SocketAddr::new(other_address, PORT).to_string();
    assert_eq!(exchange(&pair.east, &pair.west, 1), 1);

    let answered = thread::scope(|scope| {
        let traffic = scope.spawn(|| exchange(&pair.east, &pair.west, 400));
        for _ in 0..10 {
            pair.east.configure(&pair.west);
            pair.east.wg(&["peer", &peer, "endpoint", &endpoint]);
            pair.east.wg(&["peer", &peer, "persistent-keepalive", "1"]);
            pair.east
                .wg(&["peer", &peer, "allowed-ips", "10.77.0.0/24,10.77.0.2/32"]);
            pair.west.wg(&["fwmark", "0"]);
            // A peer that comes and goes beside the live one.
            pair.east
                .wg(&["peer", &other_peer, "allowed-ips", "10.77.0.9/32"]);
            pair.east.wg(&["peer", &other_peer, "remove"]);
        }
        traffic.join().unwrap()
    });

    assert_eq!(answered, 400);
}

#[test]
fn refuses_what_it_cannot_do_and_stays_as_it_was() {
    let pair = Pair::configured(Family::V4);
    let taken = pair.east.udp([0, 0, 0, 0].into(), 0);
    let port = taken.local_addr().unwrap().port();
    let before = pair.east.uapi().get().unwrap();

    for (request, errno) in [
        (
            format!("set=1\nfwmark=7\nlisten_port={port}\nreplace_peers=true\n\n"),
            -98,
        ),
        (
            "set=1\nreplace_peers=true\nlisten_port=7\nwhat=1\n\n".to_owned(),
            -22,
        ),
        (
            "set=1\nreplace_peers=true\npublic_key=00\n\n".to_owned(),
            -22,
        ),
        ("set=1\nnonsense\n\n".to_owned(), -71),
        ("steal=1\n\n".to_owned(), -71),
    ] {
        let answer = pair.east.ask(&request);
        assert_eq!(answer, format!("errno={errno}\n\n"), "{request}");
    }

    let half = "set=1\nreplace_peers=true\n";
    assert_eq!(pair.east.ask(half), "", "{half}");

    let after = pair.east.uapi().get().unwrap();
    assert_eq!(after, before);
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);
}
