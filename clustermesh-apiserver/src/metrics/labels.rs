//! What the series of one metric are told apart by.

use prometheus_client::encoding::EncodeLabelSet;
use topology::id::ClusterName;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Peer {
    pub(super) source_cluster: String,
    pub(super) target_cluster: String,
}

/// As upstream names the records of one kind: by the part of their keys that says it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Scope {
    pub(super) scope: String,
    pub(super) source_cluster: String,
    pub(super) action: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Records {
    pub(super) target_cluster: String,
    pub(super) kind: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Dropped {
    pub(super) target_cluster: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct DroppedOfAgents {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Certificate {
    pub(super) file: String,
    /// `server` for the embedded etcd's own, `client` for those shown to peers.
    pub(super) usage: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Problems {
    pub(super) kind: &'static str,
}

pub(super) fn peer(own: &ClusterName, remote: &ClusterName) -> Peer {
    Peer {
        source_cluster: own.to_string(),
        target_cluster: remote.to_string(),
    }
}

pub(super) fn scope(cluster: &ClusterName, kind: &str, action: &'static str) -> Scope {
    Scope {
        scope: format!("{kind}/v1"),
        source_cluster: cluster.to_string(),
        action,
    }
}
