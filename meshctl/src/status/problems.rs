//! Decides what is not well, and what to do about it.
//!
//! A daemon tells itself what is wrong with it and with what it checks; added here is what only shows
//! in the reports side by side, and so every problem is told once.

use std::collections::{BTreeMap, BTreeSet};

use topology::health::Health;
use topology::id::ClusterName;
use topology::report::{
    AgentStatus, ApiserverStatus, ClusterReport, ClusterState, DnsStatus, Problem, TunnelReport,
};

use crate::client::Endpoint;
use crate::status::{Answers, Asked, Outcome, SeenProblem};

/// Every problem once, with everyone who sees it.
pub(super) fn list(answers: &Answers) -> Vec<SeenProblem> {
    let mut found = Found::default();
    for asked in &answers.apiservers {
        found.ask(asked, "apiserver", apiserver);
    }
    for asked in &answers.agents {
        found.ask(asked, "agent", agent);
    }
    for asked in &answers.dns {
        found.ask(asked, "dns", dns);
    }
    for (who, unknown) in unknown_clusters(answers) {
        found.add(
            who,
            Problem {
                what: format!("does not know cluster {unknown}, which others know"),
                remedy: "wait a moment; if it stays, read its log".to_owned(),
            },
        );
    }
    found.problems
}

/// Sorts the reports of one cluster, the worst first; the own view comes last, because it cannot
/// say whether others reach the cluster.
pub(super) fn rank(cluster: &ClusterReport) -> (u8, bool) {
    let state = match cluster.state {
        ClusterState::Lost => 0,
        ClusterState::Undecided => 1,
        ClusterState::Connected => 2,
        ClusterState::Own => 3,
    };
    (state, cluster.synced)
}

/// Problems in the order in which they were first seen.
#[derive(Default)]
struct Found {
    problems: Vec<SeenProblem>,
    /// Where a problem stands in the list.
    index: BTreeMap<Problem, usize>,
}

impl Found {
    /// Adds what `examine` finds in the answer, or that there is none. `role` names a daemon that
    /// has not said who it is.
    fn ask<T>(&mut self, asked: &Asked<T>, role: &str, examine: fn(&T, &Endpoint) -> Findings) {
        match &asked.outcome {
            Outcome::Answer(answer) => {
                let findings = examine(answer, &asked.endpoint);
                for problem in findings.problems {
                    self.add(findings.who.clone(), problem);
                }
            }
            // Never joined with another's: each silent daemon is a problem of its own.
            Outcome::Error(error) => self.problems.push(SeenProblem {
                seen_by: vec![format!("{role} {}", asked.endpoint)],
                what: error.clone(),
                remedy: "start it, or correct its address in the context file".to_owned(),
            }),
        }
    }

    fn add(&mut self, who: String, problem: Problem) {
        let next = self.problems.len();
        let index = *self.index.entry(problem.clone()).or_insert(next);
        if index == next {
            self.problems.push(SeenProblem {
                seen_by: Vec::new(),
                what: problem.what,
                remedy: problem.remedy,
            });
        }
        self.problems[index].seen_by.push(who);
    }
}

/// What one daemon sees.
struct Findings {
    who: String,
    problems: Vec<Problem>,
}

fn apiserver(status: &ApiserverStatus, endpoint: &Endpoint) -> Findings {
    let mut problems = status.problems.clone();
    problems.extend(status.clusters.iter().filter_map(cluster));
    problems.extend(unready(status.ready, endpoint));
    Findings {
        who: apiserver_name(status),
        problems,
    }
}

fn agent(status: &AgentStatus, endpoint: &Endpoint) -> Findings {
    let mut problems = status.problems.clone();
    problems.extend(status.clusters.iter().filter_map(cluster));
    let down = status.tunnels.iter().filter(|it| !it.up);
    problems.extend(down.map(|it| Problem {
        what: format!("the tunnel to {}/{} is down", it.cluster, it.node),
        remedy: format!(
            "ask `meshctl explain peer {}/{}`; check that UDP 51871 passes between the nodes",
            it.cluster, it.node
        ),
    }));
    let is_silent = |it: &&TunnelReport| {
        let health = it.probes.map(|it| it.health);
        it.up && health == Some(Health::Unhealthy)
    };
    let silent = status.tunnels.iter().filter(is_silent);
    problems.extend(silent.map(|it| Problem {
        what: format!("nothing comes back through the tunnel to {}/{}", it.cluster, it.node),
        remedy: format!(
            "check that the node is up and that the way to it still passes UDP 51871; `meshctl explain peer {}/{}` says since when",
            it.cluster, it.node
        ),
    }));
    problems.extend(unready(status.ready, endpoint));
    Findings {
        who: status.node.to_string(),
        problems,
    }
}

fn dns(status: &DnsStatus, endpoint: &Endpoint) -> Findings {
    let mut problems = status.problems.clone();
    problems.extend(unready(status.ready, endpoint));
    Findings {
        who: format!("dns {endpoint}"),
        problems,
    }
}

pub(crate) fn cluster(report: &ClusterReport) -> Option<Problem> {
    let name = &report.name;
    if report.state == ClusterState::Undecided {
        return Some(Problem {
            what: format!("cluster {name} is not connected yet"),
            remedy: format!(
                "wait a moment; if it stays, check the way to {name} and that its clustermesh-apiserver runs"
            ),
        });
    }
    if report.state == ClusterState::Lost {
        let reason = match report.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        return Some(Problem {
            what: format!("cluster {name} is lost{reason}"),
            remedy: format!("check the way to {name} and that its clustermesh-apiserver runs"),
        });
    }
    (!report.synced).then(|| Problem {
        what: format!("cluster {name} is not synced"),
        remedy: format!(
            "wait a moment; if it stays, read the log of {name}'s clustermesh-apiserver"
        ),
    })
}

fn unready(ready: bool, endpoint: &Endpoint) -> Option<Problem> {
    (!ready).then(|| Problem {
        what: "not ready".to_owned(),
        remedy: format!("see what it waits for: curl {endpoint}/ready"),
    })
}

/// Who does not know a cluster that another daemon of the same cluster knows.
///
/// Without this a daemon that has heard of nothing would count as well.
fn unknown_clusters(answers: &Answers) -> Vec<(String, ClusterName)> {
    let mut views: Vec<(String, &ClusterName, BTreeSet<&ClusterName>)> = Vec::new();
    for status in answers.apiservers.iter().filter_map(Asked::answer) {
        let known = status.clusters.iter().map(|it| &it.name).collect();
        views.push((apiserver_name(status), &status.cluster, known));
    }
    for status in answers.agents.iter().filter_map(Asked::answer) {
        let known = status.clusters.iter().map(|it| &it.name).collect();
        views.push((status.node.to_string(), &status.cluster, known));
    }

    let mut known: BTreeMap<&ClusterName, BTreeSet<&ClusterName>> = BTreeMap::new();
    for (_, own, view) in &views {
        known.entry(own).or_default().extend(view);
    }
    let missing = |(who, own, view): &(String, &ClusterName, BTreeSet<&ClusterName>)| {
        let unknown: Vec<_> = known[own].difference(view).copied().cloned().collect();
        let who = who.clone();
        unknown.into_iter().map(move |it| (who.clone(), it))
    };
    views.iter().flat_map(missing).collect()
}

fn apiserver_name(status: &ApiserverStatus) -> String {
    format!("apiserver of {}", status.cluster)
}
