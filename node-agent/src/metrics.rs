//! The agent's metrics. Verdicts have the names and labels that Cilium's dashboards know.

use std::sync::atomic::{AtomicU64, Ordering};

use datapath_abi::{Direction, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use topology::report::TunnelReport;

use crate::datapath::Counters;
use crate::tables::Tables;
use quantum::QuantumMetrics;
use tunnels::TunnelMetrics;

mod quantum;
mod tunnels;

#[derive(Debug)]
pub struct Metrics {
    drops: Family<Drop, Counter>,
    dropped_bytes: Family<Drop, Counter>,
    forwards: Family<Forward, Counter>,
    forwarded_bytes: Family<Forward, Counter>,
    map_entries: Family<Map, Gauge>,
    apply_seconds: Histogram,
    store_connected: Gauge,
    tunnels: TunnelMetrics,
    quantum: QuantumMetrics,
    problems: Gauge,
    rejected: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Drop {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Forward {
    direction: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Map {
    map: &'static str,
}

/// From a change of one service to a whole mesh after a restart.
const APPLY_BUCKETS_SECONDS: [f64; 8] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            drops: Family::default(),
            dropped_bytes: Family::default(),
            forwards: Family::default(),
            forwarded_bytes: Family::default(),
            map_entries: Family::default(),
            apply_seconds: Histogram::new(APPLY_BUCKETS_SECONDS),
            store_connected: Gauge::default(),
            tunnels: TunnelMetrics::register(registry),
            quantum: QuantumMetrics::register(registry),
            problems: Gauge::default(),
            rejected: Counter::default(),
        };
        metrics.register_verdicts(registry);
        metrics.register_own(registry);
        metrics
    }

    fn register_verdicts(&self, registry: &mut Registry) {
        registry.register("cilium_drop_count", "Dropped packets", self.drops.clone());
        registry.register(
            "cilium_drop_bytes",
            "Dropped bytes",
            self.dropped_bytes.clone(),
        );
        registry.register(
            "cilium_forward_count",
            "Forwarded packets",
            self.forwards.clone(),
        );
        registry.register(
            "cilium_forward_bytes",
            "Forwarded bytes",
            self.forwarded_bytes.clone(),
        );
    }

    fn register_own(&self, registry: &mut Registry) {
        registry.register(
            "mesh_node_agent_map_entries",
            "Entries in each map of the datapath",
            self.map_entries.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_apply",
            "Time to derive and write one batch of changes",
            Unit::Seconds,
            self.apply_seconds.clone(),
        );
        registry.register(
            "mesh_node_agent_store_connected",
            "1 while the cluster's etcd answers, else 0",
            self.store_connected.clone(),
        );
        registry.register(
            "mesh_node_agent_problems",
            "Problems that /v1/status lists",
            self.problems.clone(),
        );
        registry.register(
            "mesh_node_agent_rejected_records",
            "Records of the store that were no valid record",
            self.rejected.clone(),
        );
    }

    /// Takes over the kernel's own counts, which survive the agent.
    pub fn show_verdicts(&self, counters: &Counters) {
        for ((direction, reason), counter) in counters {
            let direction = match direction {
                Direction::Egress => "EGRESS",
                Direction::Ingress => "INGRESS",
            };
            match reason {
                Reason::Forwarded => {
                    let labels = Forward { direction };
                    store(&self.forwards.get_or_create(&labels), counter.packets);
                    store(&self.forwarded_bytes.get_or_create(&labels), counter.bytes);
                }
                Reason::NoBackend | Reason::Unencrypted => {
                    let reason = reason.describe();
                    let labels = Drop { direction, reason };
                    store(&self.drops.get_or_create(&labels), counter.packets);
                    store(&self.dropped_bytes.get_or_create(&labels), counter.bytes);
                }
            }
        }
    }

    pub fn show_tables(&self, tables: &Tables) {
        for (map, entries) in [
            ("services", tables.services.len()),
            ("backends", tables.backends.len()),
            ("peered_prefixes", tables.prefixes.len()),
        ] {
            self.map_entries
                .get_or_create(&Map { map })
                .set(signed(entries));
        }
    }

    pub fn show_tunnels(&mut self, tunnels: &[TunnelReport], now_unix_seconds: u64) {
        self.tunnels.show(tunnels, now_unix_seconds);
        self.quantum.show(tunnels);
    }

    /// Secrets that were agreed on since the start.
    pub fn show_agreements(&self, count: u64) {
        self.quantum.show_agreements(count);
    }

    pub fn show_health(&self, store_connected: bool, problems: usize) {
        self.store_connected.set(i64::from(store_connected));
        self.problems.set(signed(problems));
    }

    pub fn count_apply(&self, seconds: f64) {
        self.apply_seconds.observe(seconds);
    }

    pub fn count_rejected(&self, records: usize) {
        self.rejected.inc_by(records as u64);
    }
}

fn store(counter: &Counter<u64, AtomicU64>, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn shows_drops_as_ciliums_dashboards_expect_them() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let counter = datapath_abi::Counter {
            packets: 3,
            bytes: 180,
        };

        metrics.show_verdicts(&[((Direction::Egress, Reason::Unencrypted), counter)].into());

        let mut body = String::new();
        text::encode(&mut body, &registry).unwrap();
        let line =
            r#"cilium_drop_count_total{direction="EGRESS",reason="Traffic is unencrypted"} 3"#;
        assert!(body.contains(line), "{body}");
        assert!(body.contains("mesh_node_agent_apply_seconds"), "{body}");
    }
}
