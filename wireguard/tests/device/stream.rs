//! Streams through the tunnel: frames of many packets, on paths of every width, with every other end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use super::pair::{End, Family, PATIENCE, Pair, run};

const PORT: u16 = 5_000;

#[test]
fn arrive_whole_both_ways_between_two_of_ours() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::configured(family);
        exchange(&pair.east, &pair.west, 32 << 20);
        let [.., received, sent, _] = &pair.east.peer_dump()[..] else {
            panic!("too few fields");
        };
        for bytes in [received, sent] {
            assert!(32 << 20 < bytes.parse::<u64>().unwrap(), "{bytes}");
        }
    }
}

#[test]
fn arrive_whole_both_ways_with_wireguard_go_at_the_other_end() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::with_wireguard_go(family);
        exchange(&pair.east, &pair.west, 4 << 20);
    }
}

#[test]
fn arrive_whole_over_a_wide_path() {
    let pair = Pair::configured(Family::V4);
    for end in [&pair.east, &pair.west] {
        end.run("ip", &["link", "set", "cable", "mtu", "9000"]);
        end.run("ip", &["link", "set", &end.interface, "mtu", "8920"]);
    }
    exchange(&pair.east, &pair.west, 32 << 20);
}

/// Nobody told the interface; datagrams go in fragments, and not into a black hole.
#[test]
fn arrive_whole_over_a_path_that_is_narrower_than_the_interface_thinks() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::configured(family);
        for end in [&pair.east, &pair.west] {
            end.run("ip", &["link", "set", "cable", "mtu", "1300"]);
        }
        exchange(&pair.east, &pair.west, 2 << 20);
    }
}

#[test]
fn arrive_whole_where_the_card_cuts_no_datagrams() {
    let pair = Pair::configured(Family::V4);
    for end in [&pair.east, &pair.west] {
        let off = ["tso", "off", "gso", "off", "gro", "off"];
        let mut arguments = vec!["-K", "cable", "tx-udp-segmentation", "off"];
        arguments.extend(off);
        end.run("ethtool", &arguments);
    }
    exchange(&pair.east, &pair.west, 16 << 20);
}

#[test]
fn survive_a_new_preshared_key_a_move_and_a_restart_of_the_other_end() {
    let Pair { mut east, west } = Pair::configured(Family::V4);
    let listener = west.within(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap());
    let address = (west.inside, PORT);
    let sender = east.within(move || TcpStream::connect(address).unwrap());
    let receiver = listener.accept().unwrap().0;
    let bytes = 64 << 20;
    thread::scope(|scope| {
        let received = scope.spawn(move || receive(receiver));
        let sent = scope.spawn(move || send(sender, bytes));

        let key = run("wg", &["genpsk"]);
        for (end, other) in [(&east, &west), (&west, &east)] {
            let peer = other.private_key.public_key().to_string();
            let file = std::env::temp_dir().join(format!("{}.psk", end.namespace));
            std::fs::write(&file, &key).unwrap();
            end.wg(&["peer", &peer, "preshared-key", file.to_str().unwrap()]);
            std::fs::remove_file(&file).unwrap();
        }
        east.wg(&["listen-port", "51999"]);
        east.stop();
        east.start();
        east.configure(&west);
        let peer = west.private_key.public_key().to_string();
        let file = std::env::temp_dir().join(format!("{}.psk", east.namespace));
        std::fs::write(&file, &key).unwrap();
        east.wg(&["peer", &peer, "preshared-key", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();

        sent.join().unwrap();
        assert_eq!(received.join().unwrap(), bytes);
    });
}

/// Sends `bytes` both ways at once, and checks every one.
fn exchange(east: &End, west: &End, bytes: usize) {
    let address = (west.inside, PORT);
    let listener = west.within(move || TcpListener::bind(address).unwrap());
    let ours = east.within(move || TcpStream::connect(address).unwrap());
    let theirs = listener.accept().unwrap().0;
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for stream in [ours, theirs] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let sender = stream.try_clone().unwrap();
            scope.spawn(move || send(sender, bytes));
            receivers.push(scope.spawn(move || receive(stream)));
        }
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), bytes);
        }
    });
}

fn send(mut stream: TcpStream, bytes: usize) {
    let mut sent = 0;
    while sent < bytes {
        let chunk: Vec<u8> = (sent..bytes.min(sent + (1 << 16))).map(byte).collect();
        stream.write_all(&chunk).unwrap();
        sent += chunk.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// How many bytes came, each of which is the right one.
fn receive(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        let length = super::pair::patiently(|| stream.read(&mut buffer)).unwrap();
        if length == 0 {
            return received;
        }
        let expected = (received..received + length).map(byte);
        assert!(
            buffer[..length].iter().copied().eq(expected),
            "other bytes after {received}"
        );
        received += length;
    }
}

/// The byte at a place of every stream; no two stretches of it are alike for long.
fn byte(place: usize) -> u8 {
    let mixed = (place as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_le_bytes()[place % 8]
}
