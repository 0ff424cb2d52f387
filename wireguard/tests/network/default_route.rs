//! A tunnel that takes everything, except its own datagrams, which carry a mark.

use std::net::IpAddr;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::eventually;
use super::other::{Other, add_other_family, allow};
use super::pair::Family;

#[test]
fn everything_goes_through_the_tunnel_but_the_tunnel_itself() {
    for other in Other::ALL {
        for family in [Family::V4, Family::V6] {
            let pair = other.pair(family);
            let (east, west) = (&pair.east, &pair.west);
            add_other_family(&pair);
            allow(east, west, "0.0.0.0/0,::/0");
            east.wg(&["fwmark", "51820"]);
            for family in ["-4", "-6"] {
                let unmarked = [
                    family, "rule", "add", "not", "fwmark", "51820", "table", "51820",
                ];
                east.run("ip", &unmarked);
                let route = [
                    family,
                    "route",
                    "add",
                    "default",
                    "dev",
                    &east.interface,
                    "table",
                    "51820",
                ];
                east.run("ip", &route);
            }
            for (far, own) in [("203.0.113.7", "10."), ("2001:db8:7::7", "fd")] {
                let far: IpAddr = far.parse().unwrap();
                west.add_address("lo", far);
                let route_get = ["route", "get", &far.to_string()];
                eventually("west knows that this is itself", || {
                    west.run("ip", &route_get).starts_with("local")
                });
                let own = [east.inside, super::other::of_other_family(east)]
                    .into_iter()
                    .find(|it| it.to_string().starts_with(own))
                    .unwrap();
                let way = Way::between((&east.namespace, own), (&west.namespace, far));
                echo(&way, &[1, 3_000]);
                let what = format!("everything goes to {far} through the tunnel, with {other:?}");
                assert_whole(&count(&what, [way], || east.wg(&["fwmark", "51820"])));
            }
            // Had it eaten its own datagrams, it would have grown without end.
            let sent: u64 = east.peer_dump()[6].parse().unwrap();
            assert!(sent < 1 << 18, "{sent} bytes");
        }
    }
}
