//! Shows the remote clusters in the shape of Cilium's `RemoteCluster`, for tools that read the
//! status of its mesh cache. As there, a field that is zero, false or empty is left out.

use serde_json::{Map, Value, json};
use topology::record::Kind;
use topology::report::{ClusterState, PeerReport};

use crate::timestamp::rfc3339;

/// The objects of `GET /v1/cluster`.
pub fn clusters(peers: &[PeerReport]) -> Vec<Value> {
    peers.iter().map(cluster).collect()
}

fn cluster(peer: &PeerReport) -> Value {
    let connected = peer.cluster.state == ClusterState::Connected;
    let number = |kind: Kind| {
        let kind = peer.kinds.get(kind.as_str());
        json!(kind.map_or(0, |it| it.records))
    };
    let last_failure = match &peer.link.last_failure {
        Some(failure) => rfc3339(failure.at).replace('Z', ".000Z"),
        None => NEVER.to_owned(),
    };
    object([
        ("config", config(peer)),
        ("connected", json!(connected)),
        ("last-failure", json!(last_failure)),
        ("name", json!(peer.cluster.name)),
        ("num-endpoint-slices", number(Kind::EndpointSlices)),
        ("num-endpoints", number(Kind::Ip)),
        ("num-failures", json!(peer.link.failures)),
        ("num-identities", number(Kind::Identities)),
        ("num-nodes", number(Kind::Nodes)),
        ("num-service-exports", number(Kind::ServiceExports)),
        ("num-shared-services", number(Kind::Services)),
        ("ready", json!(connected && peer.cluster.synced)),
        ("status", json!(status(peer))),
        ("synced", synced(peer)),
    ])
}

/// Go's zero time.
const NEVER: &str = "0001-01-01T00:00:00.000Z";

fn config(peer: &PeerReport) -> Value {
    let Some(config) = &peer.config else {
        return object([("required", json!(true))]);
    };
    let capabilities = &config.capabilities;
    object([
        ("cluster-id", json!(config.id)),
        (
            "endpoint-slices-export-mode",
            json!(capabilities.endpoint_slices_export_mode),
        ),
        ("kvstoremesh", json!(capabilities.cached)),
        ("required", json!(true)),
        ("retrieved", json!(true)),
        (
            "service-exports-enabled",
            json!(capabilities.service_exports_enabled),
        ),
        ("sync-canaries", json!(capabilities.synced_canaries)),
    ])
}

fn synced(peer: &PeerReport) -> Value {
    let is_synced = |kind: Kind| {
        let kind = peer.kinds.get(kind.as_str());
        json!(kind.is_some_and(|it| it.synced))
    };
    object([
        ("endpoint-slices", is_synced(Kind::EndpointSlices)),
        ("endpoints", is_synced(Kind::Ip)),
        ("identities", is_synced(Kind::Identities)),
        ("nodes", is_synced(Kind::Nodes)),
        ("service-exports", is_synced(Kind::ServiceExports)),
        ("services", is_synced(Kind::Services)),
    ])
}

fn status(peer: &PeerReport) -> String {
    if !peer.link.connected {
        return format!("etcd: 0/1 connected: {}", peer.cluster.reason);
    }
    // Leases and quorum are as upstream's readers say, which have neither.
    format!(
        "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: \
         endpoint status checks are disabled, ID: {}",
        peer.link.etcd_cluster_id
    )
}

/// Without what Go's `omitempty` leaves out. An explicit `null` is absent; the `false` of a field
/// that may be absent stays.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_shown = |(name, value): &(&str, Value)| match value {
        Value::Bool(false) => OPTIONAL.contains(name),
        Value::Null => false,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Bool(true) | Value::Object(_) => true,
    };
    let fields = fields.into_iter().filter(is_shown);
    let fields: Map<String, Value> = fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    fields.into()
}

/// Pointers in Go: absent and false are two things.
const OPTIONAL: [&str; 3] = [
    "endpoint-slices",
    "service-exports",
    "service-exports-enabled",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use topology::record::{Capabilities, ClusterConfig};
    use topology::report::{
        ClusterReport, Failure, KindReport, LinkReport, LivenessReport, ViolationReport,
    };

    use super::*;

    /// What Cilium's own library said of the same cluster; it counts no slices and no exports
    /// where its reader takes none.
    #[test]
    fn has_the_shape_of_cilium() {
        let recorded = r#"{"config":{"cluster-id":1,"endpoint-slices-export-mode":"services-and-endpointslices","required":true,"retrieved":true,"service-exports-enabled":true,"sync-canaries":true},"connected":true,"last-failure":"0001-01-01T00:00:00.000Z","name":"alpha","num-endpoints":4,"num-identities":2,"num-nodes":2,"num-shared-services":1,"ready":true,"status":"etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled, ID: 8cc9da78b36d1115","synced":{"endpoints":true,"identities":true,"nodes":true,"services":true}}"#;
        let mut recorded: Value = serde_json::from_str(recorded).unwrap();
        recorded["synced"]["endpoint-slices"] = json!(true);
        recorded["synced"]["service-exports"] = json!(true);

        assert_eq!(clusters(&[alpha()]), [recorded]);
    }

    #[test]
    fn leaves_out_what_is_not_so() {
        let mut peer = alpha();
        peer.cluster.state = ClusterState::Undecided;
        peer.cluster.reason = "not connected yet".to_owned();
        peer.config = None;
        peer.kinds.clear();
        peer.link = LinkReport {
            failures: 2,
            last_failure: Some(Failure {
                at: 1_795_192_726_999,
                reason: "no answer".to_owned(),
            }),
            ..LinkReport::default()
        };

        let expected = json!({
            "config": {"required": true},
            "last-failure": "2026-11-20T16:38:46.000Z",
            "name": "alpha",
            "num-failures": 2,
            "status": "etcd: 0/1 connected: not connected yet",
            "synced": {"endpoint-slices": false, "service-exports": false},
        });
        assert_eq!(clusters(&[peer]), [expected]);
    }

    fn alpha() -> PeerReport {
        let kind = |(kind, records): (Kind, usize)| {
            let synced = true;
            (kind.as_str().to_owned(), KindReport { records, synced })
        };
        let kinds = [
            (Kind::EndpointSlices, 0),
            (Kind::Identities, 2),
            (Kind::Ip, 4),
            (Kind::Nodes, 2),
            (Kind::ServiceExports, 0),
            (Kind::Services, 1),
        ];
        PeerReport {
            cluster: ClusterReport {
                name: "alpha".parse().unwrap(),
                id: Some(1.try_into().unwrap()),
                state: ClusterState::Connected,
                since: Some(1_000),
                reason: String::new(),
                synced: true,
                nodes: 2,
                services: 1,
                identities: 2,
                endpoints: 4,
            },
            liveness: LivenessReport::default(),
            endpoints: vec!["https://alpha.mesh.cilium.io:2379".to_owned()],
            link: LinkReport {
                connected: true,
                etcd_cluster_id: "8cc9da78b36d1115".to_owned(),
                failures: 0,
                last_failure: None,
            },
            kinds: BTreeMap::from_iter(kinds.map(kind)),
            config: Some(ClusterConfig {
                id: 1.try_into().unwrap(),
                capabilities: Capabilities {
                    synced_canaries: true,
                    max_connected_clusters: 255,
                    service_exports_enabled: Some(true),
                    endpoint_slices_export_mode: "services-and-endpointslices".to_owned(),
                    ..Capabilities::default()
                },
            }),
            refusal: String::new(),
            violations: ViolationReport::default(),
            certificate: None,
            pulse: None,
            throttle: None,
        }
    }
}
