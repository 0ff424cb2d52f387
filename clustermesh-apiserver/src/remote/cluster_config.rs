//! Decides whether what a remote cluster says of itself is acceptable.

use topology::id::{ClusterName, MeshSize};
use topology::record::{ClusterConfig, Key, Record};

use super::{Contract, TakenIds};

/// Reads a cluster-config, or says why nothing of the cluster can be believed with it.
pub(super) fn check_config(
    name: &ClusterName,
    value: &[u8],
    taken: &TakenIds,
    mesh: MeshSize,
    contract: &Contract,
) -> Result<ClusterConfig, String> {
    let key = Key::ClusterConfig(name.clone());
    let config = match Record::decode(&key, value, None) {
        Ok(Record::ClusterConfig(config)) => config,
        Ok(_) => return Err("its cluster-config is none".to_owned()),
        Err(error) => return Err(format!("its cluster-config is invalid: {}", chain(&error))),
    };
    if let Some(pinned) = contract.cluster.id.filter(|it| *it != config.id) {
        return Err(format!(
            "its id is {}, and its contract says {pinned}",
            config.id
        ));
    }
    if let Some(owner) = taken.get(&config.id).filter(|it| *it != name) {
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

/// An error with its sources, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |it| it.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
