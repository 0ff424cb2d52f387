//! Two nodes that probe each other under simulated time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use topology::health::Health;
use topology::report::ProbeReport;

use super::super::message::Tag;
use super::super::{INTERVAL, Moment, Peer, Prober, Transmit};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 2, 1, 1)),
];
const ADDRESSES_V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

/// Two nodes that probe each other, and what is between them.
pub(super) struct World {
    started: Instant,
    addresses: [IpAddr; 2],
    pub(super) now: Moment,
    pub(super) probers: [Prober; 2],
    pub(super) link: Link,
    /// Datagrams on their way, by when they arrive: to whom, and what.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    pub(super) has_session: bool,
    pub(super) is_ready: [bool; 2],
    /// B has no agent.
    pub(super) away: Option<Refuses>,
    chance: u64,
    sent: u64,
}

/// Whether a kernel says that nobody listens.
pub(super) struct Refuses(pub(super) bool);

pub(super) struct Link {
    pub(super) delay: Duration,
    pub(super) delay_varies_by: Duration,
    pub(super) loss_per_cent: u64,
    pub(super) duplicates_per_cent: u64,
    pub(super) mtu_bytes: usize,
    pub(super) cut: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::at(ADDRESSES)
    }

    /// The same where there is no IPv4.
    pub(super) fn with_ipv6_only() -> Self {
        Self::at(ADDRESSES_V6)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn at(addresses: [IpAddr; 2]) -> Self {
        let started = Instant::now();
        let now = Moment {
            instant: started,
            unix_milliseconds: 0,
        };
        let mut world = Self {
            started,
            addresses,
            now,
            probers: [prober(A, now), prober(B, now)],
            link: Link {
                delay: Duration::ZERO,
                delay_varies_by: Duration::ZERO,
                loss_per_cent: 0,
                duplicates_per_cent: 0,
                mtu_bytes: 1_420,
                cut: false,
            },
            wire: BTreeMap::new(),
            has_session: true,
            is_ready: [false; 2],
            away: None,
            chance: 0x2545_f491_4f6c_dd1d,
            sent: 0,
        };
        world.retarget();
        world
    }

    pub(super) fn retarget(&mut self) {
        for (side, other) in [(A, B), (B, A)] {
            let peer = Peer {
                is_told_ready: self.is_ready[side],
                ..world_peer(other, self.has_session)
            };
            let peers = [(self.addresses[other], peer)].into();
            self.probers[side].retarget(&peers, 1_420, self.now);
        }
    }

    pub(super) fn restart(&mut self, side: usize) {
        self.probers[side] = prober(side, self.now);
        self.retarget();
    }

    pub(super) fn report(&self) -> ProbeReport {
        *self.probers[A].reports().values().next().unwrap()
    }

    pub(super) fn transitions(&self) -> u64 {
        self.probers[A].transitions()
    }

    /// How long it takes until A sees B in `health`.
    #[track_caller]
    pub(super) fn until(&mut self, health: Health) -> Duration {
        for taken in 0..60_000 {
            if self.report().health == health {
                return milliseconds(taken);
            }
            self.run(1);
        }
        panic!("never {health:?}: {:?}", self.report());
    }

    pub(super) fn run(&mut self, for_milliseconds: u64) {
        let end = self.now.instant + milliseconds(for_milliseconds);
        loop {
            for side in [A, B] {
                self.turn(side);
            }
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let timeouts = self.probers.iter().filter_map(Prober::next_timeout);
            let next = timeouts.chain(arrival).min().unwrap().min(end);
            self.advance(next.max(self.now.instant) - self.now.instant);
            if next == end {
                return;
            }
        }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now.instant += by;
        let since = self.now.instant - self.started;
        self.now.unix_milliseconds = u64::try_from(since.as_millis()).unwrap();
    }

    fn turn(&mut self, side: usize) {
        while let Some(entry) = self.wire.first_entry() {
            if self.now.instant < entry.key().0 {
                break;
            }
            let (to, datagram) = entry.remove();
            self.deliver(to, &datagram);
        }
        self.probers[side].handle_timeout(self.now);
        while let Some(transmit) = self.probers[side].poll_transmit() {
            self.send(side, transmit);
        }
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        if to == B
            && let Some(Refuses(refuses)) = self.away
        {
            if refuses {
                self.probers[A].handle_refusal(self.addresses[B], self.now);
            }
            return;
        }
        let from = self.addresses[1 - to];
        let answer = self.probers[to].handle_datagram(from, datagram, self.now);
        if let Some(answer) = answer {
            assert_eq!(usize::from(answer.message.size), datagram.len());
            self.send(to, answer);
        }
    }

    fn send(&mut self, from: usize, transmit: Transmit) {
        let to = 1 - from;
        assert_eq!(transmit.to, self.addresses[to]);
        let mut datagram = Vec::new();
        transmit.message.write(&mut datagram);
        let headers_bytes = if transmit.to.is_ipv4() { 28 } else { 48 };
        let too_large = self.link.mtu_bytes < datagram.len() + headers_bytes;
        if self.link.cut || too_large || self.draw(100) < self.link.loss_per_cent {
            return;
        }
        let copies = 1 + u64::from(self.draw(100) < self.link.duplicates_per_cent);
        for _ in 0..copies {
            let varies_by = u64::try_from(self.link.delay_varies_by.as_micros()).unwrap();
            let more = Duration::from_micros(self.draw(varies_by + 1));
            let at = self.now.instant + self.link.delay + more;
            self.sent += 1;
            self.wire.insert((at, self.sent), (to, datagram.clone()));
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }
}

fn prober(side: usize, now: Moment) -> Prober {
    let Peer { cluster, node, .. } = world_peer(side, true);
    let sequence = now.unix_milliseconds * 1_000;
    Prober::new(Tag::new(&cluster, &node), INTERVAL, sequence, now.instant)
}

pub(super) fn world_peer(side: usize, has_session: bool) -> Peer {
    let (cluster, node) = [("eu", "a"), ("us", "b")][side];
    Peer {
        cluster: cluster.parse().unwrap(),
        node: node.parse().unwrap(),
        has_session,
        is_told_ready: false,
    }
}

pub(super) fn tag(cluster: &str, node: &str) -> Tag {
    Tag::new(&cluster.parse().unwrap(), &node.parse().unwrap())
}

pub(super) fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}
