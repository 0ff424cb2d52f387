//! Ends that move, and are found again by what they send.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::eventually;
use super::other::{Other, endpoint, point, set};
use super::pair::{End, Family, PORT};

/// Each end has a second address, and goes over to it while the first is still there.
#[test]
fn moving_over_before_the_old_place_is_gone_loses_nothing() {
    for other in Other::ALL {
        for family in [Family::V4, Family::V6] {
            let pair = other.pair(family);
            let (east, west) = (&pair.east, &pair.west);
            let [east_there, west_there] = [east, west].map(|it| {
                let address = second(it.outside);
                it.add_address("cable", address);
                SocketAddr::new(address, PORT)
            });
            let what = format!("both ends move, with {other:?}");
            let counted = count(&what, Way::both(&pair), || {
                prefer(east, east_there.ip());
                prefer(west, west_there.ip());
                // What is under way from the old place leads back there, so that it may take more
                // than one attempt.
                eventually("both ends are heard at the new places", || {
                    point(east, west, west_there);
                    point(west, east, east_there);
                    thread::sleep(Duration::from_millis(50));
                    endpoint(west) == east_there && other.answers_from(endpoint(east), west_there)
                });
            });
            assert_whole(&counted);
        }
    }
}

/// Whoever moves without a word is followed, by packets of the other family as well.
#[test]
fn an_end_that_is_suddenly_elsewhere_is_followed() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        for (end, address) in [(east, "2001:db8::1"), (west, "2001:db8::2")] {
            end.add_address("cable", address.parse().unwrap());
        }
        echo(&Way::new(east, west), &[1]);

        set(east, "ipv4/conf/cable/promote_secondaries", "1");
        east.add_address("cable", "192.0.2.99".parse().unwrap());
        east.run("ip", &["addr", "del", "192.0.2.1/24", "dev", "cable"]);
        let places = ["192.0.2.99:9999", "[2001:db8::1]:9998", "192.0.2.99:51820"];
        for place in places.map(|it| it.parse::<SocketAddr>().unwrap()) {
            let ways = Way::both(&pair);
            let counted = count(
                &format!("east goes to {place}, with {other:?}"),
                ways,
                || {
                    east.wg(&["listen-port", &place.port().to_string()]);
                    let west_there: IpAddr = match place {
                        SocketAddr::V4(_) => west.outside,
                        SocketAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into(),
                    };
                    // As above, more than one attempt.
                    eventually("west hears east there", || {
                        point(east, west, SocketAddr::new(west_there, PORT));
                        thread::sleep(Duration::from_millis(50));
                        endpoint(west) == place
                    });
                },
            );
            // What west sent to where nobody was any more.
            assert!(counted[1].lost * 4 < counted[1].sent, "{counted:?}");
            assert!(counted[0].lost * 4 < counted[0].sent, "{counted:?}");
        }
    }
}

/// Sends from `second` from now on, unless it was asked at another address.
fn prefer(end: &End, second: IpAddr) {
    let (first, text) = (format!("{}/64", end.outside), second.to_string());
    let arguments: Vec<&str> = match second {
        IpAddr::V4(_) => {
            let route = "route replace 192.0.2.0/24 dev cable scope link proto kernel src";
            route.split(' ').chain([&*text]).collect()
        }
        IpAddr::V6(_) => {
            let change = [
                "addr",
                "change",
                &first,
                "dev",
                "cable",
                "preferred_lft",
                "0",
            ];
            change.to_vec()
        }
    };
    end.run("ip", &arguments);
}

fn second(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, last] = ip.octets();
            [a, b, c, 100 + last].into()
        }
        IpAddr::V6(ip) => (ip.to_bits() + 100).to_be_bytes().into(),
    }
}
