//! Counts queries where they are answered, each thread for itself, and sums up when somebody looks.

mod encode;

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::guard::Treatment;
use crate::message::Handled;

/// What one thread, or the connections of one address, counted.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    transport: &'static str,
    answered: [[AtomicU64; CODES.len()]; TYPES.len()],
    fates: [AtomicU64; FATES.len()],
    /// How many queries took so long, the last any time.
    buckets: [AtomicU64; LATENCY_BUCKETS.len()],
    nanoseconds: AtomicU64,
    connections: [AtomicU64; Moment::COUNT],
}

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Opened,
    Closed,
    /// There was no place for it.
    Refused,
}

impl Moment {
    const COUNT: usize = 3;
}

/// What became of messages that were not simply answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No query, and therefore without an answer.
    Ignored,
    /// Not answered, because its network asks too much.
    Limited,
    /// Answered with nothing, for the same reason.
    Slipped,
    /// Sent back for a cookie, for the same reason.
    CookieWanted,
    /// Answered with nothing, because the script of a LUA record broke or gave no record.
    RecordFailed,
    /// A transfer, an update, a notification, or something signed: others answer it.
    HandedOver,
}

/// The tallies of the whole process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Mutex<Vec<Arc<Tally>>>>);

/// Types that are counted by name, in the order of their numbers; the last stands for all others.
const TYPES: [(u16, &str); 12] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (28, "AAAA"),
    (33, "SRV"),
    (65, "HTTPS"),
    (255, "ANY"),
    (257, "CAA"),
    (0, "other"),
];
/// Response codes by their numbers; the last stands for all others.
const CODES: [&str; 7] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other",
];
const FATES: [&str; 6] = [
    "ignored",
    "limited",
    "slipped",
    "cookie_wanted",
    "record_failed",
    "handed_over",
];
/// In nanoseconds: an answer takes microseconds.
const LATENCY_BUCKETS: [u64; 11] = [
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    1_000_000,
    10_000_000,
    u64::MAX,
];

impl Tally {
    fn new(transport: &'static str) -> Self {
        Self {
            transport,
            answered: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            fates: array::from_fn(|_| AtomicU64::new(0)),
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
            connections: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// One query was handled.
    pub fn count(&self, handled: Handled) {
        if handled.record_failed {
            self.note(Fate::RecordFailed);
        }
        match handled.treatment {
            Treatment::Answered => self.answered(handled.kind, handled.code),
            Treatment::CookieWanted => self.note(Fate::CookieWanted),
            Treatment::Dropped => self.note(Fate::Limited),
            Treatment::Slipped => self.note(Fate::Slipped),
        }
    }

    /// One query of the type `kind`, if it could be read that far, was answered with `code`.
    fn answered(&self, kind: Option<u16>, code: u16) {
        let known = &TYPES[..TYPES.len() - 1];
        let kind = kind.and_then(|kind| known.iter().position(|it| it.0 == kind));
        let code = usize::from(code).min(CODES.len() - 1);
        add(&self.answered[kind.unwrap_or(known.len())][code], 1);
    }

    pub fn note(&self, fate: Fate) {
        add(&self.fates[fate as usize], 1);
    }

    /// It happened to a connection.
    pub fn notice(&self, moment: Moment) {
        add(&self.connections[moment as usize], 1);
    }

    /// So many queries took so long together.
    pub fn time(&self, queries: u64, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let Some(each) = nanoseconds.checked_div(queries) else {
            return;
        };
        let bucket = LATENCY_BUCKETS.iter().position(|it| each <= *it);
        add(&self.buckets[bucket.unwrap_or_default()], queries);
        add(&self.nanoseconds, nanoseconds);
    }
}

/// Takes a handful of nanoseconds where only one thread writes.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Tallies {
    /// A new tally of `transport`.
    pub fn open(&self, transport: &'static str) -> Arc<Tally> {
        let tally = Arc::new(Tally::new(transport));
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.push(Arc::clone(&tally));
        tally
    }

    fn by_transport(&self) -> Vec<Group> {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: Vec<Group> = Vec::new();
        for tally in &*tallies {
            let tally = Arc::clone(tally);
            match groups.iter_mut().find(|it| it.transport == tally.transport) {
                Some(group) => group.tallies.push(tally),
                None => groups.push(Group {
                    transport: tally.transport,
                    tallies: vec![tally],
                }),
            }
        }
        groups
    }
}

/// The tallies of one transport.
struct Group {
    transport: &'static str,
    tallies: Vec<Arc<Tally>>,
}

impl Group {
    fn sum(&self, counter: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        let tallies = self.tallies.iter();
        let counts = tallies.map(|it| counter(it).load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_threads_counted_adds_up() {
        let tallies = Tallies::default();
        let (first, second) = (tallies.open("udp"), tallies.open("udp"));
        let tcp = tallies.open("tcp");
        for _ in 0..3 {
            first.answered(Some(28), 3);
        }
        second.answered(Some(28), 3);
        second.answered(Some(99), 23);
        tcp.answered(None, 1);
        for treatment in [Treatment::Slipped, Treatment::CookieWanted] {
            second.count(Handled {
                kind: Some(1),
                code: 0,
                treatment,
                record_failed: treatment == Treatment::Slipped,
                is_errand: false,
            });
        }
        for moment in [Moment::Opened, Moment::Opened, Moment::Closed] {
            tcp.notice(moment);
        }
        tcp.notice(Moment::Refused);
        first.time(64, Duration::from_micros(64));
        second.time(1, Duration::from_millis(500));
        second.time(0, Duration::ZERO);

        let text = encoded(tallies);

        for line in [
            "queries_total{transport=\"udp\",type=\"AAAA\",rcode=\"NXDOMAIN\"} 4",
            "queries_total{transport=\"udp\",type=\"other\",rcode=\"other\"} 1",
            "queries_total{transport=\"tcp\",type=\"other\",rcode=\"FORMERR\"} 1",
            "queries_total{transport=\"tcp\",type=\"A\",rcode=\"NOERROR\"} 0",
            "messages_total{transport=\"udp\",fate=\"slipped\"} 1",
            "messages_total{transport=\"udp\",fate=\"cookie_wanted\"} 1",
            "messages_total{transport=\"udp\",fate=\"record_failed\"} 1",
            "messages_total{transport=\"tcp\",fate=\"ignored\"} 0",
            "connections{transport=\"tcp\"} 1",
            "connections_refused_total{transport=\"tcp\"} 1",
            "answer_seconds_sum{transport=\"udp\"} 0.500064",
            "answer_seconds_count{transport=\"udp\"} 65",
            "answer_seconds_bucket{le=\"0.000001\",transport=\"udp\"} 64",
            "answer_seconds_bucket{le=\"+Inf\",transport=\"udp\"} 65",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
    }

    fn encoded(tallies: Tallies) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(tallies));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}
