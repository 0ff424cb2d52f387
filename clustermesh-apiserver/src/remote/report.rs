//! How a remote cluster is shown to operators.

use topology::record::Kind;
use topology::report::{ClusterReport, ClusterState, Problem};

use super::Remote;

impl Remote {
    pub fn report(&self) -> ClusterReport {
        let count = |kind| self.records.get(&kind).map_or(0, |it| it.len());
        let state = self.state();
        ClusterReport {
            name: self.name.clone(),
            id: self.id(),
            state: match self.is_connected() {
                true => ClusterState::Connected,
                false => ClusterState::Lost,
            },
            since: state.map(|it| it.since_unix_milliseconds),
            reason: state.map_or_else(|| "not connected yet".to_owned(), |it| it.reason.clone()),
            synced: self.is_complete(),
            nodes: count(Kind::Nodes),
            services: count(Kind::Services),
            identities: count(Kind::Identities),
            endpoints: count(Kind::Ip),
        }
    }

    /// What an operator should know of this cluster beside its [`report`](Self::report).
    pub fn problems(&self) -> Vec<Problem> {
        let name = &self.name;
        let mut problems = Vec::new();
        if let Some(refusal) = &self.refusal {
            problems.push(Problem {
                what: format!("nothing of cluster {name} is believed: {refusal}"),
                remedy: format!(
                    "give every cluster its own --cluster-name and --cluster-id, and check that \
                     the configuration file of {name} names the API server of {name}"
                ),
            });
        }
        let dropped: u64 = self.rejections.counts.values().sum();
        if dropped > 0 {
            problems.push(Problem {
                what: format!(
                    "{dropped} records of cluster {name} were dropped, at last {}",
                    self.rejections.last
                ),
                remedy: format!("correct what cluster {name} publishes"),
            });
        }
        problems
    }

    /// Records shown in our store, canaries and cluster-config included.
    pub fn record_count(&self) -> usize {
        self.records.values().map(|it| it.len()).sum::<usize>() + self.announced.len()
    }
}
