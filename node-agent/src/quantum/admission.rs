//! Decides what goes through a tunnel before its two ends have agreed on a secret, where no pod may be
//! reached without one: what the agents say to each other, and nothing else.

use std::collections::BTreeSet;

use ipnet::IpNet;
use wireguard::PublicKey;

use crate::desired::{Desired, Peer, Ways, inner_address};

/// Takes from the tunnels what `is_open` does not let through of pods, but for the address of the node
/// itself at the other end. What nodes send each other has no better way.
pub fn restrict(desired: &mut Desired, is_open: impl Fn(PublicKey, &Peer, &IpNet) -> bool) {
    let (peers, holders) = (&desired.peers, &desired.holders);
    let mut hosts = Vec::new();
    desired.allowed_ips.retain(|prefix, ways| {
        let Some(holder) = holders.get(prefix) else {
            return true;
        };
        ways.retain(|key| {
            let Some(peer) = peers.get(key).filter(|it| !is_open(*key, it, prefix)) else {
                return true;
            };
            if (&holder.0, &holder.1) == (&peer.cluster, &peer.node) {
                hosts.extend(inner_address(*prefix).map(|it| (it.into(), Ways::only(*key))));
            }
            false
        })
    });
    desired.allowed_ips.extend(hosts);
}

impl Ways {
    /// Whether there are any left to send to.
    fn retain(&mut self, is_kept: impl FnMut(&PublicKey) -> bool) -> bool {
        let all = self.sent.union(&self.accepted).copied();
        let kept: BTreeSet<PublicKey> = all.filter(is_kept).collect();
        self.sent.retain(|it| kept.contains(it));
        self.accepted.retain(|it| kept.contains(it));
        if !self.sent.contains(&self.first) {
            self.first = self.sent.first().copied().unwrap_or(self.first);
        }
        !self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_only_the_node_itself_through_a_tunnel_without_a_secret() {
        let mut desired = Desired::default();
        for (number, node) in [(1, "a"), (2, "b")] {
            let endpoint = "192.0.2.1:51871".parse().unwrap();
            let peer = Peer {
                cluster: "us".parse().unwrap(),
                node: node.parse().unwrap(),
                endpoint,
                endpoints: vec![endpoint],
                successor_of: None,
            };
            desired.peers.insert(key(number), peer);
        }
        // Node b is a gateway, which carries for node c.
        for (prefix, holder, number) in [
            ("10.2.1.0/24", "a", 1),
            ("10.2.2.0/24", "b", 2),
            ("10.2.3.0/24", "c", 2),
            ("fd02:2::/64", "b", 2),
        ] {
            let holder = ("us".parse().unwrap(), holder.parse().unwrap());
            desired.holders.insert(net(prefix), holder);
            desired
                .allowed_ips
                .insert(net(prefix), Ways::only(key(number)));
        }

        restrict(&mut desired, |it, _, _| it == key(1));

        let expected = [
            (net("10.2.1.0/24"), Ways::only(key(1))),
            (net("10.2.2.1/32"), Ways::only(key(2))),
            (net("fd02:2::1/128"), Ways::only(key(2))),
        ];
        assert_eq!(desired.allowed_ips, expected.into());
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
