//! Decides what a key of the store means, and how each record's key is spelled.
//!
//! The spelling is Cilium's: `cilium/state/…` in the store of the cluster that publishes a record,
//! `cilium/cache/…` in the store of a cluster that mirrors it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{ClusterName, InvalidId, NodeName, NumericIdentity, ServiceName};

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
        match parse(text, owner) {
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

/// Where a cluster's node agents write, and nowhere else.
pub const AGENTS: &str = "causeway/agents/";

const CONFIG: &str = "cilium/cluster-config/";
const SYNCED: &str = "cilium/synced/";
const DELTA: &str = "causeway/delta/";
const OWN_CAPABILITIES: &str = "causeway/capabilities/";
const OWN_STATE: &str = "causeway/state/";
const PULSE: &str = "causeway/pulse/";
const OWN_SYNCED: &str = "causeway/synced/";

/// `Err(None)` where no [`InvalidId`] says what is wrong.
fn parse(text: &str, owner: &ClusterName) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(cluster) = text.strip_prefix(CONFIG) {
        return Ok(Some(Key::ClusterConfig(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(SYNCED) {
        return parse_canary(rest);
    }
    if let Some(cluster) = text.strip_prefix(OWN_SYNCED) {
        return Ok(Some(Key::OwnSynced(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(OWN_STATE) {
        return parse_own(rest);
    }
    if let Some(rest) = text.strip_prefix(AGENTS) {
        return parse_agents(rest);
    }
    if let Some(cluster) = text.strip_prefix(OWN_CAPABILITIES) {
        return Ok(Some(Key::OwnCapabilities(cluster.parse()?)));
    }
    if let Some(cluster) = text.strip_prefix(PULSE) {
        return Ok(Some(Key::Pulse(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(DELTA) {
        return parse_delta(rest);
    }
    if let Some(rest) = text.strip_prefix("cilium/state/") {
        return parse_published(rest, owner);
    }
    if let Some(rest) = text.strip_prefix("cilium/cache/") {
        return parse_mirrored(rest);
    }
    Ok(None)
}

fn parse_canary(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let (cluster, prefix) = split(rest)?;
    let kind = prefix
        .strip_prefix("cilium/state/")
        .or_else(|| prefix.strip_prefix("cilium/cache/"))
        .and_then(|it| it.strip_suffix("/v1"))
        .and_then(Kind::parse);
    match kind {
        Some(kind) => Ok(Some(Key::Synced(cluster.parse()?, kind))),
        None => Ok(None),
    }
}

fn parse_own(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(cluster) = rest.strip_prefix("peers/v1/") {
        return Ok(Some(Key::Peer(cluster.parse()?)));
    }
    if let Some(rest) = rest.strip_prefix("services/v1/") {
        let (cluster, service) = split(rest)?;
        return Ok(Some(Key::LocalService(cluster.parse()?, service.parse()?)));
    }
    Ok(None)
}

fn parse_agents(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(rest) = rest.strip_prefix("reach/v1/") {
        let (cluster, node) = split(rest)?;
        return Ok(Some(Key::Reach(cluster.parse()?, node.parse()?)));
    }
    if let Some(rest) = rest.strip_prefix("tunnel/v1/") {
        let (cluster, node) = split(rest)?;
        return Ok(Some(Key::TunnelEnd(cluster.parse()?, node.parse()?)));
    }
    Ok(None)
}

fn parse_delta(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let Some(rest) = rest.strip_prefix("services/v1/") else {
        return Ok(None);
    };
    let (cluster, rest) = split(rest)?;
    let cluster = cluster.parse()?;
    let (namespace, rest) = split(rest)?;
    let Some((name, address)) = rest.split_once('/') else {
        let service = ServiceName::new(namespace, rest)?;
        return Ok(Some(Key::DeltaService(cluster, service)));
    };
    let service = ServiceName::new(namespace, name)?;
    let address = address.parse().map_err(|_| None)?;
    Ok(Some(Key::DeltaBackend(cluster, service, address)))
}

fn parse_published(rest: &str, owner: &ClusterName) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(number) = rest.strip_prefix("identities/v1/id/") {
        return Ok(Some(Key::Identity(owner.clone(), identity(number)?)));
    }
    if let Some(prefix) = rest.strip_prefix("ip/v1/default/") {
        return Ok(Some(Key::Ip(owner.clone(), parse_prefix(prefix)?)));
    }
    if rest.starts_with("identities/") || rest.starts_with("ip/") {
        return Ok(None); // What writers of the kvstore mode keep beside the records.
    }
    parse_named(rest)
}

fn parse_mirrored(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(rest) = rest.strip_prefix("identities/v1/") {
        let (cluster, id) = split(rest)?;
        let Some(number) = id.strip_prefix("id/") else {
            return Ok(None);
        };
        return Ok(Some(Key::Identity(cluster.parse()?, identity(number)?)));
    }
    if let Some(rest) = rest.strip_prefix("ip/v1/") {
        let (cluster, prefix) = split(rest)?;
        return Ok(Some(Key::Ip(cluster.parse()?, parse_prefix(prefix)?)));
    }
    parse_named(rest)
}

/// The kinds whose keys name their cluster in either tree.
fn parse_named(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let (kind, rest) = split(rest)?;
    let (Some(kind), Some(rest)) = (Kind::parse(kind), rest.strip_prefix("v1/")) else {
        return Ok(None);
    };
    let (cluster, name) = split(rest)?;
    let cluster = cluster.parse()?;
    Ok(Some(match kind {
        Kind::EndpointSlices => Key::EndpointSlice(cluster, name.parse()?),
        Kind::Nodes => Key::Node(cluster, name.parse()?),
        Kind::ServiceExports => Key::ServiceExport(cluster, name.parse()?),
        Kind::Services => Key::Service(cluster, name.parse()?),
        Kind::Identities | Kind::Ip => return Ok(None),
    }))
}

fn split(text: &str) -> Result<(&str, &str), Option<InvalidId>> {
    text.split_once('/').ok_or(None)
}

fn identity(text: &str) -> Result<NumericIdentity, Option<InvalidId>> {
    text.parse()
        .map(NumericIdentity)
        .map_err(|it| Some(InvalidId::NotANumber(it)))
}

fn parse_prefix(text: &str) -> Result<IpNet, Option<InvalidId>> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| None)
}

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
