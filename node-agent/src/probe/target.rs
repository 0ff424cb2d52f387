//! Decides what is sent to one node, and what its answers and its silence mean.

use std::time::{Duration, Instant};

use topology::health::{Health, HealthCheck, Outcome, Policy};
use topology::id::{ClusterName, NodeName};
use topology::report::ProbeReport;

use super::message::{SIZE_MIN, Tag};
use super::path_mtu::{ATTEMPTS, PathMtu};
use super::window::{Quality, Window};
use super::{Moment, Peer};

/// Silent for so many probes in a row, a node is dead; answering so many, it is back.
const FALL: u32 = 3;
const RISE: u32 = 2;

/// The shortest wait for an answer: what schedulers and queues do to a packet on a short path.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// The longest, and the one that a node gets which is not known to be well.
const TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// How long a kernel's word counts that nobody listens: kernels say it at most once a second.
const REFUSAL_HOLDS: Duration = Duration::from_millis(2_500);

/// Answers in a second to one node: ten times what it asks for, with packets of all sizes.
const ANSWERS_PER_SECOND_MAX: u32 = 100;

/// Probes are sent up to a tenth early, so that nodes do not ask in step.
const JITTER_PARTS: u32 = 10;

#[derive(Clone, Debug)]
pub(super) struct Target {
    cluster: ClusterName,
    node: NodeName,
    tag: Tag,
    has_session: bool,
    policy: Policy,
    is_told_ready: bool,
    said: Option<bool>,
    check: HealthCheck,
    since_unix_milliseconds: u64,
    last_answered: Option<u64>,
    refused_until: Option<Instant>,
    window: Window,
    quality: Quality,
    /// What is before each datagram in its packet.
    headers_bytes: u16,
    path_mtu: PathMtu,
    /// At most so many as one size gets attempts, all of that size.
    larges: Vec<Large>,
    next_probe: Instant,
    due: Instant,
    answers: Answers,
}

/// A packet of a certain size that is on its way, sent with a small one of the sequence before.
#[derive(Clone, Copy, Debug)]
struct Large {
    sequence: u64,
    packet_bytes: u16,
    sent: Instant,
}

/// Answers that were given in the present second.
#[derive(Clone, Copy, Debug)]
struct Answers {
    since: Instant,
    given: u32,
}

impl Target {
    /// Of an interface that carries nothing, until [`follow`](Self::follow) says more.
    pub(super) fn new(
        peer: &Peer,
        interval: Duration,
        headers_bytes: u16,
        first_probe: Instant,
        now: Moment,
    ) -> Self {
        let policy = Policy {
            interval,
            rise: RISE,
            fall: FALL,
        };
        Self {
            cluster: peer.cluster.clone(),
            node: peer.node.clone(),
            tag: Tag::new(&peer.cluster, &peer.node),
            has_session: peer.has_session,
            policy,
            is_told_ready: peer.is_told_ready,
            said: None,
            check: HealthCheck::new(policy, Health::Unknown, now.instant),
            since_unix_milliseconds: now.unix_milliseconds,
            last_answered: None,
            refused_until: None,
            window: Window::default(),
            quality: Quality::default(),
            headers_bytes,
            path_mtu: PathMtu::new(0, now.instant),
            larges: Vec::new(),
            next_probe: first_probe,
            due: first_probe,
            answers: Answers {
                since: now.instant,
                given: 0,
            },
        }
    }

    pub(super) fn is(&self, peer: &Peer) -> bool {
        self.cluster == peer.cluster && self.node == peer.node
    }

    /// Takes in what changed about the same node. Returns whether its health did.
    pub(super) fn follow(&mut self, peer: &Peer, mtu_bytes: u16, now: Moment) -> bool {
        // Who never answers does not contradict what was believed before there was a session.
        let is_met = peer.has_session && !self.has_session && self.last_answered.is_none();
        let is_excused = is_met && self.check.health() == Health::Unhealthy;
        if is_excused {
            self.check = HealthCheck::new(self.policy, Health::Unknown, now.instant);
            self.since_unix_milliseconds = now.unix_milliseconds;
        }
        self.has_session = peer.has_session;
        self.is_told_ready = peer.is_told_ready;
        if self.path_mtu.ceiling() != mtu_bytes {
            self.path_mtu = PathMtu::new(mtu_bytes, now.instant);
            self.larges.clear();
        }
        is_excused
    }

    pub(super) fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn report(&self) -> ProbeReport {
        ProbeReport {
            health: self.check.health(),
            since: self.since_unix_milliseconds,
            round_trip_microseconds: self.quality.p50_microseconds,
            round_trip_p99_microseconds: self.quality.p99_microseconds,
            loss_per_mille: self.quality.loss_per_mille,
            path_mtu: self.path_mtu.found(),
        }
    }

    pub(super) fn is_told_ready(&self) -> bool {
        self.is_told_ready
    }

    /// What it said of itself last.
    pub(super) fn said(&self) -> Option<bool> {
        self.said
    }

    /// Takes in what it says of itself. Returns whether that is news: who is not ready need not say so.
    pub(super) fn hear(&mut self, is_ready: bool) -> bool {
        self.said.replace(is_ready).unwrap_or_default() != is_ready
    }

