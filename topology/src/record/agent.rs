//! What the node agents of a cluster write into its store, for its API server and for each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::id::ClusterName;

/// `causeway/agents/reach/v1/<cluster>/<node>`: what probes through the tunnels of a node see of the
/// other clusters. On a lease of the agent, so that it ends with it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// The clusters that the node has tunnels to.
    pub clusters: BTreeMap<ClusterName, ClusterReach>,
}

/// One cluster, over all tunnels of a node that lead there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReach {
    /// The best of its tunnels': unhealthy when none of them answers any more.
    pub health: Health,
    /// When that began, in milliseconds since 1970.
    pub since_unix_milliseconds: u64,
    /// The median of the fastest tunnel, in microseconds; `None` before any answer.
    #[serde(default)]
    pub round_trip_microseconds: Option<u32>,
    /// Probes without an answer, of a thousand, in the tunnel that loses the fewest.
    #[serde(default)]
    pub loss_per_mille: u16,
    /// The largest packet that passes every tunnel, in bytes; `None` before that is known.
    #[serde(default)]
    pub path_mtu: Option<u16>,
}

/// `causeway/agents/tunnel/v1/<cluster>/<node>`: how other nodes' tunnels to a node end. Its cluster's
/// API server announces it with the Node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelEnd {
    /// Base64.
    pub public_key: String,
    /// The key that will take its place, which others should accept already. Base64.
    #[serde(default)]
    pub next_public_key: Option<String>,
    /// Where the node may be reached, the likeliest first.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
}
