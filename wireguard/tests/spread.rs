//! Real flows of large frames to a prefix that two peers share.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;

use namespace::eventually;
use pair::{End, Family, PORT, Pair};
use wireguard::uapi::{
    AllowedIpChange, DropCause, Interface, PeerState, PeerUpdate, SOCKET_DIRECTORY, Setting, Update,
};
use wireguard::{PrivateKey, PublicKey};

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/pair.rs"]
mod pair;

const PREFIX: &str = "10.88.0.0/24";
const BEHIND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1));

const FLOWS: usize = 24;

/// What a flow carries: more than one frame can hold.
const FLOW_BYTES: usize = 256 << 10;

/// A second device beside an end's own, which ends with the test.
struct Second {
    private_key: PrivateKey,
    process: Child,
    socket: PathBuf,
}

#[test]
fn flows_are_spread_over_both_and_answers_come_from_either() {
    let pair = Pair::configured(Family::V4);
    let (east, west) = (&pair.east, &pair.west);
    let second = Second::start(west, east);
    west.run("ip", &["addr", "add", "10.88.0.1/32", "dev", "lo"]);
    east.run("ip", &["route", "add", PREFIX, "dev", &east.interface]);
    let keys = [&west.private_key, &second.private_key].map(PrivateKey::public_key);
    for (key, port) in keys.into_iter().zip([PORT, PORT + 1]) {
        let update = PeerUpdate {
            endpoint: Some((west.outside, port).into()),
            allowed_ips: vec![AllowedIpChange::Share(PREFIX.parse().unwrap())],
            ..PeerUpdate::new(key)
        };
        set(&east.uapi(), update);
    }
    // Flows ask for a session with whom they prefer.
    let sockets: Vec<_> = (0..16).map(|_| east.udp(east.inside, 0)).collect();
    eventually("both have sessions", || {
        for socket in &sockets {
            // Nobody listens there, which may be heard of.
            socket.send_to(&[0], SocketAddr::new(BEHIND, 9)).ok();
        }
        let peers = east.uapi().get().unwrap().peers;
        keys.iter().all(|it| peers[it].last_handshake.is_some())
    });

    let sent = carry(east, west, keys);
    let enough = 2 * FLOW_BYTES as u64;
    assert!(sent.iter().all(|it| enough < *it), "{sent:?}");
    let all = (FLOWS * FLOW_BYTES) as u64;
    assert!(
        sent.iter().sum::<u64>() < all * 5 / 4,
        "once each: {sent:?}"
    );

    // Answers go on coming from there, as the west has no other way.
    let update = PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Accept(PREFIX.parse().unwrap())],
        ..PeerUpdate::new(keys[0])
    };
    set(&east.uapi(), update);
    let sent = carry(east, west, keys);
    assert!(sent[0] < 1_000 && all < sent[1], "{sent:?}");
    let peers = east.uapi().get().unwrap().peers;
    let is_spoofed = |it: &PeerState| it.dropped.contains_key(&DropCause::Spoofed);
    assert!(!peers.values().any(is_spoofed), "{peers:?}");
}

/// Carries every flow from one end to the other; how many bytes of datagrams went to each peer.
fn carry(from: &End, to: &End, keys: [PublicKey; 2]) -> [u64; 2] {
    let sent_bytes = || {
        let peers = from.uapi().get().unwrap().peers;
        keys.map(|it| peers[&it].sent_bytes)
    };
    let before = sent_bytes();
    let listener = to.within(|| TcpListener::bind(SocketAddr::new(BEHIND, 0)).unwrap());
    let place = listener.local_addr().unwrap();
    let senders = from.within(move || {
        let connect = |_| TcpStream::connect(place).unwrap();
        (0..FLOWS).map(connect).collect::<Vec<_>>()
    });
    let sent: Vec<u8> = (0..=250).cycle().take(FLOW_BYTES).collect();
    thread::scope(|scope| {
        for mut sender in senders {
            let sent = &sent;
            scope.spawn(move || sender.write_all(sent).unwrap());
            let (mut receiver, _) = listener.accept().unwrap();
            scope.spawn(move || {
                let mut received = Vec::new();
                receiver.read_to_end(&mut received).unwrap();
                assert!(received == *sent, "{} bytes", received.len());
            });
        }
    });
    let after = sent_bytes();
    [0, 1].map(|it| after[it] - before[it])
}

impl Second {
    /// In the namespace of `beside`; takes what comes from `other`.
    fn start(beside: &End, other: &End) -> Self {
        let interface = format!("{}2", beside.interface);
        let device = env!("CARGO_BIN_EXE_wireguard-device");
        let mut command = beside.command(device);
        let command = command.args(["--log", "error", "-f", &interface]);
        let second = Self {
            private_key: PrivateKey::generate(),
            process: command.spawn().unwrap(),
            socket: Path::new(SOCKET_DIRECTORY).join(format!("{interface}.sock")),
        };
        eventually("the device serves its socket", || {
            UnixStream::connect(&second.socket).is_ok()
        });
        let update = Update {
            private_key: Some(Setting::To(second.private_key.clone())),
            listen_port: Some(PORT + 1),
            peers: vec![PeerUpdate {
                allowed_ips: vec![AllowedIpChange::Add(other.inside.into())],
                ..PeerUpdate::new(other.private_key.public_key())
            }],
            ..Update::default()
        };
        Interface::open(&interface).set(&update).unwrap();
        // What comes from there is answered over the other device.
        let filters = format!(
            "for it in all {interface}; do echo 0 >/proc/sys/net/ipv4/conf/$it/rp_filter; done"
        );
        beside.run("sh", &["-c", &filters]);
        beside.run("ip", &["link", "set", &interface, "up"]);
        second
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_file(&self.socket).ok();
    }
}

fn set(interface: &Interface, peer: PeerUpdate) {
    let update = Update {
        peers: vec![peer],
        ..Update::default()
    };
    interface.set(&update).unwrap();
}
