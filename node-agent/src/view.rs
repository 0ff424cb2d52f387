//! Decides what the agent says of itself: the values behind `/v1/status` and `/v1/explain`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use datapath_abi::{Backend, BackendId, ServiceKey};
use ipnet::IpNet;
use topology::id::{ClusterName, NodeName, ServiceName};
use topology::mesh::Mesh;
use topology::report::{self, PeerExplanation, Problem, ServiceExplanation, TunnelReport};
use wireguard::PublicKey;
use wireguard::uapi::{DeviceState, PeerState};

use crate::desired::{self, Desired, Identity, Peer};

/// WireGuard drops a session 180 s after its handshake (Reject-After-Time).
const HANDSHAKE_AGE_SECONDS_MAX: u64 = 180;

/// Every wanted tunnel, in order of cluster and node, as the device sees it.
pub fn tunnels(
    desired: &Desired,
    device: Option<&DeviceState>,
    now_unix_seconds: u64,
) -> Vec<TunnelReport> {
    let mut reports: Vec<TunnelReport> = desired
        .peers
        .iter()
        .map(|(key, peer)| tunnel(*key, peer, device, now_unix_seconds))
        .collect();
    reports.sort_by(|a, b| (&a.cluster, &a.node).cmp(&(&b.cluster, &b.node)));
    reports
}

fn tunnel(
    key: PublicKey,
    peer: &Peer,
    device: Option<&DeviceState>,
    now_unix_seconds: u64,
) -> TunnelReport {
    let absent = PeerState::default();
    let state = device.and_then(|it| it.peers.get(&key)).unwrap_or(&absent);
    let handshake = state.last_handshake.map(|it| it.seconds);
    let age_seconds = handshake.map(|it| now_unix_seconds.saturating_sub(it));
    TunnelReport {
        cluster: peer.cluster.clone(),
        node: peer.node.clone(),
        public_key: key.to_base64(),
        endpoint: state.endpoint.or(Some(peer.endpoint)),
        allowed_ips: state.allowed_ips.clone(),
        last_handshake_unix_seconds: handshake,
        received_bytes: state.received_bytes,
        sent_bytes: state.sent_bytes,
        up: age_seconds.is_some_and(|it| it < HANDSHAKE_AGE_SECONDS_MAX),
    }
}

/// What is wrong with the device, if anything.
pub fn device_problem(
    interface: &str,
    desired: &Desired,
    device: Result<&DeviceState, &str>,
) -> Option<Problem> {
    let device = match device {
        Ok(device) => device,
        Err(reason) => {
            return Some(Problem {
                what: format!("no tunnels: {reason}"),
                remedy: format!("start it: wireguard-device {interface}"),
            });
        }
    };
    let announced = desired.own.as_ref()?.public_key?;
    match device.public_key() {
        Some(key) if key == announced && device.listen_port != desired::WIREGUARD_PORT => {
            Some(Problem {
                what: format!(
                    "the device {interface} listens on UDP port {}, but other nodes send to {}, so no tunnel comes up from their side",
                    device.listen_port,
                    desired::WIREGUARD_PORT
                ),
                remedy: format!("wg set {interface} listen-port {}", desired::WIREGUARD_PORT),
            })
        }
        Some(key) if key == announced => None,
        Some(key) => Some(Problem {
            what: format!(
                "the device {interface} has the key {key}, but the mesh announces {announced} for this node, so no tunnel can come up"
            ),
            remedy: "put the device's public key into the Node's annotation network.cilium.io/wg-pub-key, or give the device the key that belongs to it (wg set … private-key)".to_owned(),
        }),
        None => Some(Problem {
            what: format!("the device {interface} has no private key, as after a restart of its own, so no tunnel can come up"),
            remedy: format!(
                "whoever starts the device must give it the node's key, which the agent never has: wg set {interface} private-key FILE listen-port {}",
                desired::WIREGUARD_PORT
            ),
        }),
    }
}

/// Why each port of a service is served by what serves it, or `None` for an unknown service.
///
/// `programmed` looks a service up in the kernel's tables.
pub fn explain_service(
    mesh: &Mesh,
    identity: &Identity,
    name: &ServiceName,
    programmed: impl Fn(ServiceKey) -> BTreeSet<SocketAddr>,
) -> Option<ServiceExplanation> {
    let node = Some(identity.node.clone());
    ServiceExplanation::new(mesh, name, node, |service, port| {
        let frontends = desired::frontends(&service.frontends, port);
        Some(frontends.flat_map(&programmed).collect())
    })
}

/// The addresses behind a table's slots.
pub fn addresses(
    slots: &[BackendId],
    backends: &BTreeMap<BackendId, Backend>,
) -> BTreeSet<SocketAddr> {
    let ids: BTreeSet<BackendId> = slots.iter().copied().collect();
    ids.iter()
        .filter_map(|id| Some(backends.get(id)?.address().into()))
        .collect()
}

/// Why there is a tunnel to a node or none, or `None` for a cluster that nobody has heard of.
pub fn explain_peer(
    mesh: &Mesh,
    identity: &Identity,
    desired: &Desired,
    tunnels: &[TunnelReport],
    cluster: &ClusterName,
    node: &NodeName,
) -> Option<PeerExplanation> {
    let report = report::clusters(mesh)
        .into_iter()
        .find(|it| it.name == *cluster)?;
    let tunnel = tunnels
        .iter()
        .find(|it| it.cluster == *cluster && it.node == *node)
        .cloned();
    let known = mesh.nodes().get(&(cluster.clone(), node.clone()));
    let protected: BTreeSet<IpNet> = known
        .into_iter()
        .flat_map(|it| it.pod_prefixes())
        .filter(|it| matches!(it, IpNet::V4(it) if desired.prefixes.contains_key(it)))
        .collect();
    let reason = match (&tunnel, known) {
        _ if *cluster == identity.cluster => {
            "a node of the own cluster is reached over the underlay, without a tunnel"
        }
        (_, None) => "the cluster announces no such node",
        (None, Some(_)) => {
            "there is no tunnel: the node announces no valid WireGuard key or no InternalIP, or another node has its key"
        }
        (Some(it), Some(_)) if it.up => "the tunnel is up",
        (Some(it), Some(_)) if it.last_handshake_unix_seconds.is_none() => {
            "the tunnel was never up: check that UDP 51871 reaches the other node, and both keys"
        }
        (Some(_), Some(_)) => "the tunnel is down: its last handshake is more than 180 s old",
    };
    Some(PeerExplanation {
        cluster: report,
        node: node.clone(),
        tunnel,
        reason: reason.to_owned(),
        protected,
    })
}

#[cfg(test)]
mod tests;
