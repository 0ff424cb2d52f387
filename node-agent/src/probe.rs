//! Decides when nodes at the other ends of tunnels are probed, what is answered to their probes, and
//! how healthy the ways there are.
//!
//! A state machine without clock or socket: [`socket`] drives it. A node asks every interval, and
//! sends back what it is asked; what comes back in time counts for the node's health, and what comes
//! late counts as well, once. A node that has never answered is not called dead as long as its
//! tunnel has a session: not everybody answers probes. Neither is one whose kernel says that nobody
//! listens there: its agent is away, and its tunnel carries on.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use topology::id::{ClusterName, NodeName};
use topology::report::ProbeReport;

use message::{Kind, Message, Tag};
use target::Target;

pub mod message;
pub mod options;
pub mod path_mtu;
pub mod peers;
pub mod socket;
mod target;
#[cfg(test)]
mod tests;
pub mod window;

/// The UDP port on which agents answer each other, inside tunnels only.
pub const PORT: u16 = 4240;

/// How often each node is probed unless told otherwise: three lost in a row, and a dead one is known
/// within a second.
pub const INTERVAL: Duration = Duration::from_millis(300);

/// With more nodes each is probed less often, so that probing stays below one percent of a core.
pub const PROBES_PER_SECOND_MAX: u32 = 1_000;

/// Nodes that are probed: more are beyond what a mesh of nodes is good for, and gateways serve those.
pub const TARGETS_MAX: usize = 16_384;

/// IP and UDP headers.
const IPV4_HEADERS_BYTES: u16 = 28;
const IPV6_HEADERS_BYTES: u16 = 48;

/// One moment by both clocks: the one that runs, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub instant: Instant,
    pub unix_milliseconds: u64,
}

/// A node at the other end of a tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    pub cluster: ClusterName,
    pub node: NodeName,
    /// Whether the device has a session with it, so that traffic goes through whoever answers.
    pub has_session: bool,
    /// Whether this node is ready for what that one sends from its own addresses.
    pub is_told_ready: bool,
}

/// A datagram that should leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transmit {
    pub to: IpAddr,
    pub message: Message,
}

/// What probes see of each node, in order of clusters.
pub type Reports = BTreeMap<(ClusterName, NodeName), ProbeReport>;

/// Who says to be ready, and who not to be, in order of clusters.
pub type Said = BTreeMap<(ClusterName, NodeName), bool>;

/// The probes of one node, its questions and its answers.
///
/// Drive it in turns: hand in every datagram that has come, then call
/// [`handle_timeout`](Self::handle_timeout), send what [`poll_transmit`](Self::poll_transmit) gives,
/// and come back at [`next_timeout`](Self::next_timeout) or with the next datagram.
#[derive(Clone, Debug)]
pub struct Prober {
    own: Tag,
    interval: Duration,
    /// By their inner addresses.
    targets: BTreeMap<IpAddr, Target>,
    sequence: u64,
    started: Instant,
    outbox: VecDeque<Transmit>,
    transitions: u64,
}

impl Prober {
    /// `sequence` is one that no earlier life has used: answers to its probes are none to ours.
    pub fn new(own: Tag, interval: Duration, sequence: u64, now: Instant) -> Self {
        Self {
            own,
            interval,
            targets: BTreeMap::new(),
            sequence,
            started: now,
            outbox: VecDeque::new(),
            transitions: 0,
        }
    }

    /// Probes `peers`, and no others, with packets of at most `mtu_bytes`. What is known of those
    /// that stay, stays.
    pub fn retarget(&mut self, peers: &BTreeMap<IpAddr, Peer>, mtu_bytes: u16, now: Moment) {
        self.targets
            .retain(|address, it| peers.get(address).is_some_and(|peer| it.is(peer)));
        // Many new ones are not all asked in one moment.
        let mut first_probe = now.instant;
        for (address, peer) in peers.iter().take(TARGETS_MAX) {
            if let Some(target) = self.targets.get_mut(address) {
                self.transitions += u64::from(target.follow(peer, mtu_bytes, now));
                continue;
            }
            let headers_bytes = headers_bytes(*address);
            let mut target = Target::new(peer, self.interval, headers_bytes, first_probe, now);
            target.follow(peer, mtu_bytes, now);
            self.targets.insert(*address, target);
            first_probe += Duration::from_secs(1) / PROBES_PER_SECOND_MAX;
        }
    }

    /// Takes in a datagram, and returns the answer if it is a request to us. Only nodes that we
    /// probe ourselves are answered, with as many bytes as they sent, and only so often.
    pub fn handle_datagram(
        &mut self,
        from: IpAddr,
        datagram: &[u8],
        now: Moment,
    ) -> Option<Transmit> {
        let message = Message::parse(datagram)?;
        let target = self.targets.get_mut(&from)?;
        match message.kind {
            Kind::Answer if message.from == self.own && message.to == target.tag() => {
                self.transitions += u64::from(target.hear(message.is_ready));
                self.transitions += u64::from(target.handle_answer(message.sequence, now));
                None
            }
            Kind::Request if message.to == self.own && message.from == target.tag() => {
                self.transitions += u64::from(target.hear(message.is_ready));
                let answer = Message {
                    kind: Kind::Answer,
                    is_ready: target.is_told_ready(),
                    ..message
                };
                target.may_be_answered(now).then_some(Transmit {
                    to: from,
                    message: answer,
                })
            }
            Kind::Answer | Kind::Request => None,
        }
    }

    /// The kernel of `node` said through the tunnel that nobody listens there.
    pub fn handle_refusal(&mut self, node: IpAddr, now: Moment) {
        if let Some(target) = self.targets.get_mut(&node) {
            target.handle_refusal(now);
        }
    }

    /// Gives up what has waited too long, and asks where it is time to ask.
    pub fn handle_timeout(&mut self, now: Moment) {
        let interval = self.stretched_interval();
        for (address, target) in &mut self.targets {
            if now.instant < target.due() {
                continue;
            }
            self.transitions += u64::from(target.handle_timeout(now));
            let sizes = target.take_due_sizes(self.sequence, interval, now);
            let sent = now.instant.saturating_duration_since(self.started);
            for size in sizes.into_iter().flatten() {
                self.outbox.push_back(Transmit {
                    to: *address,
                    message: Message {
                        kind: Kind::Request,
                        from: self.own,
                        to: target.tag(),
                        sequence: self.sequence,
                        sent_microseconds: u64::try_from(sent.as_micros()).unwrap_or(u64::MAX),
                        is_ready: target.is_told_ready(),
                        size,
                    },
                });
                self.sequence += 1;
            }
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// When there is something to do next, if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.targets.values().map(Target::due).min()
    }

    /// Which nodes say that they are ready for what this one sends from its own addresses; without
    /// those that have said nothing yet.
    pub fn said(&self) -> Said {
        let targets = self.targets.values();
        targets
            .filter_map(|it| Some(((it.cluster().clone(), it.node().clone()), it.said()?)))
            .collect()
    }

    /// How often the health of any node has changed, or what it says.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    pub fn reports(&self) -> Reports {
        let targets = self.targets.values();
        targets
            .map(|it| ((it.cluster().clone(), it.node().clone()), it.report()))
            .collect()
    }

    fn stretched_interval(&self) -> Duration {
        let targets = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let least = Duration::from_secs(1) * targets / PROBES_PER_SECOND_MAX;
        self.interval.max(least)
    }
}

fn headers_bytes(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => IPV4_HEADERS_BYTES,
        IpAddr::V6(_) => IPV6_HEADERS_BYTES,
    }
}
