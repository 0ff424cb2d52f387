//! Secrets that change under traffic, ends that start again, and keys that do not fit.

use std::net::SocketAddr;
use std::time::Duration;

use wireguard::{PresharedKey, PrivateKey};

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::{eventually, patiently};
use super::other::{Other, keep_alive, set_preshared_key};
use super::pair::{End, Family, PORT, Pair};

/// Each change brings a new session, so that this is a rekey under load as well.
#[test]
fn new_preshared_keys_lose_nothing() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let what = format!("four new preshared keys, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            for _ in 0..4 {
                let former = handshakes(&pair);
                let key = PresharedKey::generate();
                set_preshared_key(west, east, &key);
                set_preshared_key(east, west, &key);
                eventually("a session with it", || former < handshakes(&pair));
            }
        });
        assert_whole(&counted);
    }
}

#[test]
fn a_new_private_key_loses_nothing() {
    for other in Other::ALL {
        let mut pair = other.pair(Family::V4);
        let what = format!("a new private key, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            let former = pair.east.private_key.public_key().to_string();
            pair.east.private_key = PrivateKey::generate();
            pair.east.set_private_key();
            introduce_anew(&pair.west, &former, &pair.east);
            eventually("a session with it", || pair.west.peer_dump()[4] != "0");
        });
        let [to_west, to_east] = counted;
        assert_whole(&[to_west]);
        match other {
            Other::Ours => assert_whole(&[to_east]),
            // It forgets what it has in hand for a peer that is removed.
            Other::WireguardGo => assert!(to_east.lost * 20 < to_east.sent, "{to_east:?}"),
        }
    }
}

/// What is sent while an end is away is lost; nothing after the first session of its new life.
#[test]
fn an_end_that_dies_and_starts_again_is_met_anew() {
    for other in Other::ALL {
        let mut pair = other.pair(Family::V4);
        let what = format!("the other end is killed and starts again, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            pair.west.kill();
            std::fs::remove_file(pair.west.socket()).ok();
            other.start(&mut pair.west);
            pair.west.configure(&pair.east);
            eventually("a session", || pair.west.peer_dump()[4] != "0");
        });
        assert!(counted.iter().all(|it| it.repeated == 0), "{counted:?}");
        assert_whole(&count(&what, Way::both(&pair), || ()));
    }
}

#[test]
fn keys_that_do_not_fit_let_nothing_through_until_they_do() {
    for other in Other::ALL {
        let pair = other.strangers(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let key = PresharedKey::generate();
        east.configure(west);
        set_preshared_key(east, west, &key);
        west.configure(east);
        keep_alive(west, east, "1");

        let receiver = west.udp(west.inside, 0);
        let to = receiver.local_addr().unwrap();
        let sender = east.udp(east.inside, 0);
        for _ in 0..20 {
            sender.send_to(b"early", to).unwrap();
        }
        receiver
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        patiently(|| receiver.recv(&mut [0; 64])).expect_err("nothing passes");

        set_preshared_key(west, east, &key);
        echo(&Way::new(east, west), &[1]);
        assert_whole(&count("keys that fit at last", Way::both(&pair), || ()));
    }
}

/// When the pair last had a new session, by the clock of the one that knows first.
pub(crate) fn handshakes(pair: &Pair) -> (u64, u32) {
    let state = pair.east.uapi().get().unwrap();
    let west = &state.peers[&pair.west.private_key.public_key()];
    west.last_handshake
        .map_or((0, 0), |it| (it.seconds, it.nanoseconds))
}

/// Puts `other` with its new key in the place of its former one.
fn introduce_anew(end: &End, former: &str, other: &End) {
    let peer = other.private_key.public_key().to_string();
    let endpoint = SocketAddr::new(other.outside, PORT).to_string();
    let inside = other.inside.to_string();
    end.wg(&[
        "peer",
        former,
        "remove",
        "peer",
        &peer,
        "endpoint",
        &endpoint,
        "allowed-ips",
        &inside,
    ]);
}
