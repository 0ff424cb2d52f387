//! Paths that lose, repeat, reorder, spoil and swallow: what arrives is right, once, and goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use super::flow::{Counted, Way, assert_whole, count, echo};
use super::other::{Other, set};
use super::pair::{Family, Pair};
use super::path::Path;
use super::transfer::exchange;

const DATA: u8 = 4;

#[test]
fn what_the_path_loses_is_all_that_is_lost() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let dropped = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&dropped);
        path.treat(every(7, move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            vec![]
        }));
        let [to_west, to_east] = count_on(&pair, &format!("one in 7 dropped, with {other:?}"));
        let dropped = dropped.load(Ordering::Relaxed);
        assert!(
            (1..=dropped).contains(&to_west.lost),
            "{dropped}: {to_west:?}"
        );
        assert_whole(&[to_east]);

        path.treat(every(50, |_| vec![]));
        exchange(&pair.east, (&pair.west, pair.west.inside), 1 << 20);
    }
}

#[test]
fn what_is_repeated_arrives_once() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let mut heard = VecDeque::new();
        path.treat(move |datagram| {
            heard.push_back(datagram.to_vec());
            if 64 < heard.len() {
                heard.pop_front();
            }
            let old = heard[0].clone();
            vec![datagram.to_vec(), datagram.to_vec(), old]
        });
        let what = format!("everything thrice, and once more later, with {other:?}");
        assert_whole(&count_on(&pair, &what));
    }
}

#[test]
fn what_is_overtaken_arrives() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let mut held: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
        let mut number = 0;
        path.treat(move |datagram| {
            number += 1;
            let mut released = Vec::new();
            while held.front().is_some_and(|(until, _)| *until <= number) {
                released.extend(held.pop_front().map(|(_, it)| it));
            }
            if number % 3 == 0 {
                held.push_back((number + 20, datagram.to_vec()));
            } else {
                released.insert(0, datagram.to_vec());
            }
            released
        });
        let what = format!("one in 3 overtaken by 20, with {other:?}");
        assert_whole(&count_on(&pair, &what));
    }
}

#[test]
fn what_is_spoiled_is_lost_and_nothing_else() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let spoiled = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&spoiled);
        let mut random = SmallRng::seed_from_u64(5);
        path.treat(every(5, move |datagram| {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut datagram = datagram.to_vec();
            let place = random.random_range(0..datagram.len());
            datagram[place] ^= 1 << random.random_range(0..8);
            vec![datagram]
        }));
        let [to_west, to_east] = count_on(&pair, &format!("one in 5 spoiled, with {other:?}"));
        let spoiled = spoiled.load(Ordering::Relaxed);
        assert!(
            (1..=spoiled).contains(&to_west.lost),
            "{spoiled}: {to_west:?}"
        );
        assert_eq!(to_west.repeated, 0);
        assert_whole(&[to_east]);
    }
}

/// Noise of every kind and length, pieces of genuine messages, and those with other beginnings.
#[test]
fn malformed_datagrams_disturb_nothing() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let mut random = SmallRng::seed_from_u64(6);
        path.treat(move |datagram| {
            let mut noise = vec![0; random.random_range(0..1_500)];
            random.fill_bytes(&mut noise);
            let mut sound = noise.clone();
            sound.resize([148, 92, 64, 32, 0, 3][random.random_range(0..6)], 0);
            for (byte, value) in sound.iter_mut().zip([random.random_range(0..6), 0, 0, 0]) {
                *byte = value;
            }
            let piece = datagram[..random.random_range(0..datagram.len())].to_vec();
            let mut another = datagram.to_vec();
            another[0] = random.random_range(0..6);
            another[1] = 1;
            vec![noise, sound, piece, another, datagram.to_vec()]
        });
        let what = format!("four malformed for each genuine one, with {other:?}");
        assert_whole(&count_on(&pair, &what));
    }
}

/// Nothing gets through for a while, and then everything as before.
#[test]
fn a_cut_is_survived_by_the_session() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        let what = format!("100 swallowed, with {other:?}");
        let [to_west, to_east] = count(&what, Way::both(&pair), || {
            let mut left = 100;
            path.treat(move |datagram| {
                left -= i32::from(0 < left);
                if left == 0 {
                    vec![datagram.to_vec()]
                } else {
                    vec![]
                }
            });
        });
        assert!((1..=100).contains(&to_west.lost), "{to_west:?}");
        assert_whole(&[to_east]);
    }
}

/// Large datagrams vanish without a word. Streams find that out by themselves, if the system is told
/// to look; small packets never notice.
#[test]
fn a_path_that_swallows_large_datagrams_is_found_out_by_streams() {
    for other in Other::ALL {
        let (pair, path) = on_a_path(other);
        for end in [&pair.east, &pair.west] {
            set(end, "ipv4/tcp_mtu_probing", "1");
        }
        path.treat(|datagram| {
            let fits = datagram.len() <= 1_300;
            if fits {
                vec![datagram.to_vec()]
            } else {
                vec![]
            }
        });
        exchange(&pair.east, (&pair.west, pair.west.inside), 1 << 18);
        assert_whole(&count_on(
            &pair,
            &format!("none above 1300 bytes, with {other:?}"),
        ));
    }
}

fn on_a_path(other: Other) -> (Pair, Path) {
    let pair = other.pair(Family::V4);
    let path = Path::between(&pair);
    echo(&Way::new(&pair.east, &pair.west), &[1]);
    (pair, path)
}

fn count_on(pair: &Pair, what: &str) -> [Counted; 2] {
    count(what, Way::both(pair), || ())
}

/// Treats one in so many packets, and leaves the others and handshakes alone.
fn every(
    period: u32,
    mut treat: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static {
    let mut number = 0;
    move |datagram| {
        number += u32::from(datagram[0] == DATA);
        if datagram[0] == DATA && number % period == 0 {
            treat(datagram)
        } else {
            vec![datagram.to_vec()]
        }
    }
}
