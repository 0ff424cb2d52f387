//! Which peer a packet may come from and go to, also while that changes.

use std::net::SocketAddr;
use std::time::Duration;

use wireguard::PrivateKey;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::{eventually, patiently};
use super::other::{Other, allow, endpoint};
use super::pair::Family;

/// A peer is where its genuine packets come from, even if none of them may pass.
#[test]
fn a_more_specific_prefix_of_another_peer_shuts_out_its_former_owner() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        allow(east, west, "10.77.0.0/24");
        echo(&Way::new(west, east), &[7]);

        let thief = PrivateKey::generate().public_key().to_string();
        east.wg(&["peer", &thief, "allowed-ips", "10.77.0.2/32"]);
        west.wg(&["listen-port", "9997"]);
        let receiver = east.udp(east.inside, 0);
        let to = receiver.local_addr().unwrap();
        let sender = west.udp(west.inside, 0);
        let moved = SocketAddr::new(west.outside, 9_997);
        let west_key = west.private_key.public_key();
        eventually("west is heard at its new port", || {
            sender.send_to(b"spoofed", to).unwrap();
            let state = east.uapi().get().unwrap();
            state.peers[&west_key].endpoint == Some(moved)
        });
        receiver
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        patiently(|| receiver.recv(&mut [0; 64])).expect_err("nothing passes");

        east.wg(&["peer", &thief, "remove"]);
        assert_eq!(endpoint(east), moved);
        echo(&Way::new(west, east), &[7]);
    }
}

/// The same prefixes again, more of them, fewer, and those of others beside: under traffic.
#[test]
fn changing_what_a_peer_may_have_loses_nothing_of_what_it_keeps() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let beside = PrivateKey::generate().public_key().to_string();
        let what = format!("allowed IPs change, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            for _ in 0..5 {
                allow(east, west, "10.77.0.0/24,10.77.0.2/32,fd77::/64");
                east.wg(&["peer", &beside, "allowed-ips", "10.77.0.0/24,10.77.0.3/32"]);
                allow(east, west, "10.77.0.2/32");
                allow(east, west, "10.77.0.2/32,0.0.0.0/0,::/0");
                east.wg(&["peer", &beside, "remove"]);
                allow(east, west, "10.77.0.0/16");
            }
        });
        assert_whole(&counted);
    }
}

/// While another has the prefix, packets are lost; once it is back, none.
#[test]
fn a_prefix_that_comes_back_is_used_again() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let thief = PrivateKey::generate().public_key().to_string();
        let what = format!("a prefix goes to another peer and comes back, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            east.wg(&["peer", &thief, "allowed-ips", "10.77.0.2/32"]);
            let state = east.uapi().get().unwrap();
            let owners = state.peers.values().filter(|it| !it.allowed_ips.is_empty());
            assert_eq!(owners.count(), 1);
            allow(east, west, "10.77.0.2/32");
        });
        assert!(
            counted.iter().all(|it| it.lost * 4 < it.sent),
            "{counted:?}"
        );
        assert_whole(&count(&what, Way::both(&pair), || ()));
    }
}
