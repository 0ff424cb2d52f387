//! What the API server counts, under upstream's names where upstream counts the same.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use topology::id::ClusterName;
use topology::report::ClusterState;

use crate::model::Model;

/// Handles to what `/metrics` shows.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    remote_clusters: Gauge,
    connected: Family<Peer, Gauge>,
    ready: Family<Peer, Gauge>,
    nodes: Family<Peer, Gauge>,
    services: Family<Peer, Gauge>,
    endpoints: Family<Peer, Gauge>,
    /// Counts, but is a gauge upstream, and a counter would get another name.
    failures: Family<Peer, Gauge>,
    last_failure_seconds: Family<Peer, Gauge<f64, AtomicU64>>,
    dropped: Family<Dropped, Counter>,
    global_services: Gauge,
    objects: Gauge,
    problems: Family<Kind, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Peer {
    source_cluster: String,
    target_cluster: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Dropped {
    target_cluster: String,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Kind {
    kind: &'static str,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let upstream = registry.sub_registry_with_prefix("cilium_kvstoremesh");
        let it = metrics.clone();
        upstream.register(
            "remote_clusters",
            "Remote clusters configured",
            it.remote_clusters,
        );
        let help = "1 while the remote cluster is connected and complete, else 0";
        upstream.register("remote_cluster_readiness_status", help, it.ready);
        let help = "Losses of the connection to the remote cluster";
        upstream.register("remote_cluster_failures", help, it.failures);
        let help = "When the connection was lost last, in seconds since 1970";
        upstream.register(
            "remote_cluster_last_failure_ts",
            help,
            it.last_failure_seconds,
        );
        upstream.register(
            "remote_cluster_nodes",
            "Nodes of the remote cluster",
            it.nodes,
        );
        let help = "Services that the remote cluster shares";
        upstream.register("remote_cluster_services", help, it.services);
        let help = "Addresses of the remote cluster's pods";
        upstream.register("remote_cluster_endpoints", help, it.endpoints);

        let ours = registry.sub_registry_with_prefix("mesh_clustermesh_apiserver");
        let help = "1 while the remote cluster answers, else 0";
        ours.register("remote_cluster_connected", help, it.connected);
        let help = "Records of a remote cluster that break its contract, by reason";
        ours.register("records_dropped", help, it.dropped);
        ours.register(
            "shared_services",
            "Services that this cluster shares",
            it.global_services,
        );
        ours.register("objects", "Objects read from the manifests", it.objects);
        ours.register(
            "problems",
            "Problems that /v1/status shows, by kind",
            it.problems,
        );
        metrics
    }

    /// Counts a lost connection to `remote`.
    pub fn count_failure(&self, own: &ClusterName, remote: &ClusterName, unix_milliseconds: u64) {
        let peer = peer(own, remote);
        self.failures.get_or_create(&peer).inc();
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds stay exact in a double for 285,000 years"
        )]
        let seconds = unix_milliseconds as f64 / 1e3;
        self.last_failure_seconds.get_or_create(&peer).set(seconds);
    }

    /// Shows the model as it is now.
    pub fn show(&self, own: &ClusterName, model: &Model) {
        self.connected.clear();
        self.ready.clear();
        self.nodes.clear();
        self.services.clear();
        self.endpoints.clear();
        self.dropped.clear();
        let mut remotes = 0;
        for (report, rejections) in model.remotes() {
            remotes += 1;
            let peer = peer(own, &report.name);
            let connected = report.state == ClusterState::Connected;
            let ready = connected && report.synced;
            self.connected.get_or_create(&peer).set(connected.into());
            self.ready.get_or_create(&peer).set(ready.into());
            self.nodes.get_or_create(&peer).set(gauge(report.nodes));
            self.services
                .get_or_create(&peer)
                .set(gauge(report.services));
            self.endpoints
                .get_or_create(&peer)
                .set(gauge(report.endpoints));
            for (reason, count) in &rejections.counts {
                let labels = Dropped {
                    target_cluster: report.name.to_string(),
                    reason,
                };
                let counter = self.dropped.get_or_create(&labels);
                counter.inner().store(*count, Ordering::Relaxed);
            }
        }
        self.remote_clusters.set(remotes);
        self.global_services
            .set(gauge(model.shared_service_count()));
        self.objects.set(gauge(model.object_count()));
        for (kind, count) in model.problem_counts() {
            self.problems
                .get_or_create(&Kind { kind })
                .set(gauge(count));
        }
    }
}

fn peer(own: &ClusterName, remote: &ClusterName) -> Peer {
    Peer {
        source_cluster: own.to_string(),
        target_cluster: remote.to_string(),
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
