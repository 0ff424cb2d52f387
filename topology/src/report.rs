//! What daemons say of themselves: the values behind `/v1/status` and `/v1/explain`, which
//! `meshctl` shows and scripts read.
//!
//! Times are milliseconds since 1970 unless the name says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::geo::{Kilometers, Location};
use crate::health::Health;
use crate::id::{ClusterId, ClusterName, NodeName};
use crate::mesh::Mesh;

mod dns;
mod peer;
mod service;
mod signing;

pub use signing::{DelegationReport, KeyReport, KeysReport, ParentReport};

pub use dns::{DnsHealth, DrainReport, TargetHealth};
pub use service::{PortExplanation, ServiceExplanation};

pub use peer::{
    CertificateReport, DiffReport, Failure, Keys, KindReport, LinkReport, LivenessReport, Outcome,
    PULSE_STALE_MILLISECONDS, PeerReport, PostQuantum, PulseReport, Step, ThrottleReport,
    Troubleshooting, ViolationReport, Witness,
};

/// Something an operator should know, with what to do about it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Problem {
    pub what: String,
    pub remedy: String,
}

/// One cluster, as the daemon that is asked sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    pub name: ClusterName,
    /// `None` until its cluster-config was read.
    pub id: Option<ClusterId>,
    pub state: ClusterState,
    /// When the state began; `None` for the own cluster.
    pub since: Option<u64>,
    /// Why it is not connected, or why it is although its API server does not answer; else empty.
    pub reason: String,
    /// Whether nodes, services, identities and endpoints have been read whole.
    pub synced: bool,
    pub nodes: usize,
    /// Services that the cluster shares.
    pub services: usize,
    pub identities: usize,
    pub endpoints: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    Connected,
    Lost,
    Own,
    /// Not reached yet, and not given up either: what has not begun cannot be lost.
    Undecided,
}

/// The connection to the own cluster's etcd.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreReport {
    pub connected: bool,
    pub since: u64,
    /// Why it is not connected; empty while it is.
    pub reason: String,
}

/// `/v1/status` of `clustermesh-apiserver`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiserverStatus {
    pub cluster: ClusterName,
    pub id: ClusterId,
    pub version: String,
    pub ready: bool,
    /// Objects read from Kubernetes or from the manifests.
    pub objects: usize,
    /// Records that this server keeps in the store, own and mirrored.
    pub records: usize,
    pub clusters: Vec<ClusterReport>,
    /// The remote clusters of `clusters`, in full.
    #[serde(default)]
    pub peers: Vec<PeerReport>,
    /// The certificate of the embedded etcd; `None` where it has none.
    #[serde(default)]
    pub certificate: Option<CertificateReport>,
    pub problems: Vec<Problem>,
}

/// `/v1/status` of `node-agent`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    pub node: NodeName,
    pub cluster: ClusterName,
    pub version: String,
    pub ready: bool,
    pub store: StoreReport,
    pub clusters: Vec<ClusterReport>,
    pub tunnels: Vec<TunnelReport>,
    /// `None` from agents of a version that does not tell.
    #[serde(default)]
    pub encryption: Option<EncryptionReport>,
    /// Services programmed into the datapath.
    pub services: usize,
    /// Backends programmed into the datapath.
    pub backends: usize,
    pub problems: Vec<Problem>,
}

/// One WireGuard peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelReport {
    pub cluster: ClusterName,
    pub node: NodeName,
    /// Base64.
    pub public_key: String,
    pub endpoint: Option<SocketAddr>,
    pub allowed_ips: BTreeSet<IpNet>,
    /// `None` before the first handshake.
    pub last_handshake_unix_seconds: Option<u64>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// What the device dropped on its way from or to the other end, by cause; nothing where nothing
    /// was, or where the device does not tell.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_packets: BTreeMap<String, u64>,
    /// Whether the last handshake is young enough to carry traffic.
    pub up: bool,
    /// Whether the other end speaks from an address that it does not announce.
    #[serde(default)]
    pub behind_nat: bool,
    /// The relay, as `CLUSTER/NODE`, that is sent what is for this node, which is out of direct reach.
    #[serde(default)]
    pub relayed_by: Option<String>,
    /// `None` where the tunnel is not probed.
    #[serde(default)]
    pub probes: Option<ProbeReport>,
    /// `None` from agents of a version that does not tell.
    #[serde(default)]
    pub post_quantum: Option<PostQuantum>,
}

