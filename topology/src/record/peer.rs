//! What the own cluster knows of a remote cluster's liveness.

use serde::{Deserialize, Serialize};

/// `causeway/state/peers/v1/<cluster>`: ours, written by the cluster that mirrors the peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerState {
    pub connected: bool,
    /// When it became so, in milliseconds since 1970.
    pub since_unix_milliseconds: u64,
    /// For people: why it is not connected, or why it is although its API server does not answer.
    /// Else empty.
    #[serde(default)]
    pub reason: String,
}
