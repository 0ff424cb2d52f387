//! An interface that somebody else made and hands over.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;

use tun_rs::{DeviceBuilder, Layer};
use wireguard::uapi::DropCause;

use super::namespace::eventually;
use super::pair::{End, Family, Pair};

const DEVICE: &str = env!("CARGO_BIN_EXE_wireguard-device");

/// What a stream carries: many large frames, where frames may be large.
const STREAM_BYTES: usize = 4 << 20;

/// A process that ends with the test.
struct Process(Child);

#[test]
fn an_interface_that_is_handed_over_carries_what_one_of_our_own_does() {
    for has_headers in [true, false] {
        let Pair { east, mut west } = Pair::without_devices(Family::V4);
        let tun = made(&east, move |it| it.offload(has_headers));
        let mut device = Process(handed(&east, tun, &["-f"]).spawn().unwrap());
        eventually("the device serves", || {
            UnixStream::connect(east.socket()).is_ok()
        });
        east.bring_up();
        west.start();
        let pair = Pair { east, west };
        pair.configure();
        let (east, west) = (&pair.east, &pair.west);

        let inside = west.inside.to_string();
        east.run("ping", &["-c", "3", "-i", "0.05", "-W", "10", &inside]);
        // Padding goes by the size of the interface, whoever changes it.
        east.run("ip", &["link", "set", &east.interface, "mtu", "1300"]);
        stream(east, west);
        stream(west, east);
        let state = east.uapi().get().unwrap();
        let peer = &state.peers[&west.private_key.public_key()];
        for cause in [DropCause::Malformed, DropCause::Spoofed] {
            assert_eq!(peer.dropped.get(&cause), None);
        }

        east.run("ip", &["link", "del", &east.interface]);
        assert!(device.0.wait().unwrap().success(), "the interface is gone");
    }
}

#[test]
fn an_interface_is_handed_over_to_the_background_too() {
    let Pair { east, .. } = Pair::without_devices(Family::V4);
    let tun = made(&east, |it| it.offload(true));
    let started = handed(&east, tun, &[]).status().unwrap();
    assert!(started.success());
    assert!(UnixStream::connect(east.socket()).is_ok());
    assert!(east.has_interface());

    east.run("ip", &["link", "del", &east.interface]);
    eventually("the device is gone", || !east.socket().exists());
}

#[test]
fn what_is_handed_over_must_be_the_interface_that_is_meant() {
    type Change = fn(DeviceBuilder) -> DeviceBuilder;
    let cases: [(Change, &str); 3] = [
        (
            |it| it.layer(Layer::L2),
            "has something in front of its packets; make it with IFF_TUN and IFF_NO_PI",
        ),
        (
            |it| it.packet_information(true),
            "has something in front of its packets",
        ),
        (|it| it.name("other"), "is \"other\", not"),
    ];
    for (change, expected) in cases {
        let Pair { east, .. } = Pair::without_devices(Family::V4);
        let tun = made(&east, change);
        let output = handed(&east, tun, &["-f"]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

/// An interface of the end's name in its namespace, which lives as long as the descriptor.
fn made(
    end: &End,
    change: impl FnOnce(DeviceBuilder) -> DeviceBuilder + Send + 'static,
) -> OwnedFd {
    let interface = end.interface.clone();
    let made = end.within(move || {
        let builder = DeviceBuilder::new().name(&*interface).enable(false);
        change(builder).build_sync().unwrap()
    });
    rustix::io::fcntl_dupfd_cloexec(&made, 0).unwrap()
}

/// Starts a device with the interface as its descriptor 3.
fn handed(end: &End, tun: OwnedFd, options: &[&str]) -> Command {
    let script = "exec 3<&0 0</dev/null; WG_TUN_FD=3 exec \"$@\"";
    let mut command = end.command("bash");
    command
        .args(["-c", script, "start", DEVICE, "--log", "error"])
        .args(options)
        .arg(&end.interface)
        .stdin(Stdio::from(tun))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Carries bytes from one end to the other, all of them and in order.
fn stream(from: &End, to: &End) {
    let listener = {
        let place = SocketAddr::new(to.inside, 0);
        to.within(move || TcpListener::bind(place).unwrap())
    };
    let place = listener.local_addr().unwrap();
    let sending = from.within(move || TcpStream::connect(place).unwrap());
    let sent: Vec<u8> = (0..=250).cycle().take(STREAM_BYTES).collect();
    let (mut receiving, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || (&sending).write_all(sent).unwrap());
        let mut received = Vec::new();
        receiving.read_to_end(&mut received).unwrap();
        assert!(received == *sent, "{} bytes", received.len());
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
