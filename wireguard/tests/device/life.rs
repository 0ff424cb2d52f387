//! How a device starts and ends, whoever else is there.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::echo::exchange;
use super::namespace::eventually;
use super::pair::{Family, Pair};

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
