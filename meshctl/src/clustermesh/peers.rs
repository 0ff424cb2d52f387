//! Decides which remote clusters are well: for the API server that mirrors them, and for every agent
//! whose traffic goes to them.

use serde::Serialize;
use topology::id::ClusterName;
use topology::report::{
    AgentStatus, ApiserverStatus, CertificateReport, ClusterState, PeerReport, Problem, Witness,
};

use crate::client::Endpoint;
use crate::status::{Asked, Outcome, SeenProblem, problems};
use crate::wait::Awaited;

mod text;

/// What all API servers of the context say of the clusters that they mirror.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MeshPeers {
    pub(crate) well: bool,
    pub(crate) clusters: Vec<OwnCluster>,
    /// What is not well, and what to do about it.
    pub(crate) problems: Vec<SeenProblem>,
    /// What is worth knowing, and does not keep a cluster from being well.
    pub(crate) warnings: Vec<SeenProblem>,
}

/// One API server and its view.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OwnCluster {
    pub(crate) name: ClusterName,
    pub(crate) apiserver: Endpoint,
    pub(crate) peers: Vec<SeenPeer>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeenPeer {
    pub(crate) well: bool,
    #[serde(flatten)]
    pub(crate) report: PeerReport,
    /// What the agents of the same cluster say.
    pub(crate) agents: AgentsView,
}

/// How the agents of a cluster see a remote one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentsView {
    pub(crate) agents: usize,
    /// Agents to which it is connected and synced.
    pub(crate) agents_well: usize,
    pub(crate) tunnels: usize,
    pub(crate) tunnels_up: usize,
}

impl MeshPeers {
    /// Judges the answers at `now`, in milliseconds since 1970.
    pub(crate) fn new(
        apiservers: Vec<Asked<ApiserverStatus>>,
        agents: Vec<Asked<AgentStatus>>,
        now: u64,
    ) -> Self {
        let mut found = Self {
            well: false,
            clusters: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        if apiservers.is_empty() {
            found.problems.push(silent(
                "meshctl".to_owned(),
                "the context file lists no apiservers".to_owned(),
            ));
        }
        for asked in &apiservers {
            match &asked.outcome {
                Outcome::Answer(status) => found.add(status, &asked.endpoint, &agents, now),
                Outcome::Error(error) => {
                    let who = format!("apiserver {}", asked.endpoint);
                    found.problems.push(silent(who, error.clone()));
                }
            }
        }
        for asked in &agents {
            if let Outcome::Error(error) = &asked.outcome {
                let who = format!("agent {}", asked.endpoint);
                found.problems.push(silent(who, error.clone()));
            }
        }
        found.well = found.problems.is_empty();
        found
    }

    /// For people. `now` is in milliseconds since 1970, and turns times into ages.
    pub(crate) fn text(&self, now: u64, colours: bool) -> String {
        text::render(self, now, colours)
    }

    fn add(
        &mut self,
        status: &ApiserverStatus,
        endpoint: &Endpoint,
        agents: &[Asked<AgentStatus>],
        now: u64,
    ) {
        let who = format!("apiserver of {}", status.cluster);
        let seen = |problem: Problem| SeenProblem {
            seen_by: vec![who.clone()],
            what: problem.what,
            remedy: problem.remedy,
        };
        if status.peers.is_empty() {
            self.problems.push(seen(Problem {
                what: "no remote cluster is configured".to_owned(),
                remedy: format!(
                    "connect one: meshctl clustermesh connect {} OTHER",
                    status.cluster
                ),
            }));
        }
        if !status.ready {
            self.problems.push(seen(Problem {
                what: "not ready".to_owned(),
                remedy: format!("see what it waits for: curl {endpoint}/ready"),
            }));
        }
        let own = status.certificate.iter().filter_map(|it| ending(it, now));
        self.warnings.extend(own.map(seen));

        let mut peers = Vec::new();
        for report in &status.peers {
            let problem = problem(report, now);
            let warnings = warnings(report, now);
            self.warnings.extend(warnings.into_iter().map(seen));
            let (view, agents_problem) = agents_view(&status.cluster, report, agents);
            let well = problem.is_none() && agents_problem.is_none();
            self.problems.extend(problem.map(seen));
            self.problems.extend(agents_problem);
            peers.push(SeenPeer {
                well,
                report: report.clone(),
                agents: view,
            });
        }
        self.clusters.push(OwnCluster {
            name: status.cluster.clone(),
            apiserver: endpoint.clone(),
            peers,
        });
    }
}

impl Awaited for MeshPeers {
    fn is_well(&self) -> bool {
        self.well
    }

