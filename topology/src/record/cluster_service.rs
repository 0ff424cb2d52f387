//! A Service that a cluster shares with the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::go_json;
use crate::id::{ClusterId, ClusterName};
use crate::service::NamedPorts;

/// `cilium/state/services/v1/<cluster>/<namespace>/<name>`; fields in the order in which upstream
/// writes them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterService {
    pub cluster: ClusterName,
    pub namespace: String,
    pub name: String,
    /// ClusterIPs to ports; empty for a headless service.
    #[serde(default, with = "go_json::by_address")]
    pub frontends: BTreeMap<IpAddr, NamedPorts>,
    /// Endpoints that are ready or serving.
    #[serde(default, with = "go_json::by_address")]
    pub backends: BTreeMap<IpAddr, NamedPorts>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        with = "go_json::by_address"
    )]
    pub hostnames: BTreeMap<IpAddr, String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        with = "go_json::by_address"
    )]
    pub zones: BTreeMap<IpAddr, BackendZone>,
    #[serde(default, deserialize_with = "go_json::null_when_empty::deserialize")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "go_json::null_when_empty::deserialize")]
    pub selector: BTreeMap<String, String>,
    #[serde(default, rename = "includeExternal")]
    pub include_external: bool,
    #[serde(default)]
    pub shared: bool,
    #[serde(rename = "clusterID")]
    pub cluster_id: ClusterId,
}

/// `causeway/delta/services/v1/<cluster>/<namespace>/<name>/<address>`: what a [`ClusterService`]
/// says of one backend.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceBackend {
    pub ports: NamedPorts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<BackendZone>,
}

impl ClusterService {
    /// Takes the backends out, each to be published as a record of its own.
    pub fn take_backends(&mut self) -> BTreeMap<IpAddr, ServiceBackend> {
        let mut hostnames = std::mem::take(&mut self.hostnames);
        let mut zones = std::mem::take(&mut self.zones);
        let backends = std::mem::take(&mut self.backends).into_iter();
        let part = |(address, ports)| {
            let (hostname, zone) = (hostnames.remove(&address), zones.remove(&address));
            let backend = ServiceBackend {
                ports,
                hostname,
                zone,
            };
            (address, backend)
        };
        backends.map(part).collect()
    }

    /// Puts a backend in that [`take_backends`](Self::take_backends) took out.
    pub fn insert_backend(&mut self, address: IpAddr, backend: ServiceBackend) {
        self.backends.insert(address, backend.ports);
        if let Some(hostname) = backend.hostname {
            self.hostnames.insert(address, hostname);
        }
        if let Some(zone) = backend.zone {
            self.zones.insert(address, zone);
        }
    }
}

/// The zone in which a backend runs, and those whose clients should prefer it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendZone {
    pub zone: String,
    #[serde(deserialize_with = "go_json::null_when_empty::deserialize")]
    pub for_zones: Vec<ForZone>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ForZone {
    pub name: String,
}
