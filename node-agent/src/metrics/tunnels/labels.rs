//! What the series of tunnels are told apart by.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use topology::report::TunnelReport;
use wireguard::uapi::DropCause;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByState {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ByStatus {
    pub(super) status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Tunnel {
    pub(super) cluster: String,
    pub(super) node: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RoundTrip {
    pub(super) cluster: String,
    pub(super) node: String,
    pub(super) quantile: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Drops {
    pub(super) cluster: String,
    pub(super) node: String,
    pub(super) cause: &'static str,
}

impl Tunnel {
    pub(super) fn of(tunnel: &TunnelReport) -> Self {
        Self {
            cluster: tunnel.cluster.to_string(),
            node: tunnel.node.to_string(),
        }
    }

    pub(super) fn with(&self, quantile: &'static str) -> RoundTrip {
        RoundTrip {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            quantile,
        }
    }

    /// Every cause, be it of nothing, which has no series: most tunnels drop nothing.
    pub(super) fn drops(
        &self,
        counts: &BTreeMap<String, u64>,
    ) -> impl Iterator<Item = (Drops, u64)> {
        DropCause::ALL.into_iter().map(|cause| {
            let labels = Drops {
                cluster: self.cluster.clone(),
                node: self.node.clone(),
                cause: cause.name(),
            };
            (labels, counts.get(cause.name()).copied().unwrap_or(0))
        })
    }
}
