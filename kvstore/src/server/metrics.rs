//! The page of metrics: under etcd's names, where etcd has the value.

use std::fmt::{Display, Write as _};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::requests::Requests;

/// What the server knows of itself at one moment.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) certificate_expiry_seconds: Option<i64>,
    pub(super) certificate_failures: u64,
    pub(super) compact_revision: i64,
    pub(super) connections: usize,
    pub(super) connections_refused: u64,
    pub(super) events_pending: usize,
    pub(super) held_bytes: u64,
    pub(super) keys: usize,
    pub(super) leases: usize,
    pub(super) requests_refused: u64,
    pub(super) revision: i64,
    pub(super) version: &'static str,
    pub(super) watch_streams: usize,
    pub(super) watches: usize,
}

/// The page, in Prometheus' text format.
pub(super) fn page(facts: &Facts, requests: &Requests) -> String {
    let mut page = Page::default();
    page.family(
        "etcd_server_version",
        "gauge",
        "The release whose behaviour this server follows.",
    );
    page.labelled(&format!("server_version=\"{}\"", facts.version), 1);
    for (name, help, value) in gauges(facts) {
        page.family(name, "gauge", help);
        page.value(value);
    }
    for (name, help, value) in counters(facts) {
        page.family(name, "counter", help);
        page.value(value);
    }
    if let Some(expiry) = facts.certificate_expiry_seconds {
        page.family(EXPIRY_NAME, "gauge", EXPIRY_HELP);
        page.value(expiry);
    }
    requests.write(&mut page);
    page.text
}

/// The same numbers, but for requests and the version, into somebody else's page.
pub(super) fn encode(facts: &Facts, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
    let mut add = |name: &str, help: &str, metric: &dyn EncodeMetric| {
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    };
    for (name, help, value) in gauges(facts) {
        add(name, help, &ConstGauge::new(value))?;
    }
    for (name, help, value) in counters(facts) {
        // The encoder ends the names of counters so by itself.
        let name = name.strip_suffix("_total").unwrap_or(name);
        add(name, help, &ConstCounter::new(value))?;
    }
    match facts.certificate_expiry_seconds {
        Some(expiry) => add(EXPIRY_NAME, EXPIRY_HELP, &ConstGauge::new(expiry)),
        None => Ok(()),
    }
}

const EXPIRY_NAME: &str = "causeway_kvstore_certificate_expiry_seconds";
const EXPIRY_HELP: &str = "When the server's certificate ends, in Unix time.";

type Row = (&'static str, &'static str, u64);

fn gauges(facts: &Facts) -> [Row; 13] {
    let revision = |it: i64| u64::try_from(it).unwrap_or(0);
    [
        (
            "etcd_server_has_leader",
            "Whether there is a leader: a cluster of one always has.",
            1,
        ),
        (
            "etcd_server_is_leader",
            "Whether this member is the leader.",
            1,
        ),
        (
            "etcd_mvcc_db_total_size_in_bytes",
            "Bytes of keys and values, history included.",
            facts.held_bytes,
        ),
        (
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "As the total: there are no holes.",
            facts.held_bytes,
        ),
        (
            "etcd_debugging_mvcc_keys_total",
            "Keys, those included that only history knows.",
            count(facts.keys),
        ),
        (
            "etcd_debugging_mvcc_current_revision",
            "The latest revision.",
            revision(facts.revision),
        ),
        (
            "etcd_debugging_mvcc_compact_revision",
            "The revision of the last compaction.",
            revision(facts.compact_revision),
        ),
        (
            "etcd_debugging_mvcc_watch_stream_total",
            "Watch streams of clients on the network.",
            count(facts.watch_streams),
        ),
        (
            "etcd_debugging_mvcc_watcher_total",
            "Watches of clients on the network.",
            count(facts.watches),
        ),
        (
            "etcd_debugging_mvcc_pending_events_total",
            "Events on their way to clients.",
            count(facts.events_pending),
        ),
        ("causeway_kvstore_leases", "Leases.", count(facts.leases)),
        (
            "causeway_kvstore_connections",
            "Connections, those in their greeting included.",
            count(facts.connections),
        ),
        (
            "etcd_server_is_learner",
            "Whether this member has no vote.",
            0,
        ),
    ]
}

fn counters(facts: &Facts) -> [Row; 4] {
    [
        (
            "etcd_server_leader_changes_seen_total",
            "Elections seen.",
            1,
        ),
        (
            "causeway_kvstore_refused_connections_total",
            "Connections above a limit.",
            facts.connections_refused,
        ),
        (
            "causeway_kvstore_refused_requests_total",
            "Requests above a user's rate.",
            facts.requests_refused,
        ),
        (
            "causeway_kvstore_certificate_reload_failures_total",
            "Changed certificate files that could not be used.",
            facts.certificate_failures,
        ),
    ]
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The text so far, and the family that it is in.
#[derive(Default)]
pub(super) struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(super) fn labelled(&mut self, labels: &str, value: impl Display) {
        let name = self.name;
        self.write(format_args!("{name}{{{labels}}} {value}\n"));
    }

    fn value(&mut self, value: impl Display) {
        let name = self.name;
        self.write(format_args!("{name} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes everything");
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
