//! What metrics tell of post-quantum secrets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use topology::report::{PostQuantum, TunnelReport};

use super::{signed, store};

#[derive(Debug, Default)]
pub(super) struct QuantumMetrics {
    by_state: Family<ByState, Gauge>,
    agreements: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ByState {
    state: &'static str,
}

impl QuantumMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "mesh_node_agent_post_quantum",
            "Tunnels by how far they are with a post-quantum secret",
            metrics.by_state.clone(),
        );
        registry.register(
            "mesh_node_agent_post_quantum_agreements",
            "Post-quantum secrets that were agreed on",
            metrics.agreements.clone(),
        );
        metrics
    }

    pub(super) fn show(&self, tunnels: &[TunnelReport]) {
        for state in [
            PostQuantum::Established,
            PostQuantum::Off,
            PostQuantum::Pending,
            PostQuantum::Unsupported,
        ] {
            let tunnels = tunnels.iter().filter(|it| it.post_quantum == Some(state));
            let state = state.as_str();
            let gauge = self.by_state.get_or_create(&ByState { state });
            gauge.set(signed(tunnels.count()));
        }
    }

    pub(super) fn show_agreements(&self, count: u64) {
        store(&self.agreements, count);
    }
}
