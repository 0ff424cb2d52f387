//! Decides how two agents agree on a secret that no computer to come can work out of what was said, and
//! in which steps their devices take it into use.
//!
//! A state machine without clock or socket: [`socket`] drives it. Each step leaves both devices with
//! secrets that fit: what one answers handshakes with, the other takes. (M: main, A: alternate.)
//!
//! ```text
//!   the end with the lesser key        the other         M A     M A
//!        Hello ──────────────────────────▶               K ·     K ·
//!              ◀────────────────────────── State
//!        Offer (a KEM key) ──────────────▶               K ·     K N
//!              ◀────────────────────────── Answer
//!                                                        N K     K N
//!        Hello ──────────────────────────▶
//!              ◀────────────────────────── State
//!        Promote ────────────────────────▶               N K     N K
//!              ◀────────────────────────── State         N ·     N ·   once a session has N
//! ```
//!
//! The devices alone hold the secrets, so an agent that starts goes on where they are. A question
//! counts only if it repeats what the other end said last, so nothing old changes anything. Who hears
//! nothing through a tunnel goes back to what the two had before they agreed on anything, and keeps
//! the secret as the alternate: the other end may have lost it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use topology::id::{ClusterName, NodeName};
use topology::report::PostQuantum;
use wireguard::{PresharedKey, PublicKey};

use crate::preshared::{Bases, Orders, Resolved};
use message::Message;
use pair::Pair;

pub mod admission;
mod follower;
mod leader;
pub mod message;
mod pair;
pub mod secret;
pub mod socket;
#[cfg(test)]
mod tests;

/// The UDP port on which agents agree, inside tunnels only.
pub const PORT: u16 = 4241;

/// How old a secret gets: an hour of what was said is lost with it, and a renewal costs a handshake.
pub const RENEWAL: Duration = Duration::from_secs(3_600);

/// Whether agents agree on such secrets.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Mode {
    /// With nobody
    #[default]
    Off,
    /// With every node that does so as well; others are spoken with all the same
    Prefer,
    /// With every node: no pod is reached through a tunnel without
    Require,
}

/// A node, as everything here is kept by it: its keys may change.
pub type Node = (ClusterName, NodeName);

/// What is seen of a node at the other end of a tunnel.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub node: Node,
    pub own_key: PublicKey,
    pub key: PublicKey,
    /// What the two have as long as they have agreed on nothing.
    pub bases: Bases,
    /// What may be mixed into what they agree on: the content of the clusters' file, the present one
    /// first; [`PresharedKey::none`] where there is none.
    pub files: Vec<PresharedKey>,
    /// What the device has for it; `None` while it does not know the node.
    pub held: Option<Resolved>,
    /// Whether the session there is was made with the main secret.
    pub is_in_use: bool,
    /// Whether a static key of either is about to change.
    pub is_changing: bool,
    /// Whether nothing comes back through the tunnel.
    pub is_silent: bool,
}

/// What has become of a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    pub state: PostQuantum,
    /// The two ends have different secret files.
    pub differs: bool,
}

/// A datagram that should leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmit {
    pub to: IpAddr,
    pub payload: Vec<u8>,
}

/// All pairs of one node.
///
/// Drive it in turns: hand in what is seen and what has come, call
/// [`handle_timeout`](Self::handle_timeout), send what [`poll_transmit`](Self::poll_transmit) gives,
/// have the device do what [`orders`](Self::orders) say, and come back at
/// [`next_timeout`](Self::next_timeout) or with the next datagram.
pub struct Exchanger {
    renewal: Duration,
    pairs: BTreeMap<IpAddr, Pair>,
    outbox: VecDeque<Transmit>,
    agreements: u64,
}

impl Exchanger {
    pub fn new(renewal: Duration) -> Self {
        Self {
            renewal,
            pairs: BTreeMap::new(),
            outbox: VecDeque::new(),
            agreements: 0,
        }
    }

    /// Takes in what is seen of each node, by inner address; others are forgotten. A node is taken up
    /// once the device knows it, with what the device has.
    pub fn see(&mut self, views: &BTreeMap<IpAddr, View>, now: Instant) {
        self.pairs.retain(|address, pair| {
            let view = views.get(address);
            view.is_some_and(|it| it.node == *pair.node())
        });
        for (address, view) in views {
            match self.pairs.get_mut(address) {
                Some(pair) => pair.see(view, now),
                None => {
                    let pair = Pair::adopt(view, self.renewal, now);
                    self.pairs.extend(pair.map(|it| (*address, it)));
                }
            }
        }
    }

    pub fn handle_datagram(&mut self, from: IpAddr, datagram: &[u8], now: Instant) {
        let (Some(pair), Some(message)) = (self.pairs.get_mut(&from), Message::parse(datagram))
        else {
            return;
        };
        self.agreements += u64::from(pair.handle(message, now));
        self.collect(from);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let addresses: Vec<IpAddr> = self.pairs.keys().copied().collect();
        for address in addresses {
            if let Some(pair) = self.pairs.get_mut(&address) {
                pair.handle_timeout(now);
            }
            self.collect(address);
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// When there is something to do next, if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.pairs.values().filter_map(Pair::due).min()
    }

    /// What the device should have for each node.
    pub fn orders(&self) -> BTreeMap<Node, Orders> {
        let pairs = self.pairs.values();
        pairs
            .map(|it| (it.node().clone(), it.orders().clone()))
            .collect()
    }

    pub fn reports(&self, now: Instant) -> BTreeMap<Node, Report> {
        let pairs = self.pairs.values();
        pairs
            .map(|it| (it.node().clone(), it.report(now)))
            .collect()
    }

    /// How often this node has agreed with another since the start.
    pub fn agreements(&self) -> u64 {
        self.agreements
    }

    fn collect(&mut self, to: IpAddr) {
        if let Some(pair) = self.pairs.get_mut(&to) {
            let payloads = pair.take_outbox().into_iter();
            self.outbox
                .extend(payloads.map(|payload| Transmit { to, payload }));
        }
    }
}
