//! What the node agents of a cluster write into its store, for its API server and for each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::id::ClusterName;

/// Nodes whose records a reader keeps: as many as a Kubernetes cluster may have.
pub const AGENT_NODES_MAX: usize = 5_000;

/// The largest record that is read: a node with tunnels to all of the largest mesh, and room to spare.
pub const AGENT_RECORD_BYTES_MAX: usize = 256 << 10;

/// A Node's annotation: the key that will take its key's place, which others should accept already.
pub const NEXT_PUBLIC_KEY_ANNOTATION: &str = "causeway.io/wg-next-pub-key";

/// A Node's annotation: where it may be reached, the likeliest first, as socket addresses with commas
/// between them.
pub const ENDPOINTS_ANNOTATION: &str = "causeway.io/wg-endpoints";

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

/// More addresses than a node has ways to be reached.
const ENDPOINTS_MAX: usize = 16;

impl TunnelEnd {
    /// Why nobody should be told of it, if so.
    pub fn problem(&self) -> Option<String> {
        let is_key = |text: &str| {
            let bytes = BASE64.decode(text);
            bytes.is_ok_and(|it| it.len() == 32)
        };
        let keys = [Some(&self.public_key), self.next_public_key.as_ref()];
        if !keys.into_iter().flatten().all(|it| is_key(it)) {
            return Some("a public key must be 32 bytes in base64".to_owned());
        }
        let endpoints = self.endpoints.len();
        (ENDPOINTS_MAX < endpoints)
            .then(|| format!("{endpoints} endpoints are more than {ENDPOINTS_MAX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_keys_when_it_sees_them() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let end = |public_key: &str, next: Option<&str>, endpoints| TunnelEnd {
            public_key: public_key.to_owned(),
            next_public_key: next.map(str::to_owned),
            endpoints: vec!["192.0.2.1:51871".parse().unwrap(); endpoints],
        };

        assert_eq!(end(key, None, 0).problem(), None);
        assert_eq!(end(key, Some(key), ENDPOINTS_MAX).problem(), None);
        for bad in [
            "",
            "key",
            &key[4..],
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        ] {
            assert!(end(bad, None, 0).problem().is_some(), "{bad}");
            assert!(end(key, Some(bad), 0).problem().is_some(), "{bad}");
        }
        assert!(end(key, None, ENDPOINTS_MAX + 1).problem().is_some());
    }
}
