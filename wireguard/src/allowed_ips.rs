//! Decides which peers a packet belongs to: one table of prefixes for all peers.
//!
//! Outbound, the longest prefix that holds the destination and is sent to anybody names the peers to
//! send to. Inbound, a packet is genuine only if the longest prefix that holds its source is allowed
//! to the very peer that sent it, be it sent there or not. One table serves both ways, so no peer can
//! use a range that is routed to others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes and the peers that each is allowed to; `P` is whatever names a peer.
///
/// Every prefix is stored truncated.
#[derive(Clone, Debug)]
pub struct AllowedIps<P> {
    peers: BTreeMap<IpNet, Peers<P>>,
    /// How many prefixes there are of each length in use, so that lookups try no others.
    v4_lengths: BTreeMap<u8, usize>,
    v6_lengths: BTreeMap<u8, usize>,
}

/// What a prefix is to a peer that it is allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Packets from there are accepted from the peer, and none to there is sent to it.
    Accepted,
    /// Packets go both ways.
    Sent,
}

/// The peers of one prefix, none of which is in it twice.
#[derive(Clone, Debug)]
enum Peers<P> {
    /// One that it is sent to, as nearly all prefixes have it: no memory but the table's.
    One(P),
    Several(Box<Several<P>>),
}

/// In order of their names.
#[derive(Clone, Debug)]
struct Several<P> {
    sent: Box<[P]>,
    accepted: Box<[P]>,
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

impl<P: Copy + Ord> AllowedIps<P> {
    /// Routes `prefix` to `peer`, taking it from all others. Host bits are ignored.
    pub fn insert(&mut self, prefix: IpNet, peer: P) {
        self.replace(prefix, [(peer, Role::Sent)].into());
    }

    /// Allows `prefix` to `peer` in this role and in no other, taking it from nobody else.
    pub fn allow(&mut self, prefix: IpNet, peer: P, role: Role) {
        let mut roles = self.roles(prefix);
        roles.insert(peer, role);
        self.replace(prefix, roles);
    }

    /// Takes `prefix` away from `peer`; nothing happens if it is not exactly `peer`'s.
    pub fn remove(&mut self, prefix: IpNet, peer: P) {
        let mut roles = self.roles(prefix);
        if roles.remove(&peer).is_some() {
            self.replace(prefix, roles);
        }
    }

    pub fn remove_peer(&mut self, peer: P) {
        for prefix in self.prefixes_of(peer) {
            self.remove(prefix, peer);
        }
    }

    /// Gives all prefixes of one peer to another, which keeps the better role where it has one.
    pub fn reassign(&mut self, from: P, to: P) {
        for prefix in self.prefixes_of(from) {
            let mut roles = self.roles(prefix);
            let inherited = roles.remove(&from);
            let own = roles.get(&to).copied();
            // No role is less than any.
            roles.extend(inherited.max(own).map(|role| (to, role)));
            self.replace(prefix, roles);
        }
    }

    /// The peers that packets to `destination` may be sent to, in order; none if there are none.
    pub fn receivers(&self, destination: IpAddr) -> &[P] {
        let mut sent = self.holding(destination).map(Peers::sent);
        sent.find(|it| !it.is_empty()).unwrap_or_default()
    }

    /// Whether packets from `source` may come from a peer of which `is_sender` is true.
    pub fn accepts(&self, source: IpAddr, is_sender: impl Fn(P) -> bool) -> bool {
        let longest = self.holding(source).next();
        longest.is_some_and(|it| it.roles().any(|(peer, _)| is_sender(peer)))
    }

    /// Every prefix with every peer that it is allowed to.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, P, Role)> {
        self.peers.iter().flat_map(|(prefix, peers)| {
            let roles = peers.roles();
            roles.map(|(peer, role)| (*prefix, peer, role))
        })
    }

    /// What the prefixes that hold an address say, the longest first.
    fn holding(&self, address: IpAddr) -> impl Iterator<Item = &Peers<P>> {
        let lengths = match address {
            IpAddr::V4(_) => &self.v4_lengths,
            IpAddr::V6(_) => &self.v6_lengths,
        };
        lengths.keys().rev().filter_map(move |length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            self.peers.get(&prefix)
        })
    }

    fn prefixes_of(&self, peer: P) -> Vec<IpNet> {
        self.iter()
            .filter(|(_, owner, _)| *owner == peer)
            .map(|(prefix, ..)| prefix)
            .collect()
    }

    fn roles(&self, prefix: IpNet) -> BTreeMap<P, Role> {
        let peers = self.peers.get(&prefix.trunc());
        peers.into_iter().flat_map(Peers::roles).collect()
    }

    fn replace(&mut self, prefix: IpNet, roles: BTreeMap<P, Role>) {
        let prefix = prefix.trunc();
        let former = match Peers::new(&roles) {
            Some(peers) => self.peers.insert(prefix, peers),
            None => self.peers.remove(&prefix),
        };
        match (former.is_some(), roles.is_empty()) {
            (false, false) => self.count(prefix),
            (true, true) => self.discount(prefix),
            (true, false) | (false, true) => (),
        }
    }

    fn count(&mut self, prefix: IpNet) {
        let lengths = self.lengths_mut(prefix);
        *lengths.entry(prefix.prefix_len()).or_default() += 1;
    }

    fn discount(&mut self, prefix: IpNet) {
        let length = prefix.prefix_len();
        let lengths = self.lengths_mut(prefix);
        match lengths.get_mut(&length) {
            Some(count) if 1 < *count => *count -= 1,
            Some(_) | None => {
                lengths.remove(&length);
            }
        }
    }

    fn lengths_mut(&mut self, prefix: IpNet) -> &mut BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &mut self.v4_lengths,
            IpNet::V6(_) => &mut self.v6_lengths,
        }
    }
}

impl<P: Copy> Peers<P> {
    /// `None` if there are none.
    fn new(roles: &BTreeMap<P, Role>) -> Option<Self> {
        let of = |wanted: Role| {
            let roles = roles.iter().filter(move |(_, role)| **role == wanted);
            roles.map(|(peer, _)| *peer).collect::<Box<[P]>>()
        };
        match (&*of(Role::Sent), &*of(Role::Accepted)) {
            ([], []) => None,
            ([one], []) => Some(Self::One(*one)),
            (sent, accepted) => Some(Self::Several(Box::new(Several {
                sent: sent.into(),
                accepted: accepted.into(),
            }))),
        }
    }

    fn sent(&self) -> &[P] {
        match self {
            Self::One(peer) => std::slice::from_ref(peer),
            Self::Several(several) => &several.sent,
        }
    }

    fn accepted(&self) -> &[P] {
        match self {
            Self::One(_) => &[],
            Self::Several(several) => &several.accepted,
        }
    }

    fn roles(&self) -> impl Iterator<Item = (P, Role)> {
        let sent = self.sent().iter().map(|it| (*it, Role::Sent));
        let accepted = self.accepted().iter().map(|it| (*it, Role::Accepted));
        sent.chain(accepted)
    }
}

#[cfg(test)]
mod tests;
