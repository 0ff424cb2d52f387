//! How a remote cluster is shown to operators.

use std::collections::BTreeMap;

use topology::record::{ClusterConfig, Kind};
use topology::report::{
    ClusterReport, ClusterState, KindReport, LivenessReport, Problem, ViolationReport,
};

use super::{Rejections, Remote};

impl Rejections {
    pub fn report(&self) -> ViolationReport {
        let counts = self.counts.iter();
        ViolationReport {
            by_reason: counts
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            last: self.last.clone(),
        }
    }
}

impl Remote {
    pub fn report(&self) -> ClusterReport {
        let count = |kind| self.records.get(kind).map_or(0, |it| it.len());
        let state = self.state();
        ClusterReport {
            name: self.name.clone(),
            id: self.id(),
            state: match state {
                None => ClusterState::Undecided,
                Some(state) if state.connected => ClusterState::Connected,
                Some(_) => ClusterState::Lost,
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

    /// Who decides whether it is connected, and what our nodes see of it.
    pub fn liveness(&self) -> LivenessReport {
        let tally = self.liveness.tally();
        LivenessReport {
            decided_by: self.liveness.decided_by(),
            nodes_reporting: tally.nodes(),
            nodes_reaching: tally.reaching,
            nodes_not_reaching: tally.not_reaching,
        }
    }

    /// The records of each kind, by the kind's name in keys.
    pub fn kinds(&self) -> BTreeMap<String, KindReport> {
        let report = |kind: Kind| KindReport {
            records: self.records.get(kind).map_or(0, |it| it.len()),
            synced: self.announced.contains_key(&*self.canary_key(kind)),
        };
        let kinds = Kind::ALL.into_iter();
        kinds
            .map(|it| (it.as_str().to_owned(), report(it)))
            .collect()
    }

    /// The last cluster-config that was acceptable.
    pub fn config(&self) -> Option<&ClusterConfig> {
        self.config.as_ref()
    }

    /// Why the present cluster-config, or its absence, keeps us from believing the records.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Whether the remote says that it sends pulses.
    pub fn has_pulse(&self) -> bool {
        self.capabilities.is_some_and(|it| it.pulse)
    }

    /// The kinds whose canary the remote has written, as far as was read.
    pub fn canaries(&self) -> impl Iterator<Item = Kind> {
        self.canaries.iter().copied()
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
        self.records.len() + self.announced.len()
    }
}
