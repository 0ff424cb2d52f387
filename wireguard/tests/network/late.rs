//! Datagrams that come thousands later, or once more: what a session still knows arrives, and nothing
//! else happens.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wireguard::PresharedKey;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::eventually;
use super::other::{Other, set_preshared_key};
use super::pair::{Family, Pair};
use super::path::Path;
use super::renewal::handshakes;

/// How many are held back.
const HELD: u32 = 20;

/// Within every window: the narrowest is wireguard-go's, of 8128 datagrams.
const NEAR: u64 = 7_900;

/// Beyond every window: the widest is ours, of 8192.
const FAR: u64 = 8_300;

/// A numbered packet of a flow, sealed: nothing else in these trials is as long.
const NUMBERED_BYTES: usize = 80;

/// So many packets at once leave room in every buffer.
const BURST: u64 = 64;

const INITIATION: u8 = 1;

#[test]
fn what_is_overtaken_by_thousands_arrives_as_far_as_the_window_reaches() {
    for other in Other::ALL {
        for (distance, lost) in [(NEAR, 0), (FAR, HELD)] {
            let pair = other.pair(Family::V4);
            let path = Path::between(&pair);
            echo(&Way::new(&pair.east, &pair.west), &[1]);
            let what = format!("{HELD} overtaken by {distance}, with {other:?}");
            let [to_west, to_east] = count(&what, Way::both(&pair), || {
                overtake(&pair, &path, distance);
            });
            assert_eq!((to_west.lost, to_west.repeated), (lost, 0), "{what}");
            assert_whole(&[to_east]);
        }
    }
}

/// Whoever has heard a handshake can send it again, from the very place that it came from.
#[test]
fn a_handshake_that_is_repeated_is_not_answered() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let path = Path::between(&pair);
        let heard = Arc::new(Mutex::new(Vec::new()));
        path.treat({
            let heard = Arc::clone(&heard);
            move |datagram| {
                if datagram[0] == INITIATION {
                    heard.lock().unwrap().push(datagram.to_vec());
                }
                vec![datagram.to_vec()]
            }
        });
        echo(&Way::new(east, west), &[1]);
        let initiations = heard.lock().unwrap().clone();
        let answers = path.answers();
        assert!(!initiations.is_empty() && 0 < answers);

        let repeated = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&repeated);
        let mut number = 0;
        path.treat(move |datagram| {
            number += 1;
            let mut datagrams = vec![datagram.to_vec()];
            if number % 5 == 0 {
                counter.fetch_add(1, Ordering::Relaxed);
                datagrams.extend(initiations.iter().cloned());
            }
            datagrams
        });
        let what = format!("a handshake again and again, with {other:?}");
        assert_whole(&count(&what, Way::both(&pair), || ()));
        let repeated = repeated.load(Ordering::Relaxed);
        assert!(40 <= repeated, "{repeated}");
        assert_eq!(path.answers(), answers, "{what}");

        let what = format!("a new one between them, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            let (former, key) = (handshakes(&pair), PresharedKey::generate());
            set_preshared_key(west, east, &key);
            set_preshared_key(east, west, &key);
            eventually("a session with it", || former < handshakes(&pair));
        });
        assert_whole(&counted);
        assert!(answers < path.answers(), "{what}");
    }
}

/// Holds some packets of the flow back until others have come so far ahead of them.
fn overtake(pair: &Pair, path: &Path, distance: u64) {
    let ahead = Arc::new(AtomicU64::new(0));
    let held_enough = Arc::new(AtomicBool::new(false));
    path.treat({
        let (ahead, held_enough) = (Arc::clone(&ahead), Arc::clone(&held_enough));
        let mut held: Vec<Vec<u8>> = Vec::new();
        let mut last_held = 0;
        move |datagram| {
            let is_enough = held_enough.load(Ordering::Relaxed);
            if !is_enough && datagram.len() == NUMBERED_BYTES {
                last_held = counter(datagram);
                held.push(datagram.to_vec());
                held_enough.store(held.len() == HELD as usize, Ordering::Relaxed);
                return vec![];
            }
            let mut datagrams = vec![datagram.to_vec()];
            if is_enough {
                let distance_now = counter(datagram).saturating_sub(last_held);
                ahead.store(distance_now, Ordering::Relaxed);
                if distance <= distance_now {
                    datagrams.append(&mut held);
                }
            }
            datagrams
        }
    });
    eventually("enough is held back", || {
        held_enough.load(Ordering::Relaxed)
    });

    let nobody = pair.west.udp(pair.west.inside, 0);
    let sender = pair.east.udp(pair.east.inside, 0);
    sender.connect(nobody.local_addr().unwrap()).unwrap();
    let ahead = || ahead.load(Ordering::Relaxed);
    eventually("others are far ahead", || {
        let before = ahead();
        for _ in 0..BURST {
            sender.send(&[0; 200]).ok();
        }
        // The flow's packets should find room beside them; what is lost of these does not matter.
        for _ in 0..BURST {
            if before + BURST <= ahead() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        distance <= ahead()
    });
}

/// A datagram's place in its session.
fn counter(datagram: &[u8]) -> u64 {
    let bytes = datagram.get(8..16).and_then(|it| it.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}
