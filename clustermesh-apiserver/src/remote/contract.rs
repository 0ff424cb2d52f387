//! What a remote cluster may say of itself, and what is done with what it may not.

use std::collections::BTreeMap;
use std::fmt;

use topology::id::{ClusterName, MeshSize};
use topology::record::{ClusterConfig, InvalidRecord, Key, Record};

use super::TakenIds;

/// Far more than the identities or pods of the largest cluster; without a limit one broken peer
/// could fill our memory.
pub(super) const RECORDS_PER_KIND_MAX: usize = 1_000_000;

/// Reads a cluster-config, or says why nothing of the cluster can be believed with it.
pub(super) fn check_config(
    name: &ClusterName,
    value: &[u8],
    taken: &TakenIds,
    mesh: MeshSize,
) -> Result<ClusterConfig, String> {
    let key = Key::ClusterConfig(name.clone());
    let config = match Record::decode(&key, value, None) {
        Ok(Record::ClusterConfig(config)) => config,
        Ok(_) => return Err("its cluster-config is none".to_owned()),
        Err(error) => return Err(format!("its cluster-config is invalid: {}", chain(&error))),
    };
    if let Some(owner) = taken.get(&config.id) {
        return Err(format!("its id {} is the id of cluster {owner}", config.id));
    }
    let clusters = config.capabilities.max_connected_clusters;
    // Identities numbered for 255 clusters mean others in a mesh of 511.
    if clusters != mesh.clusters() && (clusters != 0 || mesh != MeshSize::default()) {
        return Err(format!(
            "its maxConnectedClusters is {clusters}, and ours is {mesh}: set \
             --max-connected-clusters to the same in both"
        ));
    }
    if mesh.clusters() < config.id.get() {
        return Err(format!(
            "its id {} is too high for a mesh of {mesh} clusters",
            config.id
        ));
    }
    let mode = &*config.capabilities.endpoint_slices_export_mode;
    if !EXPORT_MODES.contains(&mode) {
        return Err(format!("its endpointSlicesExportMode {mode:?} is unknown"));
    }
    Ok(config)
}

const EXPORT_MODES: [&str; 3] = ["", "endpointslices-only", "services-and-endpointslices"];

/// The cluster-config as our own agents read it: with canaries, from the mirrored tree.
pub(super) fn mirrored_config(config: &ClusterConfig) -> Vec<u8> {
    let mut config = config.clone();
    config.capabilities.synced_canaries = true;
    config.capabilities.cached = true;
    Record::ClusterConfig(config).encode()
}

/// The reason by which a dropped record is counted.
pub(super) fn reason(error: &InvalidRecord) -> &'static str {
    match error {
        InvalidRecord::ForeignIdentity { .. } => "foreign-identity",
        InvalidRecord::Json(_) => "no-json",
        InvalidRecord::Mismatch { .. } => "mismatch",
        InvalidRecord::NoClusterLabel => "no-cluster-label",
        InvalidRecord::NotANumber(_) => "no-number",
        InvalidRecord::NotText(_) => "no-text",
    }
}

/// How many records were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejections {
    pub counts: BTreeMap<&'static str, u64>,
    /// The last one's key and what was wrong with it; empty before the first.
    pub last: String,
}

impl Rejections {
    pub(super) fn count(&mut self, reason: &'static str, key: &str, error: &dyn fmt::Display) {
        *self.counts.entry(reason).or_default() += 1;
        self.last = format!("{key}: {error}");
    }
}

/// An error with its sources, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |it| it.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
