//! Decides which daemons a question goes to, and collects their answers.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use anyhow::{Context as _, anyhow, bail, ensure};
use futures_util::stream::{self, StreamExt as _};
use serde::de::DeserializeOwned;
use topology::report::{
    AgentStatus, DelegationReport, DnsExplanation, KeysReport, PeerExplanation, ServiceExplanation,
};

use crate::client::{Endpoint, Unanswered, escape};
use crate::context::Context;
use crate::status::{Answers, Asked, MeshStatus, Outcome};

/// How many daemons are asked at once: enough to hide the way to them, few enough for one
/// process's file descriptors.
const CONCURRENT_MAX: usize = 64;

/// Asks every daemon how it is.
pub(crate) async fn status(context: &Context) -> MeshStatus {
    let (apiservers, agents, dns) = tokio::join!(
        everyone(&context.apiservers),
        everyone(&context.agents),
        everyone(&context.dns),
    );
    let answers = Answers {
        apiservers,
        agents,
        dns,
    };
    MeshStatus::new(context.cluster.clone(), answers)
}

/// Asks the agent of `node`, or the first agent that answers; where no agents are known, the first API
/// server.
pub(crate) async fn service(
    context: &Context,
    (namespace, name): &(String, String),
    node: Option<&str>,
) -> anyhow::Result<ServiceExplanation> {
    let path = format!("/v1/explain/service/{}/{}", escape(namespace), escape(name));
    match node {
        Some(node) => {
            let endpoint = agent_of(context, node).await?;
            let answer = endpoint.get(&path).await;
            answer.with_context(|| format!("agent {endpoint}"))
        }
        None if context.agents.is_empty() => {
            let endpoints = &context.apiservers;
            ensure!(
                !endpoints.is_empty(),
                "the context file lists no agents and no apiservers"
            );
            first(endpoints, "apiservers", &path).await
        }
        None => first(&context.agents, "agents", &path).await,
    }
}

/// Asks the first DNS authority that answers.
pub(crate) async fn dns(
    context: &Context,
    name: &str,
    kind: &str,
    from: IpAddr,
) -> anyhow::Result<DnsExplanation> {
    let path = format!(
        "/v1/explain/dns?name={}&type={}&from={}",
        escape(name),
        escape(&kind.to_ascii_uppercase()),
        escape(&from.to_string()),
    );
    first(&context.dns, "dns", &path).await
}

/// Asks the first DNS authority that answers for the keys of a zone.
pub(crate) async fn keys(context: &Context, zone: &str) -> anyhow::Result<KeysReport> {
    let path = format!("/v1/dns/keys?zone={}", escape(zone));
    first(&context.dns, "dns", &path).await
}

/// Asks the first DNS authority that answers what a zone's parent should have, and has.
pub(crate) async fn delegation(
    context: &Context,
    zone: &str,
    parent: Option<SocketAddr>,
) -> anyhow::Result<DelegationReport> {
    let mut path = format!("/v1/dns/delegation?zone={}", escape(zone));
    if let Some(parent) = parent {
        path.push_str(&format!("&parent={}", escape(&parent.to_string())));
    }
    first(&context.dns, "dns", &path).await
}

/// Asks every agent for its way to `node` of `cluster`, or to all of the cluster's nodes that it has
/// a tunnel to.
pub(crate) async fn peers(
    context: &Context,
    cluster: &str,
    node: Option<&str>,
) -> anyhow::Result<Vec<Asked<PeerExplanation>>> {
    ensure!(
        !context.agents.is_empty(),
        "the context file lists no agents"
    );
    let questions = match node {
        Some(node) => {
            let to_node = |it: &Endpoint| (it.clone(), node.to_owned());
            context.agents.iter().map(to_node).collect()
        }
        None => tunnels(context, cluster).await?,
    };
    let questions = questions.into_iter().map(|(endpoint, node)| {
        let path = format!("/v1/explain/peer/{}/{}", escape(cluster), escape(&node));
        async move { ask(&endpoint, &path).await }
    });
    let answers: Vec<_> = stream::iter(questions)
        .buffered(CONCURRENT_MAX)
        .collect()
        .await;
    match answers.iter().any(|it| it.answer().is_some()) {
        true => Ok(answers),
        false => Err(nobody(&answers)),
    }
}