    fn summary(&self) -> String {
        let peers = self.clusters.iter().flat_map(|it| &it.peers);
        let (well, all) = (peers.clone().filter(|it| it.well).count(), peers.count());
        match self.problems.first() {
            None => "all is well".to_owned(),
            Some(first) => format!("{well} of {all} remote clusters well; {}", first.headline()),
        }
    }
}

/// What keeps a remote cluster from being well for the API server.
fn problem(report: &PeerReport, now: u64) -> Option<Problem> {
    let name = &report.cluster.name;
    let ask = format!("ask `meshctl clustermesh troubleshoot {name}`");
    if !report.refusal.is_empty() {
        return Some(Problem {
            what: format!("nothing of cluster {name} is believed: {}", report.refusal),
            remedy: ask,
        });
    }
    if let Some(problem) = problems::cluster(&report.cluster) {
        return Some(Problem {
            remedy: ask,
            ..problem
        });
    }
    // The state has a grace for restarts, in which nothing arrives.
    if !report.link.connected && report.cluster.state == ClusterState::Connected {
        if report.liveness.decided_by == Witness::DataPlane {
            return Some(Problem {
                what: format!(
                    "cluster {name} is kept, and tells nothing new: {}",
                    report.cluster.reason
                ),
                remedy: format!("see that its clustermesh-apiserver runs; {ask}"),
            });
        }
        return Some(Problem {
            what: format!("the connection to cluster {name} is interrupted"),
            remedy: format!("wait a moment; if it stays, {ask}"),
        });
    }
    let pulse = report.pulse.filter(|it| !it.is_fresh(now))?;
    let since = match pulse.at {
        Some(_) => "for more than 15 s",
        None => "yet",
    };
    Some(Problem {
        what: format!(
            "no pulse of cluster {name} has arrived {since}: changes may not arrive either"
        ),
        remedy: ask,
    })
}

/// What an operator should know of a cluster that may still be well.
fn warnings(report: &PeerReport, now: u64) -> Vec<Problem> {
    let name = &report.cluster.name;
    let mut warnings = Vec::new();
    let violations = &report.violations;
    if violations.total() > 0 {
        warnings.push(Problem {
            what: format!(
                "{} records of cluster {name} broke its contract since the start: {}; at last {}",
                violations.total(),
                text::reasons(violations),
                violations.last
            ),
            remedy: format!(
                "correct what {name} publishes, or what {name}.contract.yaml allows it"
            ),
        });
    }
    warnings.extend(report.throttle.iter().map(|it| Problem {
        what: format!(
            "changes of cluster {name} are held back {}",
            text::throttle(it, now)
        ),
        remedy: format!(
            "find out why {name} changes so much, or raise limits.changesPerSecond in \
             {name}.contract.yaml"
        ),
    }));
    warnings.extend(report.certificate.iter().filter_map(|it| ending(it, now)));
    warnings
}

/// Says that a certificate ends within the month in which the API server warns too, or cannot be
/// read.
fn ending(certificate: &CertificateReport, now: u64) -> Option<Problem> {
    const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1_000;
    let CertificateReport {
        file,
        not_after,
        problem,
        ..
    } = certificate;
    let what = match () {
        () if !problem.is_empty() => format!("a certificate cannot be read: {problem}"),
        () if *not_after <= now => format!("the certificate {file} has expired"),
        () if *not_after - now <= 30 * DAY_MILLISECONDS => {
            let days = (not_after - now) / DAY_MILLISECONDS;
            format!("the certificate {file} expires in {days} days")
        }
        () => return None,
    };
    Some(Problem {
        what,
        remedy: "renew it; `meshctl clustermesh connect` renews those towards peers".to_owned(),
    })
}

/// What the agents of cluster `own` say of the remote one, and what is wrong with that.
fn agents_view(
    own: &ClusterName,
    report: &PeerReport,
    agents: &[Asked<AgentStatus>],
) -> (AgentsView, Option<SeenProblem>) {
    let name = &report.cluster.name;
    let mut view = AgentsView::default();
    let mut seen_by = Vec::new();
    for agent in agents.iter().filter_map(Asked::answer) {
        if agent.cluster != *own {
            continue;
        }
        let cluster = agent.clusters.iter().find(|it| it.name == *name);
        let well = cluster.is_some_and(|it| it.state == ClusterState::Connected && it.synced);
        let tunnels = agent.tunnels.iter().filter(|it| it.cluster == *name);
        let up = tunnels.clone().filter(|it| it.up).count();
        let all = tunnels.count();
        view.agents += 1;
        view.agents_well += usize::from(well);
        view.tunnels += all;
        view.tunnels_up += up;
        if !well || up < all {
            seen_by.push(agent.node.to_string());
        }
    }
    let problem = (!seen_by.is_empty()).then(|| SeenProblem {
        seen_by,
        what: format!(
            "cluster {name} is not reached: {} of {} agents have it connected and synced, {} of {} \
             tunnels to it are up",
            view.agents_well, view.agents, view.tunnels_up, view.tunnels
        ),
        remedy: format!("ask `meshctl explain peer {name}`"),
    });
    (view, problem)
}

fn silent(who: String, what: String) -> SeenProblem {
    SeenProblem {
        seen_by: vec![who],
        what,
        remedy: "start it, or correct its address in the context file".to_owned(),
    }
}

#[cfg(test)]
mod tests;
