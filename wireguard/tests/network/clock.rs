//! A wall clock that goes back while a device is away: peers know timestamps of a time that is still
//! to come, and answer nothing that is not later.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::{eventually, patiently};
use super::other::Other;
use super::pair::{End, Family, Pair};

const DAY_SECONDS: u64 = 86_400;

#[test]
fn an_end_whose_clock_went_back_is_answered_because_it_remembers() {
    for other in Other::ALL {
        let mut pair = Pair::without_devices(Family::V4);
        let tomorrow = unix_seconds() + DAY_SECONDS;
        remember(&pair.east, tomorrow);
        pair.east.start();
        other.start(&mut pair.west);
        pair.configure();
        // From here on the west knows tomorrow's timestamps.
        echo(&Way::new(&pair.east, &pair.west), &[1]);

        let what = format!("a clock goes back by a day, with {other:?}");
        let counted = count(&what, Way::both(&pair), || {
            start_again(&mut pair.east, &pair.west);
            eventually("a session", || pair.east.peer_dump()[4] != "0");
        });
        assert!(counted.iter().all(|it| it.repeated == 0), "{counted:?}");
        assert_whole(&count(&what, Way::both(&pair), || ()));

        // Whoever forgets has to wait until tomorrow.
        pair.east.kill();
        fs::remove_dir_all(pair.east.state_directory()).unwrap();
        pair.east.start();
        pair.east.configure(&pair.west);
        let receiver = pair.west.udp(pair.west.inside, 0);
        let to = receiver.local_addr().unwrap();
        let sender = pair.east.udp(pair.east.inside, 0);
        for _ in 0..20 {
            sender.send_to(b"early", to).unwrap();
        }
        receiver
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        patiently(|| receiver.recv(&mut [0; 64])).expect_err("nothing passes");
    }
}

fn start_again(end: &mut End, other: &End) {
    end.kill();
    end.start();
    end.configure(other);
}

/// Leaves what a former life would have left whose timestamps went as far as this.
fn remember(end: &End, unix_seconds: u64) {
    let directory = end.state_directory().join(&end.interface);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("timestamp"), format!("{unix_seconds}\n")).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the trial is about the wall clock"
)]
fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}
