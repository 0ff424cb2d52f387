//! Decides what the agent says of itself: the values behind `/v1/status` and `/v1/explain`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use datapath_abi::{Backend, BackendId, ServiceKey};
use ipnet::IpNet;
use topology::health::Health;
use topology::id::{ClusterName, NodeName, ServiceName};
use topology::mesh::Mesh;
use topology::report::{
    self, EncryptionReport, NodeEncryption, PeerExplanation, ProbeReport, Problem,
    ServiceExplanation, TunnelReport,
};
use wireguard::PublicKey;
use wireguard::uapi::{DeviceState, PeerState};

use crate::desired::{self, Desired, Identity, Peer};
use crate::probe::Reports;

/// WireGuard drops a session 180 s after its handshake (Reject-After-Time).
const HANDSHAKE_AGE_SECONDS_MAX: u64 = 180;

/// Every wanted tunnel, in order of cluster and node, as the device sees it.
pub fn tunnels(
    desired: &Desired,
    device: Option<&DeviceState>,
    reports: &Reports,
    now_unix_seconds: u64,
) -> Vec<TunnelReport> {
    let mut reports: Vec<TunnelReport> = desired
        .peers
        .iter()
        .filter(|(_, peer)| peer.successor_of.is_none())
        .map(|(key, peer)| {
            let node = (peer.cluster.clone(), peer.node.clone());
            let probes = reports.get(&node).copied();
            let relay = desired.detours.get(&node).and_then(Option::as_ref);
            TunnelReport {
                relayed_by: relay.map(|(cluster, node)| format!("{cluster}/{node}")),
                ..tunnel(*key, peer, device, probes, now_unix_seconds)
            }
        })
        .collect();
    reports.sort_by(|a, b| (&a.cluster, &a.node).cmp(&(&b.cluster, &b.node)));
    reports
}

fn tunnel(
    key: PublicKey,
    peer: &Peer,
    device: Option<&DeviceState>,
    probes: Option<ProbeReport>,
    now_unix_seconds: u64,
) -> TunnelReport {
    let absent = PeerState::default();
    let state = device.and_then(|it| it.peers.get(&key)).unwrap_or(&absent);
    let dropped = state.dropped.iter();
    let dropped = dropped.map(|(cause, packets)| (cause.name().to_owned(), *packets));
    TunnelReport {
        cluster: peer.cluster.clone(),
        node: peer.node.clone(),
        public_key: key.to_base64(),
        endpoint: state.endpoint.or(Some(peer.endpoint)),
        allowed_ips: state.allowed_ips.clone(),
        last_handshake_unix_seconds: state.last_handshake.map(|it| it.seconds),
        received_bytes: state.received_bytes,
        sent_bytes: state.sent_bytes,
        dropped_packets: dropped.collect(),
        up: has_session(state, now_unix_seconds),
        behind_nat: is_behind_nat(peer, state),
        relayed_by: None,
        probes,
        post_quantum: None,
    }
}

/// Whether the peer's last handshake is young enough to carry traffic.
pub fn has_session(peer: &PeerState, now_unix_seconds: u64) -> bool {
    let age_seconds = peer
        .last_handshake
        .map(|it| now_unix_seconds.saturating_sub(it.seconds));
    age_seconds.is_some_and(|it| it < HANDSHAKE_AGE_SECONDS_MAX)
}

/// A packet that was let in came from another address than the node announces.
fn is_behind_nat(peer: &Peer, state: &PeerState) -> bool {
    state.last_handshake.is_some() && state.endpoint.is_some_and(|it| it != peer.endpoint)
}

