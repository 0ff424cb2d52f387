//! Sessions that are renewed because they are old. That takes two minutes, so that it is not tried
//! with the others: `cargo test -p wireguard --test network -- --ignored --nocapture`.

use std::thread;
use std::time::Duration;

use super::flow::{Way, assert_whole, count, echo};
use super::other::Other;
use super::pair::{Family, Pair};
use super::renewal::handshakes;

/// The age at which whoever began a session begins another, in seconds.
const OLD_SECONDS: u64 = 120;

/// Longer than any session may live; what takes this long has failed.
const TOO_LONG: Duration = Duration::from_secs(185);

const PAUSE: Duration = Duration::from_millis(100);

#[test]
#[ignore = "sessions are renewed after two minutes"]
fn an_old_session_is_renewed_under_traffic_and_nothing_is_lost() {
    let trials = [
        (Other::Ours, true),
        (Other::WireguardGo, true),
        (Other::WireguardGo, false),
    ];
    thread::scope(|scope| {
        for (other, east_begins) in trials {
            scope.spawn(move || renew(other, east_begins));
        }
    });
}

/// Whoever speaks first begins the session, and has to renew it.
fn renew(other: Other, east_begins: bool) {
    let pair = other.pair(Family::V4);
    let (east, west) = (&pair.east, &pair.west);
    let first = if east_begins {
        Way::new(east, west)
    } else {
        Way::new(west, east)
    };
    echo(&first, &[1]);
    let born = handshakes(&pair);
    let who = if east_begins { "we begin" } else { "it begins" };
    let what = format!("an old session, with {other:?}, and {who}");
    let counted = count(&what, Way::both(&pair), || wait_for_another(&pair, born));
    assert_whole(&counted);
    let age = handshakes(&pair).0 - born.0;
    println!("{what}: renewed after {age} s");
    assert!(OLD_SECONDS - 1 <= age, "{age} s");
}

fn wait_for_another(pair: &Pair, born: (u64, u32)) {
    let mut waited = Duration::ZERO;
    while handshakes(pair) == born {
        assert!(waited < TOO_LONG, "the session is never renewed");
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    // Some packets under the new one, which may be many if the machine is busy.
    thread::sleep(10 * PAUSE);
}
