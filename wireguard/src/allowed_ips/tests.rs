//! The table beside lists that are searched from end to end.

use proptest::prelude::*;

use super::*;

#[test]
fn prefers_the_longest_prefix() {
    let table = table(&[
        ("0.0.0.0/0", 1),
        ("10.0.0.0/8", 2),
        ("10.1.2.3/32", 3),
        ("::/0", 4),
    ]);

    assert_eq!(table.receivers(ip("10.1.2.3")), [3]);
    assert_eq!(table.receivers(ip("10.1.2.4")), [2]);
    assert_eq!(table.receivers(ip("11.1.2.4")), [1]);
    assert_eq!(table.receivers(ip("2001:db8::1")), [4]);
}

#[test]
fn moves_a_prefix_to_the_peer_that_claims_it_last() {
    let mut table = table(&[("10.1.0.0/16", 1), ("10.1.7.7/16", 2)]);
    assert_eq!(table.receivers(ip("10.1.0.1")), [2]);
    assert!(!table.accepts(ip("10.1.0.1"), |it| it == 1));

    table.remove(net("10.1.0.0/16"), 1);
    assert_eq!(table.receivers(ip("10.1.0.1")), [2]);

    table.remove(net("10.1.0.0/16"), 2);
    assert!(table.receivers(ip("10.1.0.1")).is_empty());
}

#[test]
fn a_prefix_that_is_sent_to_nobody_hides_none_that_is() {
    let mut table = table(&[("10.0.0.0/8", 1)]);
    table.allow(net("10.1.0.0/16"), 2, Role::Accepted);

    assert_eq!(table.receivers(ip("10.1.0.1")), [1]);
    assert!(table.accepts(ip("10.1.0.1"), |it| it == 2));
    assert!(!table.accepts(ip("10.1.0.1"), |it| it == 1));
}

#[test]
fn an_heir_has_the_better_of_two_roles() {
    let mut table = table(&[("10.0.0.0/8", 1)]);
    table.allow(net("10.0.0.0/8"), 2, Role::Accepted);
    table.allow(net("10.1.0.0/16"), 1, Role::Accepted);
    table.allow(net("10.1.0.0/16"), 2, Role::Sent);

    table.reassign(1, 2);

    let all: Vec<_> = table.iter().collect();
    let sent = |prefix| (net(prefix), 2, Role::Sent);
    assert_eq!(all, [sent("10.0.0.0/8"), sent("10.1.0.0/16")]);
}

proptest! {
    #[test]
    fn agrees_with_a_list_searched_from_end_to_end(
        steps in prop::collection::vec((0..6_u8, prefix(), 0..4_u8), 0..60),
        addresses in prop::collection::vec(address(), 20),
    ) {
        let mut table = AllowedIps::default();
        let mut oracle: Vec<(IpNet, u8, Role)> = Vec::new();
        for (step, prefix, peer) in steps {
            let is_it = |it: &(IpNet, u8, Role)| (it.0, it.1) == (prefix.trunc(), peer);
            match step {
                0 => {
                    table.insert(prefix, peer);
                    oracle.retain(|it| it.0 != prefix.trunc());
                    oracle.push((prefix.trunc(), peer, Role::Sent));
                }
                1..4 => {
                    let role = if step == 1 { Role::Accepted } else { Role::Sent };
                    table.allow(prefix, peer, role);
                    oracle.retain(|it| !is_it(it));
                    oracle.push((prefix.trunc(), peer, role));
                }
                4 => {
                    table.remove(prefix, peer);
                    oracle.retain(|it| !is_it(it));
                }
                _ => {
                    table.remove_peer(peer);
                    oracle.retain(|it| it.1 != peer);
                }
            }
        }

        oracle.sort_unstable();
        for address in addresses {
            let holds = |it: &&(IpNet, u8, Role)| it.0.contains(&address);
            let longest = |of: &dyn Fn(&(IpNet, u8, Role)) -> bool| {
                let fit: Vec<_> = oracle.iter().filter(holds).filter(|it| of(it)).collect();
                let length = fit.iter().map(|it| it.0.prefix_len()).max();
                let those = fit.into_iter().filter(|it| Some(it.0.prefix_len()) == length);
                those.map(|it| it.1).collect::<Vec<u8>>()
            };
            prop_assert_eq!(table.receivers(address), longest(&|it| it.2 == Role::Sent));
            let allowed = longest(&|_| true);
            for peer in 0..4 {
                prop_assert_eq!(table.accepts(address, |it| it == peer), allowed.contains(&peer));
            }
        }
        let mut all: Vec<_> = table.iter().collect();
        all.sort_unstable();
        prop_assert_eq!(all, oracle);
    }
}

/// Addresses that share long beginnings, so that prefixes nest.
fn address() -> impl Strategy<Value = IpAddr> {
    let bits = prop::collection::vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 16);
    (any::<bool>(), bits).prop_map(|(v4, bits)| {
        let bits: [u8; 16] = bits.try_into().unwrap();
        if v4 {
            IpAddr::from([bits[0], bits[1], bits[2], bits[3]])
        } else {
            IpAddr::from(bits)
        }
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), 0..=128_u8).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length % (longest + 1)).unwrap()
    })
}

fn table(entries: &[(&str, u8)]) -> AllowedIps<u8> {
    let mut table = AllowedIps::default();
    for (prefix, peer) in entries {
        table.insert(net(prefix), *peer);
    }
    table
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
