//! What the API server counts, under upstream's names where upstream counts the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvstore::measures::Measures;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use topology::id::ClusterName;
use topology::record::Kind;
use topology::report::{
    CertificateReport, ClusterReport, ClusterState, KindReport, LivenessReport, Witness,
};

use crate::hands::Measured;
use crate::journal::Journal;
use crate::model::Model;
use labels::{Certificate, Dropped, DroppedOfAgents, Peer, Problems, Records, Scope, peer, scope};

mod labels;

/// Handles to what `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Metrics {
    remote_clusters: Gauge,
    connected: Family<Peer, Gauge>,
    ready: Family<Peer, Gauge>,
    nodes: Family<Peer, Gauge>,
    services: Family<Peer, Gauge>,
    endpoints: Family<Peer, Gauge>,
    /// Counts, but is a gauge upstream, and a counter would get another name.
    failures: Family<Peer, Gauge>,
    last_failure_seconds: Family<Peer, Seconds>,
    synced: Family<Scope, Gauge>,
    published: Family<Scope, Gauge>,
    mirror_bootstrap_seconds: Seconds,
    publisher_bootstrap_seconds: Seconds,
    records: Family<Records, Gauge>,
    dropped: Family<Dropped, Counter>,
    latency: Family<Peer, Histogram, fn() -> Histogram>,
    last_pulse_seconds: Family<Peer, Seconds>,
    changes_waiting: Family<Peer, Gauge>,
    throttled_seconds: Family<Peer, Counter<f64, AtomicU64>>,
    reporting_nodes: Family<Peer, Gauge>,
    reaching_nodes: Family<Peer, Gauge>,
    judged_by_data_plane: Family<Peer, Gauge>,
    agent_records_dropped: Family<DroppedOfAgents, Counter>,
    certificates: Family<Certificate, Seconds>,
    global_services: Gauge,
    objects: Gauge,
    problems: Family<Problems, Gauge>,
    /// The remote clusters that have series.
    shown: BTreeSet<ClusterName>,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Upstream has a process for each.
const PUBLISHER_PREFIX: &str = "cilium_clustermesh_apiserver";
const MIRROR_PREFIX: &str = "cilium_kvstoremesh";

/// From a change in the next rack to one that waited for a connection to come back.
const LATENCY_BUCKETS_SECONDS: [f64; 14] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

impl Default for Metrics {
    fn default() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS_SECONDS);
        Self {
            remote_clusters: Gauge::default(),
            connected: Family::default(),
            ready: Family::default(),
            nodes: Family::default(),
            services: Family::default(),
            endpoints: Family::default(),
            failures: Family::default(),
            last_failure_seconds: Family::default(),
            synced: Family::default(),
            published: Family::default(),
            mirror_bootstrap_seconds: Gauge::default(),
            publisher_bootstrap_seconds: Gauge::default(),
            records: Family::default(),
            dropped: Family::default(),
            latency: Family::new_with_constructor(latency),
            last_pulse_seconds: Family::default(),
            changes_waiting: Family::default(),
            throttled_seconds: Family::default(),
            reporting_nodes: Family::default(),
            reaching_nodes: Family::default(),
            judged_by_data_plane: Family::default(),
            agent_records_dropped: Family::default(),
            certificates: Family::default(),
            global_services: Gauge::default(),
            objects: Gauge::default(),
            problems: Family::default(),
            shown: BTreeSet::new(),
        }
    }
}

