//! The records of the store: what each key and value means, byte for byte as Cilium writes them.
//!
//! A value is checked against its key and its cluster when it is read, as upstream's readers do, so
//! that nothing behind this module meets a record that contradicts itself.

mod agent;
mod cluster_config;
mod cluster_service;
mod go_json;
mod ip;
mod key;
mod labels;
mod node;
mod own_capabilities;
mod peer;
mod service_export;

use std::num::ParseIntError;

use crate::id::{ClusterId, ClusterName, NumericIdentity};
use crate::service::LocalService;

pub use agent::{
    AGENT_NODES_MAX, AGENT_RECORD_BYTES_MAX, ClusterReach, ENDPOINTS_ANNOTATION,
    NEXT_PUBLIC_KEY_ANNOTATION, Reach, TunnelEnd,
};
pub use cluster_config::{Capabilities, ClusterConfig};
pub use cluster_service::{BackendZone, ClusterService, ForZone, ServiceBackend};
pub use ip::{IpIdentity, NamedPort};
pub use key::{AGENTS, AUTHORITIES, HEARTBEAT, Key, Kind, MalformedKey, exports_to};
pub use labels::{CLUSTER_LABEL, Labels};
pub use node::{AddressKind, Node, NodeAddress};
pub use own_capabilities::OwnCapabilities;
pub use peer::PeerState;
pub use service_export::{ClientIpAffinity, ExportedPort, ServiceExport, SessionAffinityConfig};

/// A value that fits its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    Backend(ServiceBackend),
    ClusterConfig(ClusterConfig),
    Identity(Labels),
    Ip(IpIdentity),
    LocalService(LocalService),
    Node(Box<Node>),
    /// A kind that is carried, but not read: endpoint slices and service exports.
    Opaque(Vec<u8>),
    OwnCapabilities(OwnCapabilities),
    Peer(PeerState),
    /// Microseconds since 1970.
    Pulse(u64),
    Reach(Reach),
    Service(Box<ClusterService>),
    /// A canary, whose time of writing nobody reads.
    Synced(String),
    TunnelEnd(TunnelEnd),
}

/// Why a value does not fit its key; upstream's readers drop the same.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRecord {
    #[error("no valid value")]
    Json(#[from] serde_json::Error),
    #[error("not text")]
    NotText(#[from] std::str::Utf8Error),
    #[error("{field} does not match the key: got {got:?}, expected {expected:?}")]
    Mismatch {
        field: &'static str,
        got: String,
        expected: String,
    },
    #[error("{identity} does not belong to the identities of cluster {cluster}")]
    ForeignIdentity { identity: u32, cluster: ClusterId },
    #[error("the label {CLUSTER_LABEL} is missing")]
    NoClusterLabel,
    #[error("not a number")]
    NotANumber(#[from] ParseIntError),
}

impl Record {
    /// Reads the value of `key`.
    ///
    /// `config` is what the record's cluster said of itself; without it, ids are not checked.
    pub fn decode(
        key: &Key,
        value: &[u8],
        config: Option<&ClusterConfig>,
    ) -> Result<Self, InvalidRecord> {
        let cluster = config.map(|it| it.id);
        Ok(match key {
            Key::ClusterConfig(_) => Self::ClusterConfig(go_json::decode(value)?),
            Key::EndpointSlice(..) | Key::ServiceExport(..) => Self::Opaque(value.to_owned()),
            Key::Identity(name, identity) => {
                let labels = Labels::parse(std::str::from_utf8(value)?);
                check_identity(identity.0, config)?;
                let label = labels.cluster().ok_or(InvalidRecord::NoClusterLabel)?;
                expect("cluster label", label, name.as_str())?;
                Self::Identity(labels)
            }
            Key::Ip(_, prefix) => {
                let ip: IpIdentity = go_json::decode(value)?;
                let got = ip.prefix().map(|it| it.to_string()).unwrap_or_default();
                expect("address", &got, &prefix.to_string())?;
                if !ip.identity.is_reserved() {
                    check_identity(ip.identity.0, config)?;
                }
                Self::Ip(ip)
            }
            Key::LocalService(..) => Self::LocalService(go_json::decode(value)?),
            Key::Node(name, node_name) => {
                let node: Node = go_json::decode(value)?;
                expect("name", node.name.as_str(), node_name.as_str())?;
                check_cluster(&node.cluster, node.cluster_id, name, cluster)?;
                Self::Node(Box::new(node))
            }
            Key::OwnCapabilities(_) => Self::OwnCapabilities(go_json::decode(value)?),
            Key::DeltaBackend(..) => Self::Backend(go_json::decode(value)?),
            Key::Peer(_) => Self::Peer(go_json::decode(value)?),
            Key::Pulse(_) => Self::Pulse(std::str::from_utf8(value)?.parse()?),
            Key::Reach(..) => Self::Reach(go_json::decode(value)?),
            Key::TunnelEnd(..) => Self::TunnelEnd(go_json::decode(value)?),
            Key::Service(name, service_name) | Key::DeltaService(name, service_name) => {
                let service: ClusterService = go_json::decode(value)?;
                expect("namespace", &service.namespace, service_name.namespace())?;
                expect("name", &service.name, service_name.name())?;
                check_cluster(&service.cluster, service.cluster_id, name, cluster)?;
                Self::Service(Box::new(service))
            }
            Key::Synced(..) | Key::OwnSynced(_) => {
                Self::Synced(std::str::from_utf8(value)?.to_owned())
            }
        })
    }

    /// The bytes that upstream's writer would write.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Backend(backend) => go_json::encode(backend),
            Self::ClusterConfig(config) => go_json::encode(config),
            Self::Identity(labels) => labels.to_string().into_bytes(),
            Self::Ip(ip) => go_json::encode(ip),
            Self::LocalService(service) => go_json::encode(service),
            Self::Node(node) => go_json::encode(node),
            Self::Opaque(bytes) => bytes.clone(),
            Self::OwnCapabilities(capabilities) => go_json::encode(capabilities),
            Self::Peer(state) => go_json::encode(state),
            Self::Pulse(microseconds) => microseconds.to_string().into_bytes(),
            Self::Reach(reach) => go_json::encode(reach),
            Self::Service(service) => go_json::encode(service),
            Self::Synced(time) => time.clone().into_bytes(),
            Self::TunnelEnd(end) => go_json::encode(end),
        }
    }
}

fn check_cluster(
    name: &ClusterName,
    id: ClusterId,
    expected_name: &ClusterName,
    expected_id: Option<ClusterId>,
) -> Result<(), InvalidRecord> {
    expect("cluster name", name.as_str(), expected_name.as_str())?;
    match expected_id {
        Some(expected) if expected != id => {
            expect("cluster id", &id.to_string(), &expected.to_string())
        }
        _ => Ok(()),
    }
}

fn check_identity(identity: u32, config: Option<&ClusterConfig>) -> Result<(), InvalidRecord> {
    let Some(config) = config else {
        return Ok(());
    };
    let (cluster, size) = (config.id, config.mesh_size());
    if NumericIdentity(identity).belongs_to(cluster, size) {
        Ok(())
    } else {
        Err(InvalidRecord::ForeignIdentity { identity, cluster })
    }
}

fn expect(field: &'static str, got: &str, expected: &str) -> Result<(), InvalidRecord> {
    if got == expected {
        return Ok(());
    }
    Err(InvalidRecord::Mismatch {
        field,
        got: got.to_owned(),
        expected: expected.to_owned(),
    })
}
