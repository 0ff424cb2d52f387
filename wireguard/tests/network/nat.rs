//! A router between the ends that hides the east behind its own address and forgets soon.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::{Namespace, join, names, patiently};
use super::other::{Other, endpoint, keep_alive, set};
use super::pair::{Family, PORT, Pair};

/// How long the router remembers who sent to whom, in seconds.
const MEMORY: &str = "2";

/// Longer than the router remembers; a busy machine only makes it more so.
const SILENCE: Duration = Duration::from_secs(4);

#[test]
fn a_persistent_keepalive_keeps_the_way_open() {
    for other in Other::ALL {
        for family in [Family::V4, Family::V6] {
            let (_router, pair) = behind_a_router(other, family);
            keep_alive(&pair.east, &pair.west, "1");
            echo(&Way::new(&pair.east, &pair.west), &[1]);
            assert_eq!(endpoint(&pair.west).ip(), router_outside(family));

            thread::sleep(SILENCE);
            let what = format!("west speaks first after a silence, with {other:?}");
            let ways = [Way::new(&pair.west, &pair.east)];
            assert_whole(&count(&what, ways, || ()));
        }
    }
}

/// The router knows nobody any more and gives the east another port when it speaks again.
#[test]
fn without_one_the_way_closes_and_the_hidden_end_opens_it_again() {
    for other in Other::ALL {
        let (_router, pair) = behind_a_router(other, Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        echo(&Way::new(east, west), &[1]);
        let former = endpoint(west);

        thread::sleep(SILENCE);
        let receiver = east.udp(east.inside, 0);
        let to = receiver.local_addr().unwrap();
        west.udp(west.inside, 0).send_to(b"lost", to).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        patiently(|| receiver.recv(&mut [0; 64])).expect_err("the way is closed");

        echo(&Way::new(east, west), &[1]);
        let present = endpoint(west);
        assert_ne!(former, present, "the router chose the same port again");
        assert_eq!(former.ip(), present.ip());
        let what = format!("after a move behind the router, with {other:?}");
        assert_whole(&count(&what, Way::both(&pair), || ()));
    }
}

fn behind_a_router(other: Other, family: Family) -> (Namespace, Pair) {
    let mut pair = other.strangers(family);
    let [name] = names(["r"]);
    let router = Namespace::new(name);
    pair.east.run("ip", &["link", "del", "cable"]);
    join((&pair.east, "home"), (&router, "home"));
    join((&pair.west, "world"), (&router, "world"));
    let [home, hidden, seen, world] = addresses(family);
    for (host, interface, address) in [
        (&*pair.east.namespace, "home", hidden),
        (&router, "home", home),
        (&router, "world", seen),
        (&*pair.west.namespace, "world", world),
    ] {
        host.add_address(interface, address);
    }
    let (forwarding, program) = match family {
        Family::V4 => ("ipv4/ip_forward", "iptables"),
        Family::V6 => ("ipv6/conf/all/forwarding", "ip6tables"),
    };
    set(&router, forwarding, "1");
    let rule = "-t nat -A POSTROUTING -o world -j MASQUERADE --random-fully";
    router.run(program, &rule.split(' ').collect::<Vec<_>>());
    for timeout in [
        "nf_conntrack_udp_timeout",
        "nf_conntrack_udp_timeout_stream",
    ] {
        set(&router, &format!("netfilter/{timeout}"), MEMORY);
    }
    let gateway = home.to_string();
    let family = if home.is_ipv4() { "-4" } else { "-6" };
    let route = [family, "route", "add", "default", "via", &gateway];
    pair.east.run("ip", &route);

    (pair.east.outside, pair.west.outside) = (hidden, world);
    pair.configure();
    // West has to find out by itself where east is.
    let nowhere = SocketAddr::new(seen, PORT + 1);
    super::other::point(&pair.west, &pair.east, nowhere);
    (router, pair)
}

/// The router's at home, the east's, the router's in the world, the west's.
fn addresses(family: Family) -> [IpAddr; 4] {
    let parse = |it: &str| it.parse().unwrap();
    match family {
        Family::V4 => ["10.50.0.1", "10.50.0.2", "198.51.100.1", "198.51.100.2"].map(parse),
        Family::V6 => ["fd50::1", "fd50::2", "2001:db8:1::1", "2001:db8:1::2"].map(parse),
    }
}

fn router_outside(family: Family) -> IpAddr {
    addresses(family)[2]
}
