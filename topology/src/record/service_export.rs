//! A Service that a cluster offers to the whole set of clusters by its name (the MCS API).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::go_json;
use crate::id::ClusterName;
use crate::service::Protocol;

/// `cilium/state/serviceexports/v1/<cluster>/<namespace>/<name>`; fields in the order in which
/// upstream writes them. Labels and annotations stand there twice, for readers of older releases.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExport {
    pub cluster: ClusterName,
    pub name: String,
    pub namespace: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, rename = "Labels", skip_serializing_if = "BTreeMap::is_empty")]
    pub legacy_labels: BTreeMap<String, String>,
    #[serde(
        default,
        rename = "Annotations",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub legacy_annotations: BTreeMap<String, String>,
    /// RFC 3339; the oldest of all clusters' exports wins where they contradict each other.
    pub export_creation_timestamp: String,
    #[serde(default, deserialize_with = "go_json::null_when_empty::deserialize")]
    pub ports: Vec<ExportedPort>,
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `None` or `ClientIP`.
    pub session_affinity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_families: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
}

impl ServiceExport {
    /// The bytes that upstream's writer would write.
    pub fn encode(&self) -> Vec<u8> {
        go_json::encode(self)
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedPort {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub protocol: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: ClientIpAffinity,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpAffinity {
    pub timeout_seconds: i32,
}
