//! Handshakes by the ten thousand from anywhere, while a tunnel is in use.
//!
//! In a binary of its own, as it takes what processors there are.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests print what they measured, and their helpers fail by panicking"
)]

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use rand::RngCore as _;
use wireguard::{PresharedKey, PublicKey};

use flow::{Way, count};
use namespace::eventually;
use other::{Other, set_preshared_key};
use pair::{End, Family, PORT};

#[path = "network/flow.rs"]
#[expect(dead_code, reason = "made for other trials too")]
mod flow;
#[path = "device/namespace.rs"]
mod namespace;
#[path = "network/other.rs"]
#[expect(dead_code, reason = "made for other trials too")]
mod other;
#[path = "device/pair.rs"]
#[expect(dead_code, reason = "made for other trials too")]
mod pair;

const PER_SECOND: u32 = 20_000;

/// Four seconds of it.
const INITIATIONS: u32 = 4 * PER_SECOND;

/// Addresses, and ports of each, that the flood comes from.
const ADDRESSES: u8 = 16;
const PORTS: usize = 8;

const INITIATION_BYTES: usize = 148;
const MAC_BYTES: usize = 16;
const COOKIE_REPLY: (usize, u8) = (64, 3);

#[test]
fn a_tunnel_in_use_outlives_a_flood_and_can_be_renewed_under_it() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let flood = Flood::prepare(west, east);
        let before = processor_seconds(east);
        let what = format!("flooded, with {other:?}");
        let mut cookies = 0;
        let counted = count(&what, Way::both(&pair), || {
            cookies = flood.run(|| ());
        });
        let used = processor_seconds(east) - before;
        println!("{INITIATIONS} initiations: {used:.2} s of processor, {cookies} cookies");
        assert!(counted.iter().all(|it| it.lost <= 1), "{counted:?}");
        assert!(INITIATIONS / 2 < cookies, "{cookies} cookies");

        // Who has a reason to begin a handshake proves where it is, and is heard.
        let key = PresharedKey::generate();
        let counted = count(&format!("a new key, {what}"), Way::both(&pair), || {
            flood.run(|| {
                let since = handshake(east, west);
                set_preshared_key(east, west, &key);
                set_preshared_key(west, east, &key);
                eventually("a session with it", || since < handshake(east, west));
            });
        });
        assert!(counted.iter().all(|it| it.lost <= 1), "{counted:?}");
    }
}

/// Initiations that nobody made, with first MACs as if somebody had.
struct Flood {
    sockets: Vec<UdpSocket>,
    initiations: Vec<[u8; INITIATION_BYTES]>,
    to: SocketAddr,
}

impl Flood {
    /// From many places in the namespace of `from`.
    fn prepare(from: &End, to: &End) -> Self {
        let mut sockets = Vec::new();
        for number in 100..100 + ADDRESSES {
            let address: IpAddr = [192, 0, 2, number].into();
            from.add_address("cable", address);
            for _ in 0..PORTS {
                let socket = from.udp(address, 0);
                socket.set_nonblocking(true).unwrap();
                sockets.push(socket);
            }
        }
        let key = to.private_key.public_key();
        Self {
            sockets,
            initiations: (0..4_096).map(|_| initiation(&key)).collect(),
            to: SocketAddr::new(to.outside, PORT),
        }
    }

    /// Sends them all, and goes on until `during` is over. Returns how many cookies came.
    fn run(&self, during: impl FnOnce()) -> u32 {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flooding = scope.spawn(|| self.send_until(&is_over));
            during();
            is_over.store(true, Ordering::Relaxed);
            flooding.join().unwrap()
        })
    }

    fn send_until(&self, is_over: &AtomicBool) -> u32 {
        let start = now();
        let (mut sent, mut cookies) = (0, 0);
        while sent < INITIATIONS || !is_over.load(Ordering::Relaxed) {
            let due = start.elapsed().as_secs_f64() * f64::from(PER_SECOND);
            while f64::from(sent) < due {
                let socket = &self.sockets[sent as usize % self.sockets.len()];
                let initiation = &self.initiations[sent as usize % self.initiations.len()];
                // What the network does not take is one less.
                socket.send_to(initiation, self.to).ok();
                sent += 1;
                cookies += count_cookies(socket);
            }
            thread::sleep(Duration::from_millis(2));
        }
        println!("{sent} initiations in {:?}", start.elapsed());
        cookies + self.sockets.iter().map(count_cookies).sum::<u32>()
    }
}

fn count_cookies(socket: &UdpSocket) -> u32 {
    let mut buffer = [0; 256];
    let mut cookies = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        assert_eq!((length, buffer[0]), COOKIE_REPLY);
        cookies += 1;
    }
    cookies
}

fn initiation(key: &PublicKey) -> [u8; INITIATION_BYTES] {
    let mut message = [0; INITIATION_BYTES];
    rand::rng().fill_bytes(&mut message);
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    let (signed, macs) = message.split_at_mut(INITIATION_BYTES - 2 * MAC_BYTES);
    let secret = Blake2s256::new_with_prefix(b"mac1----").chain_update(key.as_bytes());
    let secret = secret.finalize();
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&secret).unwrap();
    mac.update(signed);
    macs[..MAC_BYTES].copy_from_slice(&mac.finalize().into_bytes());
    message
}

/// When `end` last had a new session with `other`.
fn handshake(end: &End, other: &End) -> (u64, u32) {
    let state = end.uapi().get().unwrap();
    let peer = &state.peers[&other.private_key.public_key()];
    peer.last_handshake
        .map_or((0, 0), |it| (it.seconds, it.nanoseconds))
}

/// What the device's process has used, in the system's hundredths.
fn processor_seconds(end: &End) -> f64 {
    let connection = UnixStream::connect(end.socket()).unwrap();
    let process = rustix::net::sockopt::socket_peercred(&connection)
        .unwrap()
        .pid;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // The fourteenth and fifteenth of all: in user mode, and in the kernel.
    let used = [11, 12].map(|it| fields[it].parse::<u32>().unwrap());
    f64::from(used[0] + used[1]) / 100.0
}

#[expect(
    clippy::disallowed_methods,
    reason = "a flood has a rate, which only a clock can keep"
)]
fn now() -> Instant {
    Instant::now()
}
