//! Every family inside every family, on paths of every width, as packets and as streams.

use super::flow::{Way, echo};
use super::other::{Other, add_other_family};
use super::pair::{Family, Pair};
use super::transfer::exchange;

/// Around every edge: no payload, a full packet of either family, a fragment more, many fragments.
const SIZES: [usize; 12] = [
    0, 1, 15, 16, 1_232, 1_372, 1_373, 1_392, 1_393, 4_000, 20_000, 60_000,
];

#[test]
fn an_ordinary_path() {
    try_all(1_500, 1_420, 2 << 20);
}

/// The least that IPv6 asks of a link.
#[test]
fn a_narrow_path() {
    try_all(1_360, 1_280, 1 << 20);
}

#[test]
fn a_very_wide_path() {
    try_all(65_535, 34_736, 4 << 20);
}

fn try_all(outside_mtu: u16, inside_mtu: u16, bytes: usize) {
    for other in Other::ALL {
        for family in [Family::V4, Family::V6] {
            let pair = other.pair(family);
            let west_too = add_other_family(&pair);
            for end in [&pair.east, &pair.west] {
                let (outside, inside) = (outside_mtu.to_string(), inside_mtu.to_string());
                end.run("ip", &["link", "set", "cable", "mtu", &outside]);
                end.run("ip", &["link", "set", &end.interface, "mtu", &inside]);
            }
            let Pair { east, west } = &pair;
            for way in Way::both(&pair) {
                echo(&way, &SIZES);
            }
            for address in [west.inside, west_too] {
                exchange(east, (west, address), bytes);
            }
        }
    }
}
