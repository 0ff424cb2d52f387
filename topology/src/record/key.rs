//! Decides what a key of the store means, and how each record's key is spelled.
//!
//! The spelling is Cilium's: `cilium/state/…` in the store of the cluster that publishes a record,
//! `cilium/cache/…` in the store of a cluster that mirrors it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{ClusterName, InvalidId, NodeName, NumericIdentity, ServiceName};

mod parse;

/// What one key stands for, whether it was published here or mirrored.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Key {
    ClusterConfig(ClusterName),
    /// The names of an EndpointSlice have the shape of a Service's: namespace and name.
    EndpointSlice(ClusterName, ServiceName),
    Identity(ClusterName, NumericIdentity),
    /// An address with its full length, or a shorter prefix.
    Ip(ClusterName, IpNet),
    Node(ClusterName, NodeName),
    Service(ClusterName, ServiceName),
    ServiceExport(ClusterName, ServiceName),
    /// The canary: every record of this kind has been written once.
    Synced(ClusterName, Kind),
    /// Ours: what the cluster speaks beyond Cilium's records.
    OwnCapabilities(ClusterName),
    /// Ours: one backend of a Service that is published in parts.
    DeltaBackend(ClusterName, ServiceName, IpAddr),
    /// Ours: a Service, whose backends may be records of their own.
    DeltaService(ClusterName, ServiceName),
    /// Ours: when the publisher last wrote.
    Pulse(ClusterName),
    /// Ours, never mirrored: a Service as the cluster's own agents need it.
    LocalService(ClusterName, ServiceName),
    /// Ours, never mirrored: the canary of `causeway/`.
    OwnSynced(ClusterName),
    /// Ours, never mirrored: what the own cluster knows of a remote one's liveness.
    Peer(ClusterName),
    /// Ours, never mirrored: what a node sees of other clusters through its tunnels.
    Reach(ClusterName, NodeName),
    /// Ours, never mirrored: how tunnels to a node end.
    TunnelEnd(ClusterName, NodeName),
}

/// The kinds of records that have a canary of their own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    EndpointSlices,
    Identities,
    Ip,
    Nodes,
    ServiceExports,
    Services,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::EndpointSlices,
        Self::Identities,
        Self::Ip,
        Self::Nodes,
        Self::ServiceExports,
        Self::Services,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndpointSlices => "endpointslices",
            Self::Identities => "identities",
            Self::Ip => "ip",
            Self::Nodes => "nodes",
            Self::ServiceExports => "serviceexports",
            Self::Services => "services",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// A key that looks like one of ours, but is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed key {key:?}")]
pub struct MalformedKey {
    pub key: String,
    #[source]
    pub source: Option<InvalidId>,
}

impl Key {
    /// Reads a key of the store of cluster `owner`.
    ///
    /// `Ok(None)` for keys that are no records: the heartbeat, locks, and kinds unknown here.
    /// In `cilium/state/`, addresses and identities carry no cluster name: they are `owner`'s.
    pub fn parse(text: &str, owner: &ClusterName) -> Result<Option<Self>, MalformedKey> {
        let malformed = |source| MalformedKey {
            key: text.to_owned(),
            source,
        };
        match parse::parse(text, owner) {
            Ok(key) => Ok(key),
            Err(source) => Err(malformed(source)),
        }
    }