/// What the writers and followers measure, under the names of upstream's publisher and mirror.
pub fn store_clients(registry: &mut Registry, own: &ClusterName) -> Measured {
    let of = |registry: &mut Registry, part: &'static str| {
        Measures::register(registry.sub_registry_with_prefix(part), own.as_str())
    };
    Measured {
        publisher: of(registry, PUBLISHER_PREFIX),
        mirror: of(registry, MIRROR_PREFIX),
    }
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_upstream(registry);
        metrics.register_ours(registry.sub_registry_with_prefix("mesh_clustermesh_apiserver"));
        metrics
    }

    /// Names and labels are upstream's, of its mesh cache and of its publisher.
    fn register_upstream(&self, registry: &mut Registry) {
        let it = self.clone();
        let mirror = registry.sub_registry_with_prefix(MIRROR_PREFIX);
        let help = "Remote clusters configured";
        mirror.register("remote_clusters", help, it.remote_clusters);
        let help = "1 while the remote cluster is connected and complete, else 0";
        mirror.register("remote_cluster_readiness_status", help, it.ready);
        let help = "Losses of the connection to the remote cluster";
        mirror.register("remote_cluster_failures", help, it.failures);
        let help = "When the connection was lost last, in seconds since 1970";
        let name = "remote_cluster_last_failure_ts";
        mirror.register(name, help, it.last_failure_seconds);
        let help = "Nodes of the remote cluster";
        mirror.register("remote_cluster_nodes", help, it.nodes);
        let help = "Services that the remote cluster shares";
        mirror.register("remote_cluster_services", help, it.services);
        let help = "Addresses of the remote cluster's pods";
        mirror.register("remote_cluster_endpoints", help, it.endpoints);
        let help = "1 once all records of a kind have been read, else 0";
        mirror.register("kvstore_initial_sync_completed", help, it.synced);
        let help = "Seconds from the start until every remote cluster was read, or had its time";
        mirror.register("bootstrap_seconds", help, it.mirror_bootstrap_seconds);

        let publisher = registry.sub_registry_with_prefix(PUBLISHER_PREFIX);
        let help = "1 once all records of a kind have been published, else 0";
        publisher.register("kvstore_initial_sync_completed", help, it.published);
        let help = "Seconds from the start until the own records were published";
        publisher.register("bootstrap_seconds", help, it.publisher_bootstrap_seconds);
    }

    fn register_ours(&self, ours: &mut Registry) {
        let it = self.clone();
        let help = "1 while the remote cluster answers, else 0";
        ours.register("remote_cluster_connected", help, it.connected);
        let help = "Records held of the remote cluster, by kind";
        ours.register("remote_cluster_records", help, it.records);
        let help = "Records of a remote cluster that break its contract, by reason";
        ours.register("records_dropped", help, it.dropped);
        let help = "From a remote cluster's clock to our store, measured by its pulse";
        ours.register("propagation_latency_seconds", help, it.latency);
        let help = "When the last pulse of the remote cluster arrived, in seconds since 1970";
        ours.register("remote_cluster_last_pulse_ts", help, it.last_pulse_seconds);
        let help = "Changes of the remote cluster that its contract holds back now";
        ours.register("remote_cluster_changes_waiting", help, it.changes_waiting);
        let help = "Seconds for which the contract of the remote cluster held changes back";
        let name = "remote_cluster_throttled_seconds";
        ours.register(name, help, it.throttled_seconds);
        let help = "Nodes of this cluster that report on the remote cluster";
        ours.register("remote_cluster_reporting_nodes", help, it.reporting_nodes);
        let help = "Nodes of this cluster that reach the remote cluster through their tunnels";
        ours.register("remote_cluster_reaching_nodes", help, it.reaching_nodes);
        let help = "1 while what nodes reach decides whether the remote cluster counts as connected, \
                    0 while its etcd does";
        let name = "remote_cluster_judged_by_data_plane";
        ours.register(name, help, it.judged_by_data_plane);
        let help = "Records of node agents that are not acceptable, by reason";
        let name = "agent_records_dropped";
        ours.register(name, help, it.agent_records_dropped);
        let help = "When a certificate ends, in seconds since 1970; 0 if it cannot be read";
        ours.register("certificate_expiry_unix_seconds", help, it.certificates);
        let help = "Services that this cluster shares";
        ours.register("shared_services", help, it.global_services);
        ours.register("objects", "Objects read from the manifests", it.objects);
        let help = "Problems that /v1/status shows, by kind";
        ours.register("problems", help, it.problems);
    }

    /// Counts a pulse of `remote` that took so long to be in our store.
    pub fn observe_latency(&self, own: &ClusterName, remote: &ClusterName, latency: Duration) {
        let latencies = self.latency.get_or_create(&peer(own, remote));
        latencies.observe(latency.as_secs_f64());
    }

    /// Notes that every remote cluster was met, or had its time.
    pub fn set_mirrored(&self, since_start: Duration) {
        self.mirror_bootstrap_seconds.set(since_start.as_secs_f64());
    }

    /// Notes that the own records of `own` are published.
    pub fn set_published(&self, own: &ClusterName, since_start: Duration) {
        self.publisher_bootstrap_seconds
            .set(since_start.as_secs_f64());
        for kind in Kind::ALL {
            let scope = scope(own, kind.as_str(), "write");
            self.published.get_or_create(&scope).set(1);
        }
    }

    /// Shows the model as it is now.
    pub fn show(&mut self, own: &ClusterName, model: &Model, journal: &Journal) {
        let remotes: BTreeSet<ClusterName> = model.remote_names().cloned().collect();
        self.remote_clusters.set(gauge(remotes.len()));
        if !self.shown.is_subset(&remotes) {
            self.forget_remotes();
        }
        self.shown = remotes;
        for remote in model.remotes() {
            let report = remote.report();
            self.show_cluster(own, &report);
            self.show_way(own, &report.name, journal);
            self.show_liveness(own, &report.name, remote.liveness());
            for (kind, records) in remote.kinds() {
                self.show_kind(&report.name, kind, records);
            }
            for (reason, count) in remote.rejections().report().by_reason {
                let labels = Dropped {
                    target_cluster: report.name.to_string(),
                    reason,
                };
                let counter = self.dropped.get_or_create(&labels);
                counter.inner().store(count, Ordering::Relaxed);
            }
        }
        for (reason, count) in model.dropped_of_agents() {
            let counter = self
                .agent_records_dropped
                .get_or_create(&DroppedOfAgents { reason });
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.global_services
            .set(gauge(model.shared_service_count()));
        self.objects.set(gauge(model.object_count()));
        for (kind, count) in model.problem_counts() {
            self.problems
                .get_or_create(&Problems { kind })
                .set(gauge(count));
        }
    }

    /// Shows when certificates end: that of the embedded etcd, and those shown to peers.
    pub fn show_certificates<'a>(
        &self,
        server: Option<&'a CertificateReport>,
        clients: impl Iterator<Item = &'a CertificateReport>,
    ) {
        self.certificates.clear();
        let server = server.map(|it| (it, "server"));
        for (certificate, usage) in clients.map(|it| (it, "client")).chain(server) {
            let labels = Certificate {
                file: certificate.file.clone(),
                usage,
            };
            let end = seconds(certificate.not_after);
            self.certificates.get_or_create(&labels).set(end);
        }
    }

    /// Series of clusters that are gone must not stay; those of the others come back at once.
    fn forget_remotes(&self) {
        for family in [
            &self.connected,
            &self.ready,
            &self.nodes,
            &self.services,
            &self.endpoints,
            &self.failures,
            &self.changes_waiting,
            &self.reporting_nodes,
            &self.reaching_nodes,
            &self.judged_by_data_plane,
        ] {
            family.clear();
        }
        self.last_failure_seconds.clear();
        self.last_pulse_seconds.clear();
        self.throttled_seconds.clear();
        self.synced.clear();
        self.records.clear();
        self.dropped.clear();
    }

    fn show_cluster(&self, own: &ClusterName, report: &ClusterReport) {
        let peer = peer(own, &report.name);
        let connected = report.state == ClusterState::Connected;
        let ready = connected && report.synced;
        let set = |family: &Family<Peer, Gauge>, value: i64| {
            family.get_or_create(&peer).set(value);
        };
        set(&self.connected, connected.into());
        set(&self.ready, ready.into());
        set(&self.nodes, gauge(report.nodes));
        set(&self.services, gauge(report.services));
        set(&self.endpoints, gauge(report.endpoints));
    }

    fn show_way(&self, own: &ClusterName, remote: &ClusterName, journal: &Journal) {
        let peer = peer(own, remote);
        let link = journal.link(remote);
        let failures = i64::try_from(link.failures).unwrap_or(i64::MAX);
        self.failures.get_or_create(&peer).set(failures);
        let last_failure = link.last_failure.map_or(0, |it| it.at);
        self.last_failure_seconds
            .get_or_create(&peer)
            .set(seconds(last_failure));
        let throttle = journal.throttle(remote);
        let waiting = throttle.now.map_or(0, |it| it.changes_waiting);
        self.changes_waiting
            .get_or_create(&peer)
            .set(gauge(waiting));
        let throttled = self.throttled_seconds.get_or_create(&peer);
        let total = throttle.total.as_secs_f64().to_bits();
        throttled.inner().store(total, Ordering::Relaxed);
        drop(throttled);
        if let Some(at) = journal.pulse(remote).and_then(|it| it.at) {
            self.last_pulse_seconds
                .get_or_create(&peer)
                .set(seconds(at));
        }
    }

    fn show_liveness(&self, own: &ClusterName, remote: &ClusterName, report: LivenessReport) {
        let peer = peer(own, remote);
        let is_data_plane = report.decided_by == Witness::DataPlane;
        let reporting = self.reporting_nodes.get_or_create(&peer);
        reporting.set(gauge(report.nodes_reporting));
        let reaching = self.reaching_nodes.get_or_create(&peer);
        reaching.set(gauge(report.nodes_reaching));
        let judged = self.judged_by_data_plane.get_or_create(&peer);
        judged.set(is_data_plane.into());
    }

    fn show_kind(&self, remote: &ClusterName, kind: String, report: KindReport) {
        let scope = scope(remote, &kind, "read");
        self.synced.get_or_create(&scope).set(report.synced.into());
        let labels = Records {
            target_cluster: remote.to_string(),
            kind,
        };
        self.records
            .get_or_create(&labels)
            .set(gauge(report.records));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds stay exact in a double for 285,000 years"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
