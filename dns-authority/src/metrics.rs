//! What the authority counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use topology::health::Health;

use crate::check::Check;
use crate::message::{Handled, Transport};
use crate::wire::{code, kind};

/// All metrics of the authority. Clones count into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub udp: Queries,
    pub tcp: Queries,
    /// Datagrams and messages that were no queries.
    pub dropped: Counter,
    pub probes: Family<ProbeLabels, Counter>,
    check_up: Family<CheckLabels, Gauge>,
    pub checks_unknown: Gauge,
    pub records_failing_open: Gauge,
    pub store_connected: Gauge,
    pub zones: Gauge,
    pub reload_failures: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ProbeLabels {
    pub outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CheckLabels {
    target: String,
    question: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QueryLabels {
    transport: &'static str,
    r#type: &'static str,
    rcode: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TransportLabels {
    transport: &'static str,
}

/// Queries of one transport. Every counter exists from the start, so that counting takes no lock
/// and clients cannot make more of them.
#[derive(Clone, Debug)]
pub struct Queries {
    counters: Vec<[Counter; CODES.len()]>,
    seconds: Histogram,
}

/// Types that are counted by name; the last stands for all others.
const TYPES: [&str; 12] = [
    "A", "AAAA", "ANY", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "other",
];
const CODES: [&str; 7] = [
    "NOERROR", "NXDOMAIN", "REFUSED", "SERVFAIL", "FORMERR", "NOTIMP", "other",
];
/// In seconds: an answer takes microseconds.
const LATENCY_BUCKETS: [f64; 9] = [2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1];

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("mesh_dns_authority");
        let queries = Family::<QueryLabels, Counter>::default();
        registry.register(
            "queries",
            "Queries answered, by transport, type and response code",
            queries.clone(),
        );
        let seconds: Family<TransportLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS));
        registry.register_with_unit(
            "answer",
            "Time from reading a query to having its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let metrics = Self {
            udp: Queries::new(&queries, &seconds, "udp"),
            tcp: Queries::new(&queries, &seconds, "tcp"),
            dropped: Counter::default(),
            probes: Family::default(),
            check_up: Family::default(),
            checks_unknown: Gauge::default(),
            records_failing_open: Gauge::default(),
            store_connected: Gauge::default(),
            zones: Gauge::default(),
            reload_failures: Counter::default(),
        };
        metrics.register_rest(registry);
        metrics
    }

    fn register_rest(&self, registry: &mut Registry) {
        let dropped = self.dropped.clone();
        registry.register("dropped_messages", "Messages that were no queries", dropped);
        let probes = self.probes.clone();
        registry.register("probes", "Probes that ended, by outcome", probes);
        let help = "1 if the last verdict on the target is healthy, 0 if not; absent before one";
        registry.register("check_up", help, self.check_up.clone());
        let unknown = self.checks_unknown.clone();
        let help = "Health checks that have come to no verdict yet";
        registry.register("checks_unknown", help, unknown);
        let open = self.records_failing_open.clone();
        let help = "Records of whose targets none is healthy, answered in doubt";
        registry.register("records_failing_open", help, open);
        let connected = self.store_connected.clone();
        let help =
            "1 while the mesh's store answers; names of services stay as they were without it";
        registry.register("store_connected", help, connected);
        registry.register("zones", "Zones that are served", self.zones.clone());
        let failures = self.reload_failures.clone();
        let help = "Zones that were changed and could not be read; the old ones are served on";
        registry.register("reload_failures", help, failures);
    }

    /// Shows the health of `check`.
    pub fn show_check(&self, check: &Check, health: Health) {
        let labels = CheckLabels {
            target: check.target.to_string(),
            question: check.question(),
        };
        match health {
            Health::Unknown => drop(self.check_up.remove(&labels)),
            Health::Healthy | Health::Unhealthy => {
                let up = i64::from(health == Health::Healthy);
                self.check_up.get_or_create(&labels).set(up);
            }
        }
    }

    /// Forgets all checks, before a new set of them is shown.
    pub fn forget_checks(&self) {
        self.check_up.clear();
    }

    pub fn queries(&self, transport: Transport) -> &Queries {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

impl Queries {
    fn new(
        queries: &Family<QueryLabels, Counter>,
        seconds: &Family<TransportLabels, Histogram>,
        transport: &'static str,
    ) -> Self {
        let counter = |kind, rcode| {
            let labels = QueryLabels {
                transport,
                r#type: kind,
                rcode,
            };
            queries.get_or_create_owned(&labels)
        };
        Self {
            counters: TYPES
                .iter()
                .map(|kind| CODES.map(|code| counter(kind, code)))
                .collect(),
            seconds: seconds.get_or_create_owned(&TransportLabels { transport }),
        }
    }

    pub fn count(&self, handled: Handled, took: Duration) {
        self.counters[type_index(handled.kind)][code_index(handled.code)].inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

fn type_index(kind: Option<u16>) -> usize {
    match kind {
        Some(kind::A) => 0,
        Some(kind::AAAA) => 1,
        Some(kind::ANY) => 2,
        Some(kind::CAA) => 3,
        Some(kind::CNAME) => 4,
        Some(kind::HTTPS) => 5,
        Some(kind::MX) => 6,
        Some(kind::NS) => 7,
        Some(kind::PTR) => 8,
        Some(kind::SOA) => 9,
        Some(kind::SRV) => 10,
        _ => TYPES.len() - 1,
    }
}

fn code_index(code: u16) -> usize {
    match code {
        code::NO_ERROR => 0,
        code::NO_NAME => 1,
        code::REFUSED => 2,
        code::SERVER_FAILURE => 3,
        code::FORMAT_ERROR => 4,
        code::NOT_IMPLEMENTED => 5,
        _ => CODES.len() - 1,
    }
}