/// What probes through one tunnel see, of the last hundred or so.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// Unknown as well where the other end carries traffic but has never answered a probe: not
    /// everybody answers them.
    pub health: Health,
    /// When the health last changed.
    pub since: u64,
    /// The median; `None` before any answer.
    pub round_trip_microseconds: Option<u32>,
    /// The 99th percentile.
    pub round_trip_p99_microseconds: Option<u32>,
    /// Probes without an answer, of a thousand.
    pub loss_per_mille: u16,
    /// The largest packet that comes through and back, in bytes; `None` before that is known.
    pub path_mtu: Option<u16>,
}

/// The device at this end of all tunnels.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionReport {
    pub interface: String,
    /// Base64; `None` while the device has no key, or does not answer.
    pub public_key: Option<String>,
    pub listen_port: Option<u16>,
    /// Whether what nodes send to nodes goes through tunnels as well.
    pub node_encryption: NodeEncryption,
}

/// Whether a node encrypts what nodes send each other themselves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeEncryption {
    #[default]
    Disabled,
    Enabled,
    /// A label of the node keeps it out.
    OptedOut,
}

/// `/v1/status` of `dns-authority`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsStatus {
    pub version: String,
    pub ready: bool,
    pub listen: Vec<SocketAddr>,
    pub zones: Vec<ZoneReport>,
    pub checks: Vec<CheckReport>,
    /// `None` without a mesh.
    pub store: Option<StoreReport>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneReport {
    pub origin: String,
    /// Where its records come from: a file's path, or `mesh`.
    pub source: String,
    pub names: usize,
}

/// One health check, shared by all records that use it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// What is probed, such as `tcp 192.0.2.11:80` or `http://shop.example/ at 192.0.2.11`.
    pub target: String,
    pub health: Health,
    /// When the health last changed.
    pub since: u64,
    /// The last failure; empty if the last probe succeeded.
    pub last_error: String,
}

/// `/v1/explain/dns?name=…&type=…&from=…` of `dns-authority`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsExplanation {
    pub name: String,
    #[serde(rename = "type")]
    pub record_type: String,
    /// `NOERROR`, `NXDOMAIN`, …
    pub response_code: String,
    pub client: IpAddr,
    pub client_location: Option<Location>,
    /// How the location was found, such as `override 10.1.0.0/16 (Frankfurt)`.
    pub client_found_by: String,
    /// The records' data as text.
    pub answers: Vec<String>,
    /// Why these, in a sentence.
    pub reason: String,
    pub candidates: Vec<DnsCandidate>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsCandidate {
    pub value: String,
    /// `None` where nothing checks it.
    pub health: Option<Health>,
    pub distance: Option<Kilometers>,
    pub chosen: bool,
    /// Why it won or lost.
    pub because: String,
}

/// `/v1/explain/peer/CLUSTER/NODE` of `node-agent`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerExplanation {
    pub cluster: ClusterReport,
    pub node: NodeName,
    /// `None` where the node has no tunnel.
    pub tunnel: Option<TunnelReport>,
    /// Why there is a tunnel or none, in a sentence.
    pub reason: String,
    /// The prefixes that are never sent to the node in the clear.
    pub protected: BTreeSet<IpNet>,
}

/// Every cluster that the mesh knows, own first.
pub fn clusters(mesh: &Mesh) -> Vec<ClusterReport> {
    let mut reports: Vec<ClusterReport> = mesh
        .clusters()
        .into_iter()
        .map(|it| cluster(mesh, it))
        .collect();
    reports.sort_by_key(|it| it.state != ClusterState::Own);
    reports
}

fn cluster(mesh: &Mesh, name: &ClusterName) -> ClusterReport {
    let peer = mesh.peers().get(name);
    let is_own = name == mesh.own();
    let state = match peer {
        _ if is_own => ClusterState::Own,
        Some(peer) if !peer.connected => ClusterState::Lost,
        _ => ClusterState::Connected,
    };
    ClusterReport {
        name: name.clone(),
        id: mesh.cluster_id(name),
        state,
        since: peer.map(|it| it.since_unix_milliseconds),
        reason: peer.map(|it| it.reason.clone()).unwrap_or_default(),
        synced: mesh.is_synced(name) && (!is_own || mesh.is_own_synced()),
        nodes: mesh.nodes().keys().filter(|(it, _)| it == name).count(),
        services: mesh
            .shared_services()
            .keys()
            .filter(|(_, it)| it == name)
            .count(),
        identities: mesh
            .identities()
            .keys()
            .filter(|(it, _)| it == name)
            .count(),
        endpoints: mesh.ips().keys().filter(|(it, _)| it == name).count(),
    }
}