    /// The cluster that the record is about.
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::ClusterConfig(cluster)
            | Self::EndpointSlice(cluster, _)
            | Self::Identity(cluster, _)
            | Self::Ip(cluster, _)
            | Self::Node(cluster, _)
            | Self::Service(cluster, _)
            | Self::ServiceExport(cluster, _)
            | Self::Synced(cluster, _)
            | Self::OwnCapabilities(cluster)
            | Self::DeltaBackend(cluster, ..)
            | Self::DeltaService(cluster, _)
            | Self::Pulse(cluster)
            | Self::LocalService(cluster, _)
            | Self::OwnSynced(cluster)
            | Self::Peer(cluster)
            | Self::Reach(cluster, _)
            | Self::TunnelEnd(cluster, _) => cluster,
        }
    }

    /// The kind whose canary vouches for this record; `None` for records that have none.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::EndpointSlice(..) => Some(Kind::EndpointSlices),
            Self::Identity(..) => Some(Kind::Identities),
            Self::Ip(..) => Some(Kind::Ip),
            Self::Node(..) => Some(Kind::Nodes),
            Self::Service(..) | Self::DeltaBackend(..) | Self::DeltaService(..) => {
                Some(Kind::Services)
            }
            Self::ServiceExport(..) => Some(Kind::ServiceExports),
            Self::ClusterConfig(_)
            | Self::Synced(..)
            | Self::OwnCapabilities(_)
            | Self::Pulse(_)
            | Self::LocalService(..)
            | Self::OwnSynced(_)
            | Self::Peer(_)
            | Self::Reach(..)
            | Self::TunnelEnd(..) => None,
        }
    }

    /// The key in the store of the cluster that publishes the record.
    pub fn published(&self) -> String {
        match self {
            Self::ClusterConfig(cluster) => format!("{CONFIG}{cluster}"),
            Self::EndpointSlice(cluster, it) => {
                format!("cilium/state/endpointslices/v1/{cluster}/{it}")
            }
            Self::Identity(_, id) => format!("cilium/state/identities/v1/id/{id}"),
            Self::Ip(_, prefix) => format!("cilium/state/ip/v1/default/{}", prefix_text(prefix)),
            Self::Node(cluster, node) => format!("cilium/state/nodes/v1/{cluster}/{node}"),
            Self::Service(cluster, it) => format!("cilium/state/services/v1/{cluster}/{it}"),
            Self::ServiceExport(cluster, it) => {
                format!("cilium/state/serviceexports/v1/{cluster}/{it}")
            }
            Self::Synced(cluster, kind) => {
                format!("{SYNCED}{cluster}/cilium/state/{}/v1", kind.as_str())
            }
            Self::OwnCapabilities(cluster) => format!("{OWN_CAPABILITIES}{cluster}"),
            Self::DeltaBackend(cluster, service, address) => {
                format!("{DELTA}services/v1/{cluster}/{service}/{address}")
            }
            Self::DeltaService(cluster, it) => format!("{DELTA}services/v1/{cluster}/{it}"),
            Self::Pulse(cluster) => format!("{PULSE}{cluster}"),
            Self::LocalService(cluster, it) => format!("{OWN_STATE}services/v1/{cluster}/{it}"),
            Self::OwnSynced(cluster) => format!("{OWN_SYNCED}{cluster}"),
            Self::Peer(cluster) => format!("{OWN_STATE}peers/v1/{cluster}"),
            Self::Reach(cluster, node) => format!("{AGENTS}reach/v1/{cluster}/{node}"),
            Self::TunnelEnd(cluster, node) => format!("{AGENTS}tunnel/v1/{cluster}/{node}"),
        }
    }

    /// The key in the store of a cluster that mirrors the record.
    ///
    /// Our own kinds are never mirrored; their key is the published one.
    pub fn mirrored(&self) -> String {
        match self {
            Self::EndpointSlice(cluster, it) => {
                format!("cilium/cache/endpointslices/v1/{cluster}/{it}")
            }
            Self::Identity(cluster, id) => format!("cilium/cache/identities/v1/{cluster}/id/{id}"),
            Self::Ip(cluster, prefix) => {
                format!("cilium/cache/ip/v1/{cluster}/{}", prefix_text(prefix))
            }
            Self::Node(cluster, node) => format!("cilium/cache/nodes/v1/{cluster}/{node}"),
            Self::Service(cluster, it) => format!("cilium/cache/services/v1/{cluster}/{it}"),
            Self::ServiceExport(cluster, it) => {
                format!("cilium/cache/serviceexports/v1/{cluster}/{it}")
            }
            Self::Synced(cluster, kind) => {
                format!("{SYNCED}{cluster}/cilium/cache/{}/v1", kind.as_str())
            }
            Self::ClusterConfig(_)
            | Self::OwnCapabilities(_)
            | Self::DeltaBackend(..)
            | Self::DeltaService(..)
            | Self::Pulse(_)
            | Self::LocalService(..)
            | Self::OwnSynced(_)
            | Self::Peer(_)
            | Self::Reach(..)
            | Self::TunnelEnd(..) => self.published(),
        }
    }

    /// The key of the record in the part of its publisher's store that only `peer` may read.
    pub fn exported_to(&self, peer: &ClusterName) -> String {
        format!("{}{}", exports_to(peer), self.published())
    }
}

/// The part of a store that only `peer` may read, with records under their published keys.
pub fn exports_to(peer: &ClusterName) -> String {
    format!("causeway/export/{peer}/")
}

/// The key that shows a writer is alive; its value is a time that nobody reads.
pub const HEARTBEAT: &str = "cilium/.heartbeat";

/// Ours, never mirrored: what DNS authorities tell each other.
pub const AUTHORITIES: &str = "causeway/dns/";

/// Where a cluster's node agents write, and nowhere else.
pub const AGENTS: &str = "causeway/agents/";

const CONFIG: &str = "cilium/cluster-config/";
const SYNCED: &str = "cilium/synced/";
const DELTA: &str = "causeway/delta/";
const OWN_CAPABILITIES: &str = "causeway/capabilities/";
const OWN_STATE: &str = "causeway/state/";
const PULSE: &str = "causeway/pulse/";
const OWN_SYNCED: &str = "causeway/synced/";

/// An address of full length is spelled without its length.
fn prefix_text(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

#[cfg(test)]
mod tests;