    /// Whether a request may be answered now; counts it if so.
    pub(super) fn may_be_answered(&mut self, now: Moment) -> bool {
        let second = Duration::from_secs(1);
        if second <= now.instant.saturating_duration_since(self.answers.since) {
            self.answers = Answers {
                since: now.instant,
                given: 0,
            };
        }
        let may = self.answers.given < ANSWERS_PER_SECOND_MAX;
        self.answers.given += u32::from(may);
        may
    }

    /// Returns whether the health changed, as the other handlers do.
    pub(super) fn handle_answer(&mut self, sequence: u64, now: Moment) -> bool {
        if let Some(large) = self.larges.iter().find(|it| it.sequence == sequence) {
            self.path_mtu
                .handle_success(large.packet_bytes, now.instant);
            self.larges.clear();
            return false;
        }
        if !self.window.answer(sequence, now.instant) {
            return false;
        }
        self.last_answered = self.last_answered.max(Some(sequence));
        self.refused_until = None;
        self.quality = self.window.quality();
        self.plan();
        self.feed(Outcome::Success, now)
    }

    pub(super) fn handle_refusal(&mut self, now: Moment) {
        self.refused_until = Some(now.instant + REFUSAL_HOLDS);
    }

    pub(super) fn handle_timeout(&mut self, now: Moment) -> bool {
        let timeout = self.timeout();
        let mut lost = 0;
        let mut in_a_row = 0;
        for sequence in self.window.expire(timeout, now.instant) {
            lost += 1;
            // A younger probe has come back, so this one tells of what is over.
            in_a_row += u32::from(self.last_answered < Some(sequence));
        }
        if 0 < lost {
            self.quality = self.window.quality();
        }
        let counted = if self.is_excused(now) { 0 } else { in_a_row };
        (0..counted).any(|_| self.feed(Outcome::Failure, now))
    }

    /// The sizes of the datagrams that should leave now, a small one first; the first gets
    /// `sequence`, and the other the next.
    pub(super) fn take_due_sizes(
        &mut self,
        sequence: u64,
        interval: Duration,
        now: Moment,
    ) -> [Option<u16>; 2] {
        let mut sizes = [None, None];
        if self.next_probe <= now.instant {
            self.judge_larges(now);
            self.window.send(sequence, now.instant);
            self.next_probe = now.instant + interval - jitter(interval, self.tag, sequence);
            sizes = [
                u16::try_from(SIZE_MIN).ok(),
                self.size_to_try(sequence + 1, now),
            ];
        }
        self.plan();
        sizes
    }

    /// A large packet is tried only where small ones come back. Attempts at one size follow each other
    /// without waiting.
    fn size_to_try(&mut self, sequence: u64, now: Moment) -> Option<u16> {
        if self.check.health() != Health::Healthy {
            return None;
        }
        let packet_bytes = self.path_mtu.wanted(now.instant)?;
        self.larges.retain(|it| it.packet_bytes == packet_bytes);
        if usize::from(ATTEMPTS) <= self.larges.len() {
            return None;
        }
        self.larges.push(Large {
            sequence,
            packet_bytes,
            sent: now.instant,
        });
        let least = u16::try_from(SIZE_MIN).expect("it is 48");
        Some(packet_bytes.saturating_sub(self.headers_bytes).max(least))
    }

    /// Gives up on large packets; they tell of their size only if the small one came back.
    fn judge_larges(&mut self, now: Moment) {
        let timeout = self.timeout();
        let overdue = |it: &mut Large| it.sent + timeout <= now.instant;
        for large in self.larges.extract_if(.., overdue) {
            if self.window.is_answered(large.sequence - 1) {
                self.path_mtu.handle_loss(large.packet_bytes, now.instant);
            }
        }
    }

    fn feed(&mut self, outcome: Outcome, now: Moment) -> bool {
        let changed = self.check.handle_outcome(outcome, now.instant).is_some();
        if changed {
            self.since_unix_milliseconds = now.unix_milliseconds;
        }
        changed
    }

    /// Whether silence says nothing of the tunnel.
    fn is_excused(&self, now: Moment) -> bool {
        let refused = self.refused_until.is_some_and(|it| now.instant < it);
        refused || (self.last_answered.is_none() && self.has_session)
    }

    fn timeout(&self) -> Duration {
        match (self.check.health(), self.quality.p99_microseconds) {
            (Health::Healthy, Some(p99)) => {
                let twice = 2 * Duration::from_micros(p99.into());
                twice.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
            }
            _ => TIMEOUT_MAX,
        }
    }

    fn plan(&mut self) {
        let overdue = self.window.waits_since().map(|it| it + self.timeout());
        self.due = overdue.map_or(self.next_probe, |it| it.min(self.next_probe));
    }
}

/// Different for each node and probe, and the same on every run.
fn jitter(interval: Duration, tag: Tag, sequence: u64) -> Duration {
    let mixed = (tag.0 ^ sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let parts = u32::try_from(mixed).expect("16 bits are left");
    interval / JITTER_PARTS * parts / (1 << 16)
}
