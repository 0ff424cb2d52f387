//! What the authority counts.

mod targets;

pub use targets::Targets;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::serve::tally::Tallies;

/// All metrics of the authority. Clones count into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Of queries.
    pub tallies: Tallies,
    pub probes: Family<ProbeLabels, Counter>,
    pub targets: Targets,
    pub checks_unknown: Gauge,
    pub vantages_doubted: Gauge,
    pub vantages_heard: Gauge,
    pub records_failing_open: Gauge,
    pub store_connected: Gauge,
    pub zones: Gauge,
    pub zones_lacking: Gauge,
    pub reload_failures: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ProbeLabels {
    pub outcome: &'static str,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("mesh_dns_authority");
        let tallies = Tallies::default();
        registry.register_collector(Box::new(tallies.clone()));
        let metrics = Self {
            tallies,
            probes: Family::default(),
            targets: Targets::default(),
            checks_unknown: Gauge::default(),
            vantages_doubted: Gauge::default(),
            vantages_heard: Gauge::default(),
            records_failing_open: Gauge::default(),
            store_connected: Gauge::default(),
            zones: Gauge::default(),
            zones_lacking: Gauge::default(),
            reload_failures: Counter::default(),
        };
        metrics.register_rest(registry);
        metrics
    }

    fn register_rest(&self, registry: &mut Registry) {
        let probes = self.probes.clone();
        registry.register("probes", "Probes that ended, by outcome", probes);
        registry.register_collector(Box::new(self.targets.clone()));
        let doubted = self.vantages_doubted.clone();
        let help =
            "Authorities whose verdicts do not count, because each finds everything down alone";
        registry.register("vantages_doubted", help, doubted);
        let heard = self.vantages_heard.clone();
        let help = "Other authorities whose verdicts on targets are heard";
        registry.register("vantages_heard", help, heard);
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
        let lacking = self.zones_lacking.clone();
        let help = "Copies of other servers' zones that have not come yet, or have expired";
        registry.register("zones_lacking", help, lacking);
        let failures = self.reload_failures.clone();
        let help = "Zones that were changed and could not be read; the old ones are served on";
        registry.register("reload_failures", help, failures);
    }
}