/// Every agent with every node of `cluster` that it has a tunnel to.
async fn tunnels(context: &Context, cluster: &str) -> anyhow::Result<Vec<(Endpoint, String)>> {
    let agents: Vec<Asked<AgentStatus>> = everyone(&context.agents).await;
    if agents.iter().all(|it| it.answer().is_none()) {
        return Err(nobody(&agents));
    }
    let mut found = Vec::new();
    for asked in &agents {
        let tunnels = asked.answer().into_iter().flat_map(|it| &it.tunnels);
        let wanted = tunnels.filter(|it| it.cluster.as_str() == cluster);
        found.extend(wanted.map(|it| (asked.endpoint.clone(), it.node.to_string())));
    }
    ensure!(
        !found.is_empty(),
        "no agent has a tunnel to a node of cluster {cluster}; \
         ask for one of its nodes: meshctl explain peer {cluster}/NODE"
    );
    Ok(found)
}

pub(crate) async fn agent_of(context: &Context, node: &str) -> anyhow::Result<Endpoint> {
    let agents: Vec<Asked<AgentStatus>> = everyone(&context.agents).await;
    let mut others = Vec::new();
    for asked in agents {
        match asked.outcome {
            Outcome::Answer(status) if status.node.as_str() == node => return Ok(asked.endpoint),
            Outcome::Answer(status) => others.push(status.node.to_string()),
            Outcome::Error(error) => others.push(format!("{} ({error})", asked.endpoint)),
        }
    }
    ensure!(!others.is_empty(), "the context file lists no agents");
    bail!(
        "no agent of the context file runs on node {node}; they run on {}",
        others.join(", ")
    )
}

pub(crate) async fn everyone<T: DeserializeOwned>(endpoints: &[Endpoint]) -> Vec<Asked<T>> {
    everyone_at(endpoints, "/v1/status").await
}

/// Asks everybody the same.
pub(crate) async fn everyone_at<T: DeserializeOwned>(
    endpoints: &[Endpoint],
    path: &str,
) -> Vec<Asked<T>> {
    let questions = endpoints.iter().map(|it| ask(it, path));
    stream::iter(questions)
        .buffered(CONCURRENT_MAX)
        .collect()
        .await
}

async fn ask<T: DeserializeOwned>(endpoint: &Endpoint, path: &str) -> Asked<T> {
    let outcome = match endpoint.get(path).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(error) => Outcome::Error(error.to_string()),
    };
    Asked {
        endpoint: endpoint.clone(),
        outcome,
    }
}

/// The answer of the first that has an opinion; who is silent or ending has none. All are asked at
/// once, since each may take its time to be silent. `role` is what the context file calls them.
async fn first<T: DeserializeOwned>(
    endpoints: &[Endpoint],
    role: &str,
    path: &str,
) -> anyhow::Result<T> {
    ensure!(!endpoints.is_empty(), "the context file lists no {role}");
    let questions = endpoints
        .iter()
        .map(async |endpoint| (endpoint, endpoint.get(path).await));
    let mut answers = pin!(stream::iter(questions).buffered(CONCURRENT_MAX));
    let mut silent = Vec::new();
    while let Some((endpoint, answer)) = answers.next().await {
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error @ Unanswered::Refused { status, .. }) if !status.is_server_error() => {
                return Err(error).with_context(|| endpoint.to_string());
            }
            Err(error) => silent.push(Asked::<T> {
                endpoint: endpoint.clone(),
                outcome: Outcome::Error(error.to_string()),
            }),
        }
    }
    Err(nobody(&silent))
}

/// Says of everyone why there is no answer.
pub(crate) fn nobody<T>(asked: &[Asked<T>]) -> anyhow::Error {
    let reasons = asked.iter().filter_map(|it| match &it.outcome {
        Outcome::Answer(_) => None,
        Outcome::Error(error) => Some(format!("{}: {error}", it.endpoint)),
    });
    anyhow!(reasons.collect::<Vec<_>>().join("; "))
}
