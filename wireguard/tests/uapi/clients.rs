//! Clients that are many, slow, silent, or send too much.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use wireguard::PrivateKey;
use wireguard::uapi::{AllowedIpChange, PeerUpdate, Setting, Update};

use super::namespace::{PATIENCE, run};
use super::pair::{End, Family, Pair};

const LOW: &str = "set=1\nfwmark=1\n\n";

#[test]
fn one_connection_may_carry_many_requests() {
    let east = device();
    let mut stream = connect(&east);
    stream
        .write_all(b"set=1\nfwmark=7\n\nget=1\n\nsteal=1\n\nset=1\nfwmark=x\n\nset=1\nfwmark=8\n\nget=1\n\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();

    let expected = [
        "errno=0\n\n",
        "listen_port=0\nfwmark=7\nerrno=0\n\n",
        "errno=-71\n\n",
        "errno=-22\n\n",
        "errno=0\n\n",
        "listen_port=0\nfwmark=8\nerrno=0\n\n",
    ];
    assert_eq!(answers, expected.concat());
}

#[test]
fn a_silent_client_keeps_nobody_waiting_and_is_cut_off() {
    let east = device();
    // As many as there are places would, until they are cut off.
    let mut silent: Vec<UnixStream> = (0..7).map(|_| connect(&east)).collect();
    silent[0].write_all(b"set=1\nfwmark=9\n").unwrap();

    assert_eq!(east.ask(LOW), "errno=0\n\n");
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "cut off");
    }
    assert_eq!(east.uapi().get().unwrap().fwmark, 1);
}

#[test]
fn a_client_that_dribbles_is_cut_off() {
    let east = device();
    let mut stream = connect(&east);
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let outcome = (0..PATIENCE.as_millis() / 100).find_map(|_| {
        // Each byte comes well within any timeout for a single read.
        let written = stream.write_all(b"x");
        match (written, stream.read(&mut [0; 1])) {
            (Ok(()), Err(error)) if error.kind() == ErrorKind::WouldBlock => None,
            outcome => Some(outcome),
        }
    });
    assert!(outcome.is_some(), "still served after {PATIENCE:?}");
}

#[test]
fn more_clients_than_places_are_all_served() {
    let east = device();
    thread::scope(|scope| {
        for number in 0..40 {
            let east = &east;
            scope.spawn(move || {
                let request = format!("set=1\nfwmark={number}\n\n");
                assert_eq!(east.ask(&request), "errno=0\n\n");
                assert!(east.ask("get=1\n\n").ends_with("errno=0\n\n"));
            });
        }
    });
}

#[test]
fn thousands_of_peers_fit_one_request_and_an_endless_one_ends() {
    let east = device();
    let peers = (0..10_000_u32).map(|number| {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let [_, a, b, c] = number.to_be_bytes();
        let prefix = format!("10.{a}.{b}.{c}/32").parse().unwrap();
        PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(prefix)],
            ..PeerUpdate::new(key.into())
        }
    });
    let update = Update {
        private_key: Some(Setting::To(PrivateKey::generate())),
        peers: peers.collect(),
        ..Update::default()
    };
    east.uapi().set(&update).unwrap();
    let before = east.uapi().get().unwrap();
    assert_eq!(before.peers.len(), 10_000);
    let shown = run("wg", &["show", &east.interface, "allowed-ips"]);
    assert_eq!(shown.lines().count(), 10_000);

    let mut stream = connect(&east);
    let piece = [b'x'; 1 << 20];
    let sent = stream.write_all(b"set=1\nreplace_peers=true\n");
    let refused = (0..200).find_map(|_| stream.write_all(&piece).err());
    assert!(sent.is_ok() && refused.is_some(), "200 MiB were taken");
    assert_eq!(east.uapi().get().unwrap(), before);
}

fn device() -> End {
    let Pair { mut east, .. } = Pair::without_devices(Family::V4);
    east.start();
    east
}

fn connect(end: &End) -> UnixStream {
    let stream = UnixStream::connect(end.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
