//! How the mesh is, as all daemons together tell it.

pub(crate) mod problems;
pub(crate) mod text;

use serde::Serialize;
use topology::report::{AgentStatus, ApiserverStatus, ClusterReport, DnsStatus};

use crate::client::Endpoint;

/// What one daemon answered, or why it did not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Asked<T> {
    pub(crate) endpoint: Endpoint,
    #[serde(flatten)]
    pub(crate) outcome: Outcome<T>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome<T> {
    Answer(T),
    Error(String),
}

/// The answers of every daemon that the context names.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) apiservers: Vec<Asked<ApiserverStatus>>,
    pub(crate) agents: Vec<Asked<AgentStatus>>,
    pub(crate) dns: Vec<Asked<DnsStatus>>,
}

/// The mesh, judged: well, or with a list of what is not.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MeshStatus {
    /// The cluster that the person looks from.
    pub(crate) cluster: String,
    pub(crate) well: bool,
    pub(crate) problems: Vec<SeenProblem>,
    pub(crate) clusters: Vec<ClusterReport>,
    pub(crate) apiservers: Vec<Asked<ApiserverStatus>>,
    pub(crate) agents: Vec<Asked<AgentStatus>>,
    pub(crate) dns: Vec<Asked<DnsStatus>>,
}

/// A problem, and everyone who sees it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeenProblem {
    pub(crate) seen_by: Vec<String>,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl<T> Asked<T> {
    pub(crate) fn answer(&self) -> Option<&T> {
        match &self.outcome {
            Outcome::Answer(answer) => Some(answer),
            Outcome::Error(_) => None,
        }
    }
}

impl MeshStatus {
    /// Judges what the daemons answered to somebody who looks from `cluster`.
    pub(crate) fn new(cluster: String, answers: Answers) -> Self {
        let problems = problems::list(&answers);
        Self {
            cluster,
            well: problems.is_empty(),
            problems,
            clusters: clusters(&answers),
            apiservers: answers.apiservers,
            agents: answers.agents,
            dns: answers.dns,
        }
    }

    /// For people. `now` is in milliseconds since 1970, and turns times into ages.
    pub(crate) fn text(&self, now: u64, colours: bool) -> String {
        text::render(self, now, colours)
    }

    /// What is missing, in half a line.
    pub(crate) fn summary(&self) -> String {
        match self.problems.as_slice() {
            [] => "all is well".to_owned(),
            [only] => only.headline(),
            [first, others @ ..] => format!("{}; and {} more", first.headline(), others.len()),
        }
    }
}

impl SeenProblem {
    pub(crate) fn headline(&self) -> String {
        format!("{}: {}", witnesses(&self.seen_by), self.what)
    }
}

/// One report per cluster, in order of names: the worst that a daemon has of it, since a cluster
/// that only some have lost is a cluster in trouble.
fn clusters(answers: &Answers) -> Vec<ClusterReport> {
    let apiservers = answers.apiservers.iter().filter_map(Asked::answer);
    let agents = answers.agents.iter().filter_map(Asked::answer);
    let mut reports: Vec<ClusterReport> = apiservers
        .flat_map(|it| &it.clusters)
        .chain(agents.flat_map(|it| &it.clusters))
        .cloned()
        .collect();
    // Stable: of equally bad reports the apiservers' come first.
    reports.sort_by_key(|it| (it.name.clone(), problems::rank(it)));
    reports.dedup_by_key(|it| it.name.clone());
    reports
}

/// The first few by name, the rest by number.
fn witnesses(names: &[String]) -> String {
    const NAMED: usize = 3;
    match names.len().checked_sub(NAMED) {
        Some(others) if others > 1 => {
            format!("{} and {others} more", names[..NAMED].join(", "))
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
pub(crate) mod tests;
