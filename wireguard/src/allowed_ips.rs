//! Decides which peer a packet belongs to: one table of prefixes for all peers.
//!
//! Outbound, the longest prefix that holds the destination names the peer to send to. Inbound, a
//! packet is genuine only if the longest prefix that holds its source names the very peer that sent
//! it. One table serves both ways, so no peer can use a range that is routed to another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes and the peer that each is routed to; `P` is whatever names a peer.
///
/// Every prefix is stored truncated, and belongs to one peer at most.
#[derive(Clone, Debug)]
pub struct AllowedIps<P> {
    peers: BTreeMap<IpNet, P>,
    /// How many prefixes there are of each length in use, so that lookups try no others.
    v4_lengths: BTreeMap<u8, usize>,
    v6_lengths: BTreeMap<u8, usize>,
}

impl<P> Default for AllowedIps<P> {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            v4_lengths: BTreeMap::new(),
            v6_lengths: BTreeMap::new(),
        }
    }
}

impl<P: Copy + Eq> AllowedIps<P> {
    /// Routes `prefix` to `peer`, taking it from the peer that had it. Host bits are ignored.
    pub fn insert(&mut self, prefix: IpNet, peer: P) {
        let prefix = prefix.trunc();
        if self.peers.insert(prefix, peer).is_none() {
            *self
                .lengths_mut(&prefix)
                .entry(prefix.prefix_len())
                .or_default() += 1;
        }
    }

    /// Takes `prefix` away from `peer`; nothing happens if it is not exactly `peer`'s.
    pub fn remove(&mut self, prefix: IpNet, peer: P) {
        let prefix = prefix.trunc();
        if self.peers.get(&prefix) != Some(&peer) {
            return;
        }
        self.peers.remove(&prefix);

        let length = prefix.prefix_len();
        let lengths = self.lengths_mut(&prefix);
        match lengths.get_mut(&length) {
            Some(count) if 1 < *count => *count -= 1,
            Some(_) | None => {
                lengths.remove(&length);
            }
        }
    }

    pub fn remove_peer(&mut self, peer: P) {
        for prefix in self.prefixes_of(peer) {
            self.remove(prefix, peer);
        }
    }

    /// Gives all prefixes of one peer to another.
    pub fn reassign(&mut self, from: P, to: P) {
        for owner in self.peers.values_mut().filter(|it| **it == from) {
            *owner = to;
        }
    }

    /// The peer of the longest prefix that holds `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<P> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.keys().rev().find_map(|length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            self.peers.get(&prefix).copied()
        })
    }

    pub fn prefixes_of(&self, peer: P) -> BTreeSet<IpNet> {
        self.iter()
            .filter(|(_, owner)| *owner == peer)
            .map(|(prefix, _)| prefix)
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (IpNet, P)> {
        self.peers.iter().map(|(prefix, peer)| (*prefix, *peer))
    }

    fn lengths_mut(&mut self, prefix: &IpNet) -> &mut BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        }
    }
}

#[cfg(test)]
mod tests {
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

        assert_eq!(table.lookup(ip("10.1.2.3")), Some(3));
        assert_eq!(table.lookup(ip("10.1.2.4")), Some(2));
        assert_eq!(table.lookup(ip("11.1.2.4")), Some(1));
        assert_eq!(table.lookup(ip("2001:db8::1")), Some(4));
    }

    #[test]
    fn moves_a_prefix_to_the_peer_that_claims_it_last() {
        let mut table = table(&[("10.1.0.0/16", 1), ("10.1.7.7/16", 2)]);
        assert_eq!(table.lookup(ip("10.1.0.1")), Some(2));
        assert_eq!(table.prefixes_of(1), BTreeSet::new());

        table.remove(net("10.1.0.0/16"), 1);
        assert_eq!(table.lookup(ip("10.1.0.1")), Some(2));

        table.remove(net("10.1.0.0/16"), 2);
        assert_eq!(table.lookup(ip("10.1.0.1")), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_searched_from_end_to_end(
            steps in prop::collection::vec((any::<bool>(), prefix(), 0..4_u8), 0..40),
            addresses in prop::collection::vec(address(), 20),
        ) {
            let mut table = AllowedIps::default();
            let mut oracle: Vec<(IpNet, u8)> = Vec::new();
            for (insert, prefix, peer) in steps {
                if insert {
                    table.insert(prefix, peer);
                    oracle.retain(|(it, _)| *it != prefix.trunc());
                    oracle.push((prefix.trunc(), peer));
                } else {
                    table.remove_peer(peer);
                    oracle.retain(|(_, owner)| *owner != peer);
                }
            }

            for address in addresses {
                let expected = oracle
                    .iter()
                    .filter(|(prefix, _)| prefix.contains(&address))
                    .max_by_key(|(prefix, _)| prefix.prefix_len())
                    .map(|(_, peer)| *peer);
                prop_assert_eq!(table.lookup(address), expected);
            }
            oracle.sort_unstable();
            prop_assert_eq!(table.iter().collect::<Vec<_>>(), oracle);
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
}
