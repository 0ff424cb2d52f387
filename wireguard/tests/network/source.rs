//! Which of several addresses answers leave from: the one that was asked, as long as it is there.

use std::net::{IpAddr, SocketAddr};

use super::flow::{Way, count, echo};
use super::namespace::{eventually, join};
use super::other::{Other, endpoint, point, set};
use super::pair::{Family, PORT};

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        west.add_address("cable", "2001:db8::2".parse().unwrap());
        let more = ["192.0.2.11", "2001:db8::1", "2001:db8::11", "192.0.2.1"];
        let more = more.map(|it| it.parse::<IpAddr>().unwrap());
        for address in &more[..3] {
            east.add_address("cable", *address);
        }
        for address in more {
            let asked = SocketAddr::new(address, PORT);
            point(west, east, asked);
            for (from, to) in [(west, east), (east, west)] {
                echo(&Way::new(from, to), &[1, 1]);
            }
            assert_eq!(endpoint(west), asked, "west was answered from elsewhere");
        }
    }
}

/// What the east sends when its address is gone leaves from the next one at once.
#[test]
fn another_address_takes_over_when_one_is_removed() {
    for other in Other::ALL {
        for (family, first, second) in [
            (Family::V4, "192.0.2.1/24", "192.0.2.11"),
            (Family::V6, "2001:db8::1/64", "2001:db8::11"),
        ] {
            let pair = other.pair(family);
            let (east, west) = (&pair.east, &pair.west);
            set(east, "ipv4/conf/cable/promote_secondaries", "1");
            let second = second.parse().unwrap();
            east.add_address("cable", second);
            // West has asked the first address, so that answers leave from it.
            echo(&Way::new(west, east), &[1]);

            let what = format!("an address is removed, with {other:?}");
            let [to_west, to_east] = count(&what, Way::both(&pair), || {
                east.run("ip", &["addr", "del", first, "dev", "cable"]);
                let moved = SocketAddr::new(second, PORT);
                eventually("west hears the second", || endpoint(west) == moved);
            });
            assert_eq!((to_west.lost, to_west.repeated), (0, 0));
            // Until west hears of it, what it sends goes to nobody.
            assert!(to_east.lost * 4 < to_east.sent, "{to_east:?}");
        }
    }
}

#[test]
fn answers_leave_by_the_interface_that_was_asked() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        join((east, "spare"), (west, "spare"));
        let [east_spare, west_spare] =
            ["198.51.100.1", "198.51.100.2"].map(|it| it.parse().unwrap());
        east.add_address("spare", east_spare);
        west.add_address("spare", west_spare);

        point(west, east, SocketAddr::new(east_spare, PORT));
        echo(&Way::new(west, east), &[1]);
        assert_eq!(endpoint(east).ip(), west_spare);
        assert_eq!(endpoint(west).ip(), east_spare);

        east.run("ip", &["link", "set", "spare", "down"]);
        point(west, east, SocketAddr::new(east.outside, PORT));
        echo(&Way::new(west, east), &[1]);
        assert_eq!(endpoint(east).ip(), west.outside);
    }
}
