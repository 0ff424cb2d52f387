//! The device between real namespaces, configured and read by the real `wg`.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use wireguard::uapi::{AllowedIpChange, PeerUpdate, Setting, Update};
use wireguard::{PresharedKey, PrivateKey};

use namespace::{PATIENCE, eventually, patiently, run};
use pair::{End, Family, PORT, Pair};

#[path = "device/namespace.rs"]
mod namespace;
#[path = "device/pair.rs"]
mod pair;
#[path = "device/stream.rs"]
mod stream;
#[path = "device/transfer.rs"]
mod transfer;

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

/// Whoever waits for the socket may bring the interface up at once, and it stays up.
#[test]
fn an_interface_is_settled_before_its_socket_is_there() {
    // Many at once, so that each is interrupted somewhere on its way.
    thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                let Pair { mut east, .. } = Pair::without_devices(Family::V4);
                east.start();
                thread::sleep(Duration::from_millis(200));
                let link = east.run("ip", &["link", "show", &east.interface]);
                assert!(link.contains(",UP"), "{link}");
            });
        }
    });
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
        let answer = ask(&pair.east, &request);
        assert_eq!(answer, format!("errno={errno}\n\n"), "{request}");
    }

    let half = "set=1\nreplace_peers=true\n";
    assert_eq!(ask(&pair.east, half), "", "{half}");

    let after = pair.east.uapi().get().unwrap();
    assert_eq!(after, before);
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);
}

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
fn ends_clean_on_sigterm_and_starts_again() {
    let mut pair = Pair::configured(Family::V4);
    assert_eq!(exchange(&pair.east, &pair.west, 1), 1);
    let mode = pair.east.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(pair.east.stop(), Some(0));
    assert!(!pair.east.socket().exists());
    assert!(!pair.east.has_interface());

    pair.east.start();
    pair.east.configure(&pair.west);
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);
}

#[test]
fn ends_when_its_interface_is_deleted() {
    let mut pair = Pair::new(Family::V4);

    pair.east.run("ip", &["link", "del", &pair.east.interface]);

    assert_eq!(pair.east.wait(), Some(0));
    assert!(!pair.east.socket().exists());
}

#[test]
fn replaces_a_dead_device_and_respects_a_live_one() {
    let mut pair = Pair::new(Family::V4);
    let second = pair
        .east
        .command(env!("CARGO_BIN_EXE_wireguard-device"))
        .args(["-f", &pair.east.interface])
        .output()
        .unwrap();
    let message = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        message.contains("is already served; stop the process"),
        "{message}"
    );

    pair.east.kill();
    assert!(pair.east.socket().exists());
    pair.east.start();
    pair.configure();
    assert_eq!(exchange(&pair.east, &pair.west, 3), 3);
}

#[test]
fn goes_to_the_background_once_it_serves() {
    let pair = Pair::without_devices(Family::V4);
    let start = || {
        let mut command = pair.east.command(env!("CARGO_BIN_EXE_wireguard-device"));
        command.arg(&pair.east.interface).output().unwrap()
    };

    let first = start();
    assert!(first.status.success());
    assert_eq!((first.stdout, first.stderr), (vec![], vec![]));
    let connection = UnixStream::connect(pair.east.socket()).expect("it serves already");
    let process = rustix::net::sockopt::socket_peercred(&connection)
        .unwrap()
        .pid;
    assert!(pair.east.has_interface());

    let second = start();
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains("is already served"), "{message}");

    kill_process(process, Signal::TERM).unwrap();
    eventually("the device is gone", || {
        !pair.east.socket().exists() && !pair.east.has_interface()
    });
}

#[test]
fn explains_an_unusable_start() {
    let pair = Pair::without_devices(Family::V4);
    for (arguments, code, expected) in [
        (&["-f", "name/with/slash"][..], 1, "cannot be used"),
        (&["-f", "sixteen-bytes-xx"][..], 1, "cannot be used"),
        (&["--nonsense", "cwwg0"][..], 2, "unexpected argument"),
    ] {
        let mut command = pair.east.command(env!("CARGO_BIN_EXE_wireguard-device"));
        let output = command.args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(expected), "{message}");
    }
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

/// Writes a request to a device's socket as it stands, and returns the answer.
fn ask(end: &End, request: &str) -> String {
    let mut stream = UnixStream::connect(end.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends `count` numbered packets from one end to the other, which sends them back.
///
/// Returns how many came back.
fn exchange(from: &End, to: &End, count: u32) -> usize {
    let echo = to.udp(to.inside, 7);
    let sender = from.udp(from.inside, 0);
    sender.connect((to.inside, 7)).unwrap();
    thread::scope(|scope| {
        let echoing = scope.spawn(|| echo_until_empty(&echo));
        let sending = scope.spawn(|| {
            for number in 0..count {
                sender.send(&number.to_be_bytes()).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let answered = count_answers(&sender, count);
        sending.join().unwrap();
        // An empty packet ends the echo; it may be lost, so the echo itself says so.
        while !echoing.is_finished() {
            sender.send(&[]).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        answered
    })
}

fn echo_until_empty(socket: &UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        let (length, source) = patiently(|| socket.recv_from(&mut buffer)).unwrap();
        if length == 0 {
            return;
        }
        socket.send_to(&buffer[..length], source).unwrap();
    }
}

/// Counts distinct answers, until all have come or none comes for a while.
fn count_answers(socket: &UdpSocket, count: u32) -> usize {
    socket.set_read_timeout(Some(PATIENCE / 4)).unwrap();
    let mut answered = std::collections::BTreeSet::new();
    let mut buffer = [0; 64];
    while answered.len() < count as usize {
        match patiently(|| socket.recv(&mut buffer)) {
            Ok(length) => answered.insert(buffer[..length].to_vec()),
            Err(_) => break,
        };
    }
    answered.len()
}
