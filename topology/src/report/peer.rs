//! What an API server says of one remote cluster: how it is, what is wrong on the way to it, and
//! how its records differ from those held of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ClusterReport;
use crate::id::ClusterName;
use crate::record::ClusterConfig;

/// `/v1/peers/CLUSTER` of `clustermesh-apiserver`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    pub cluster: ClusterReport,
    #[serde(default)]
    pub liveness: LivenessReport,
    /// The URLs that its configuration file names.
    pub endpoints: Vec<String>,
    pub link: LinkReport,
    /// By the name that the kind has in the store's keys, such as `services`.
    pub kinds: BTreeMap<String, KindReport>,
    /// The last cluster-config that was acceptable; `None` before the first.
    pub config: Option<ClusterConfig>,
    /// Why nothing of the cluster is believed now; empty while it is.
    pub refusal: String,
    pub violations: ViolationReport,
    /// How we prove who we are; `None` without TLS.
    pub certificate: Option<CertificateReport>,
    /// `None` for a cluster that sends no pulse, as Cilium does not.
    pub pulse: Option<PulseReport>,
    /// `None` while it changes no faster than its contract permits.
    #[serde(default)]
    pub throttle: Option<ThrottleReport>,
}

/// What decides whether the remote cluster counts as connected, and what the own cluster's nodes see
/// of it through their tunnels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LivenessReport {
    pub decided_by: Witness,
    /// Nodes that have tunnels there, and say so.
    pub nodes_reporting: usize,
    pub nodes_reaching: usize,
    /// The others have yet to find out.
    pub nodes_not_reaching: usize,
}

/// Who knows whether a remote cluster is alive.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Witness {
    /// The probes through the tunnels of the own cluster's nodes.
    #[serde(rename = "data plane")]
    DataPlane,
    /// The remote cluster's etcd, which answers or does not.
    #[default]
    #[serde(rename = "etcd")]
    Etcd,
}

/// The connection to the remote cluster's etcd.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkReport {
    pub connected: bool,
    /// The etcd cluster behind it, in hexadecimal; empty before the first connection.
    pub etcd_cluster_id: String,
    /// Losses since the start of the process.
    pub failures: u64,
    pub last_failure: Option<Failure>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub at: u64,
    pub reason: String,
}

/// The records of one kind.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindReport {
    pub records: usize,
    /// Whether all of them have been read at least once.
    pub synced: bool,
}

/// What the remote cluster published against the contract, since the start of the process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViolationReport {
    pub by_reason: BTreeMap<String, u64>,
    /// The last record and what was wrong with it; empty before the first.
    pub last: String,
}

impl ViolationReport {
    pub fn total(&self) -> u64 {
        self.by_reason.values().sum()
    }
}

/// Changes of the remote cluster are held back: they came faster than its contract permits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleReport {
    /// When the first of them had to wait, without a pause since.
    pub since: u64,
    /// Those that have arrived and wait. What waits behind them is still in the remote cluster's store.
    pub changes_waiting: usize,
    /// What the contract permits.
    pub changes_per_second: u32,
}

/// A certificate in a file, as it is now.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    pub file: String,
    /// The common name, which is the user in an etcd.
    pub common_name: String,
    /// When it becomes and when it ceases to be valid; 0 where it cannot be read.
    pub not_before: u64,
    pub not_after: u64,
    /// Why it cannot be read; empty where it can.
    pub problem: String,
}

/// The last timestamp of the remote cluster that arrived.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PulseReport {
    /// When it was in our store; `None` before the first.
    pub at: Option<u64>,
    /// How long it took from the remote cluster's clock to our store.
    pub latency_microseconds: u64,
}

/// A pulse is written every 5 s; one that is older than three of them is stale.
pub const PULSE_STALE_MILLISECONDS: u64 = 15_000;

impl PulseReport {
    /// Whether the last pulse is young enough to show that changes arrive. `now` in milliseconds
    /// since 1970.
    pub fn is_fresh(&self, now: u64) -> bool {
        self.at
            .is_some_and(|at| now.saturating_sub(at) <= PULSE_STALE_MILLISECONDS)
    }
}

/// `/v1/peers/CLUSTER/troubleshoot` of `clustermesh-apiserver`: the way to a remote cluster, step by
/// step, as it is from there.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Troubleshooting {
    /// The cluster that looks.
    pub cluster: ClusterName,
    pub peer: ClusterName,
    pub steps: Vec<Step>,
}

impl Troubleshooting {
    /// Whether no step failed.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|it| it.outcome != Outcome::Failed)
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What was looked at, such as `dns` or `canaries`.
    pub step: String,
    /// The endpoint it is about; empty where it is about the cluster.
    pub endpoint: String,
    pub outcome: Outcome,
    /// What was found, or why the step failed or was skipped.
    pub found: String,
    /// What to do about it; empty unless the step failed or is worth a warning.
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Failed,
    Passed,
    /// A step before it failed.
    Skipped,
    /// It works, but not for long, or not for everyone.
    Warned,
}

/// `/v1/peers/CLUSTER/diff` of `clustermesh-apiserver`: what the remote cluster publishes now,
/// against what our store shows of it. Both are compared in the form in which it is mirrored.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// Records that it publishes and that its contract allows.
    pub published: usize,
    /// Records that our store shows of it.
    pub held: usize,
    /// Published, but not held.
    pub missing: Keys,
    /// Held, but not published any more.
    pub stale: Keys,
    /// Held with another value.
    pub different: Keys,
    /// What it publishes against its contract, which is why that is not held.
    pub refused: ViolationReport,
}

impl DiffReport {
    /// Whether what is held is what is published.
    pub fn is_equal(&self) -> bool {
        [&self.missing, &self.stale, &self.different]
            .iter()
            .all(|it| it.count == 0)
    }
}

/// Some keys: how many, and the first of them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    pub count: usize,
    pub first: Vec<String>,
}

/// Whether a tunnel's handshakes have a secret that later computers cannot work out of what was said.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PostQuantum {
    Established,
    /// Nobody asked for it.
    Off,
    Pending,
    /// The other end does not speak of it, or a device of either takes no alternate secret.
    Unsupported,
}

impl PostQuantum {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Off => "off",
            Self::Pending => "pending",
            Self::Unsupported => "unsupported",
        }
    }
}
