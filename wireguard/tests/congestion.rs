//! Marks of congestion through real devices, with a path between them that is congested.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

use namespace::PATIENCE;
use pair::{Family, PORT, Pair};

#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/pair.rs"]
mod pair;

/// Where the path begins, on the west's side of the cable.
const PATH: u16 = 9_999;

const PAUSE: Duration = Duration::from_millis(2);

/// A socket that sees and sends the marks.
struct Marked {
    socket: UdpSocket,
    state: UdpSocketState,
}

#[test]
fn what_the_path_marks_the_receiver_learns() {
    let pair = Pair::configured(Family::V4);
    let west_outside = SocketAddr::new(pair.west.outside, PORT);
    let peer = pair.west.private_key.public_key().to_string();
    let path = SocketAddr::new(pair.west.outside, PATH);
    pair.east
        .wg(&["peer", &peer, "endpoint", &path.to_string()]);

    let entry = Marked::new(pair.west.udp(pair.west.outside, PATH));
    let exit = Marked::new(pair.west.udp(pair.west.outside, 0));
    let sender = Marked::new(pair.east.udp(pair.east.inside, 0));
    let receiver = Marked::new(pair.west.udp(pair.west.inside, 7));
    let is_over = AtomicBool::new(false);

    thread::scope(|scope| {
        scope.spawn(|| carry(&entry, &exit, west_outside, &is_over));
        let _over = Over(&is_over);
        let to = SocketAddr::new(pair.west.inside, 7);
        for (sent, expected) in [
            (None, None),
            (Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce)),
            (Some(EcnCodepoint::Ect1), Some(EcnCodepoint::Ce)),
            (Some(EcnCodepoint::Ce), Some(EcnCodepoint::Ce)),
            (None, None),
        ] {
            sender.send(b"inside", sent, to);
            let arrived = receiver.receive_within(PATIENCE);
            assert_eq!(arrived.map(|(_, ecn, _)| ecn), Some(expected), "{sent:?}");
        }
    });
}

/// Ends the path, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A path that drops nothing, and marks whatever may be marked.
fn carry(entry: &Marked, exit: &Marked, west: SocketAddr, is_over: &AtomicBool) {
    let mut east = None;
    while !is_over.load(Ordering::Relaxed) {
        if let Some((bytes, ecn, from)) = entry.receive() {
            east = Some(from);
            let marked = ecn.map(|_| EcnCodepoint::Ce);
            exit.send(&bytes, marked, west);
        } else if let (Some((bytes, ecn, _)), Some(east)) = (exit.receive(), east) {
            entry.send(&bytes, ecn, east);
        } else {
            thread::sleep(PAUSE);
        }
    }
}

impl Marked {
    fn new(socket: UdpSocket) -> Self {
        let state = UdpSocketState::new((&socket).into()).unwrap();
        Self { socket, state }
    }

    fn send(&self, contents: &[u8], ecn: Option<EcnCodepoint>, destination: SocketAddr) {
        let transmit = Transmit {
            destination,
            ecn,
            contents,
            segment_size: None,
            src_ip: None,
        };
        let socket = (&self.socket).into();
        self.state.try_send(socket, &transmit).unwrap();
    }

    /// A datagram that is there, what it bears, and its sender.
    fn receive(&self) -> Option<(Vec<u8>, Option<EcnCodepoint>, SocketAddr)> {
        let mut buffer = vec![0; 2_048];
        let mut metas = [RecvMeta::default()];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let socket = (&self.socket).into();
        match self.state.recv(socket, &mut slices, &mut metas) {
            Ok(_) => {
                let [meta] = metas;
                assert_eq!(meta.stride, meta.len, "one datagram at a time");
                buffer.truncate(meta.len);
                Some((buffer, meta.ecn, meta.addr))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive_within(
        &self,
        patience: Duration,
    ) -> Option<(Vec<u8>, Option<EcnCodepoint>, SocketAddr)> {
        let tries = patience.as_millis() / PAUSE.as_millis();
        (0..tries).find_map(|_| {
            let received = self.receive();
            if received.is_none() {
                thread::sleep(PAUSE);
            }
            received
        })
    }
}
