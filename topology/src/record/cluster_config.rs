//! What a cluster says of itself before anything else of it is read.

use serde::{Deserialize, Serialize};

use super::go_json;
use crate::id::{ClusterId, MeshSize};

/// `cilium/cluster-config/<name>`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterConfig {
    pub id: ClusterId,
    #[serde(default)]
    pub capabilities: Capabilities,
}

impl ClusterConfig {
    /// How the cluster numbers its identities; a peer that says nothing has upstream's default.
    pub fn mesh_size(&self) -> MeshSize {
        let clusters = self.capabilities.max_connected_clusters;
        MeshSize::try_from(clusters).unwrap_or_default()
    }
}

/// Absent fields are what a peer of an older release means by not knowing them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    /// Canaries tell when a kind's first list is complete.
    #[serde(skip_serializing_if = "go_json::is_false")]
    pub synced_canaries: bool,
    /// The records are a mirror's, under `cilium/cache/`.
    #[serde(skip_serializing_if = "go_json::is_false")]
    pub cached: bool,
    /// 255 or 511; decides how identities are numbered.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_connected_clusters: u32,
    /// Absent: the kind is unknown to the peer. False: known, but off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_exports_enabled: Option<bool>,
    /// Empty: only `services` are written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_slices_export_mode: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