/// The device at this end.
pub fn encryption(
    interface: &str,
    device: Option<&DeviceState>,
    node_encryption: NodeEncryption,
) -> EncryptionReport {
    EncryptionReport {
        interface: interface.to_owned(),
        public_key: device
            .and_then(DeviceState::public_key)
            .map(|it| it.to_base64()),
        listen_port: device.map(|it| it.listen_port).filter(|it| *it != 0),
        node_encryption,
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
    let own = desired.own.as_ref()?;
    let announced = own.public_key?;
    // The mesh may hear of a change of keys later than the device.
    let is_announced = |it| it == announced || own.next_public_key == Some(it);
    match device.public_key() {
        Some(key) if is_announced(key) && device.listen_port != desired::WIREGUARD_PORT => {
            Some(Problem {
                what: format!(
                    "the device {interface} listens on UDP port {}, but other nodes send to {}, so no tunnel comes up from their side",
                    device.listen_port,
                    desired::WIREGUARD_PORT
                ),
                remedy: format!("wg set {interface} listen-port {}", desired::WIREGUARD_PORT),
            })
        }
        Some(key) if is_announced(key) => None,
        Some(key) => Some(Problem {
            what: format!(
                "the device {interface} has the key {key}, but the mesh announces {announced} for this node, so no tunnel can come up"
            ),
            remedy: "take the annotation network.cilium.io/wg-pub-key from the Node, so that the key which the agent announces is published; with a release of the API server that does not publish it, put the device's public key there".to_owned(),
        }),
        None => Some(Problem {
            what: format!("the device {interface} has no private key, as after a restart of its own, so no tunnel can come up"),
            remedy: format!(
                "the agent gives the device the key in --wireguard-key, or makes one; to have it take one that the Node announces already: wg set {interface} private-key FILE listen-port {}",
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
        .filter(|it| desired.prefixes.contains_key(it))
        .collect();
    let places = desired.peers.values();
    let places = places.filter(|it| it.cluster == *cluster && it.node == *node);
    let places = places.map(|it| it.endpoints.len()).max().unwrap_or(0);
    let detour = tunnel.as_ref().and_then(|it| detour_reason(it, places));
    let reason = match (&tunnel, known) {
        (None, _) if *cluster == identity.cluster => {
            "a node of the own cluster is reached over the underlay, without a tunnel"
        }
        (_, None) => "the cluster announces no such node",
        (None, Some(_)) => {
            "there is no tunnel: the node announces no valid WireGuard key or no InternalIP, or another node has its key"
        }
        (Some(it), Some(_)) if it.up => up_reason(it.probes.as_ref()),
        (Some(it), Some(_)) if it.last_handshake_unix_seconds.is_none() => {
            "the tunnel was never up: check that UDP 51871 reaches the other node, and both keys"
        }
        (Some(_), Some(_)) => "the tunnel is down: its last handshake is more than 180 s old",
    };
    Some(PeerExplanation {
        cluster: report,
        node: node.clone(),
        tunnel,
        reason: detour.unwrap_or_else(|| reason.to_owned()),
        protected,
    })
}

/// Why a relay is sent what is for a node, which is looked for at so many places.
fn detour_reason(tunnel: &TunnelReport, places: usize) -> Option<String> {
    let relay = tunnel.relayed_by.as_ref()?;
    let health = tunnel.probes.map(|it| it.health);
    let places = match places {
        1 => "the only place of the node".to_owned(),
        count => format!("any of {count} places"),
    };
    let because = match (tunnel.last_handshake_unix_seconds, health) {
        (_, Some(Health::Healthy)) => {
            "probes come back through the direct tunnel again, and it is taken once they have for a while"
                .to_owned()
        }
        (None, _) => format!("no handshake at {places}"),
        (Some(_), _) if tunnel.up => "no probe comes back through the direct tunnel".to_owned(),
        (Some(_), _) => format!("no handshake any more at {places}"),
    };
    Some(format!("relayed by {relay}: {because}"))
}

/// What probes add to a handshake that is young enough.
fn up_reason(probes: Option<&ProbeReport>) -> &'static str {
    match probes.map(|it| it.health) {
        Some(Health::Healthy) => "the tunnel is up, and probes come back through it",
        Some(Health::Unhealthy) => {
            "the tunnel has a session, but no probe comes back through it: the way there swallows everything, or the node is down"
        }
        Some(Health::Unknown) => {
            "the tunnel is up; no probe has come back yet, as from a node whose agent answers none"
        }
        None => "the tunnel is up",
    }
}

#[cfg(test)]
mod tests;
