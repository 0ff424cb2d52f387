//! Streams through the tunnel: frames of many packets, on paths of every width, with every other end.

use std::net::{TcpListener, TcpStream};
use std::thread;

use super::namespace::run;
use super::pair::{Family, Pair};
use super::transfer::{PORT, exchange, receive, send};

#[test]
fn arrive_whole_both_ways_between_two_of_ours() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::configured(family);
        exchange(&pair.east, (&pair.west, pair.west.inside), 32 << 20);
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
        exchange(&pair.east, (&pair.west, pair.west.inside), 4 << 20);
    }
}

#[test]
fn arrive_whole_over_a_wide_path() {
    let pair = Pair::configured(Family::V4);
    for end in [&pair.east, &pair.west] {
        end.run("ip", &["link", "set", "cable", "mtu", "9000"]);
        end.run("ip", &["link", "set", &end.interface, "mtu", "8920"]);
    }
    exchange(&pair.east, (&pair.west, pair.west.inside), 32 << 20);
}

/// Nobody told the interface; datagrams go in fragments, and not into a black hole.
#[test]
fn arrive_whole_over_a_path_that_is_narrower_than_the_interface_thinks() {
    for family in [Family::V4, Family::V6] {
        let pair = Pair::configured(family);
        for end in [&pair.east, &pair.west] {
            end.run("ip", &["link", "set", "cable", "mtu", "1300"]);
        }
        exchange(&pair.east, (&pair.west, pair.west.inside), 2 << 20);
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
    exchange(&pair.east, (&pair.west, pair.west.inside), 16 << 20);
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
            let file = std::env::temp_dir().join(format!("{}.psk", end.name));
            std::fs::write(&file, &key).unwrap();
            end.wg(&["peer", &peer, "preshared-key", file.to_str().unwrap()]);
            std::fs::remove_file(&file).unwrap();
        }
        east.wg(&["listen-port", "51999"]);
        east.stop();
        east.start();
        east.configure(&west);
        let peer = west.private_key.public_key().to_string();
        let file = std::env::temp_dir().join(format!("{}.psk", east.name));
        std::fs::write(&file, &key).unwrap();
        east.wg(&["peer", &peer, "preshared-key", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();

        sent.join().unwrap();
        assert_eq!(received.join().unwrap(), bytes);
    });
}
