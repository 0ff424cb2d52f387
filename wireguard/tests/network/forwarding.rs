//! Traffic of others: hosts behind each end, and a network of another kind inside the tunnel.

use std::net::IpAddr;
use std::sync::Arc;

use super::flow::{Way, assert_whole, count, echo};
use super::namespace::{Namespace, join, names};
use super::other::{Other, allow, set};
use super::pair::{End, Family};
use super::transfer::exchange;

/// Streams of hosts that cut and join packets themselves arrive as frames, and leave as such.
#[test]
fn hosts_behind_the_ends_reach_each_other() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let (east, west) = (&pair.east, &pair.west);
        let here = host_behind(east, 1);
        let there = host_behind(west, 2);
        allow(east, west, "10.77.0.2/32,10.9.2.0/24");
        allow(west, east, "10.77.0.1/32,10.9.1.0/24");
        for (end, other_side) in [(east, "10.9.2.0/24"), (west, "10.9.1.0/24")] {
            end.run("ip", &["route", "add", other_side, "dev", &end.interface]);
        }

        let to = (&here, address(1));
        let from = (&there, address(2));
        let ways = [Way::between(to, from), Way::between(from, to)];
        for way in &ways {
            echo(way, &[1, 1_300, 1_392]);
        }
        exchange(&here, (&there, address(2)), 4 << 20);
        assert_whole(&count(
            &format!("hosts behind, with {other:?}"),
            ways,
            || (),
        ));
    }
}

/// VXLAN sends UDP without a checksum, which must not be made into one that is wrong.
#[test]
fn a_vxlan_inside_the_tunnel_carries_streams() {
    for other in Other::ALL {
        let pair = other.pair(Family::V4);
        let [east, west] = [(&pair.east, &pair.west, 1), (&pair.west, &pair.east, 2)].map(
            |(end, other, number)| {
                let remote = other.inside.to_string();
                end.run(
                    "ip",
                    &[
                        "link",
                        "add",
                        "overlay",
                        "type",
                        "vxlan",
                        "id",
                        "5",
                        "remote",
                        &remote,
                        "dstport",
                        "4789",
                        "dev",
                        &end.interface,
                        "noudpcsum",
                    ],
                );
                let address: IpAddr = [10, 66, 0, number].into();
                end.add_address("overlay", address);
                end.run("ip", &["link", "set", "overlay", "up"]);
                (&end.namespace, address)
            },
        );
        let ways = [Way::between(east, west), Way::between(west, east)];
        for way in &ways {
            echo(way, &[1, 1_300, 4_000]);
        }
        exchange(east.0, (west.0, west.1), 4 << 20);
        assert_whole(&count(
            &format!("inside VXLAN, with {other:?}"),
            ways,
            || (),
        ));
    }
}

/// A host with one way out, which forwards.
fn host_behind(end: &End, number: u8) -> Arc<Namespace> {
    let [name] = names(["h"]);
    let host = Arc::new(Namespace::new(name));
    join((end, "behind"), (&host, "out"));
    let gateway: IpAddr = [10, 9, number, 254].into();
    end.add_address("behind", gateway);
    host.add_address("out", address(number));
    host.run(
        "ip",
        &["route", "add", "default", "via", &gateway.to_string()],
    );
    set(end, "ipv4/ip_forward", "1");
    host
}

fn address(number: u8) -> IpAddr {
    [10, 9, number, 1].into()
}
