//! The connections between clusters: how they are, what is wrong with them, and how to make them.

mod connect;
mod diff;
mod peers;
mod troubleshoot;

use std::collections::BTreeMap;

use anyhow::{anyhow, ensure};
use serde::de::DeserializeOwned;
use thiserror::Error;
use topology::id::ClusterName;
use topology::report::{ApiserverStatus, DiffReport, Troubleshooting};

use crate::client::{Endpoint, Unanswered, escape};
use crate::config::Clustermesh;
use crate::context::Context;
use crate::output::Output;
use crate::status::{Asked, Outcome};
use crate::{questions, wait};
use peers::MeshPeers;

/// The options do not fit together.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);

/// Does what needs no daemon; `None` for the rest.
pub(crate) fn arrange(command: &Clustermesh, output: &Output) -> Option<anyhow::Result<bool>> {
    match command {
        Clustermesh::Connect(options) => Some(connect::connect(options, output)),
        Clustermesh::Disconnect(options) => Some(connect::disconnect(options, output)),
        Clustermesh::Diff { .. }
        | Clustermesh::Explain(_)
        | Clustermesh::Status(_)
        | Clustermesh::Troubleshoot { .. } => None,
    }
}

/// Asks what needs daemons, and says whether all is well.
pub(crate) async fn ask(
    command: Clustermesh,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    let now = || daemon::Clock.unix_milliseconds();
    match command {
        Clustermesh::Status(options) => {
            let look = async || peers(context).await;
            let peers = match options.wait {
                true => wait::until_well(options.wait_duration, look).await,
                false => look().await,
            };
            output.print(&peers, |colours| peers.text(now(), colours))?;
            Ok(peers.well)
        }
        Clustermesh::Troubleshoot { peer } => {
            let found = troubleshoot(context, peer.as_ref()).await?;
            output.print(&found, |colours| troubleshoot::text(&found, colours))?;
            let passed = |it: &Asked<Troubleshooting>| it.answer().is_some_and(|it| it.passed());
            Ok(found.iter().all(passed))
        }
        Clustermesh::Diff { peer } => {
            let found = diff(context, &peer).await?;
            output.print(&found, |colours| diff::text(&found, &peer, colours))?;
            let equal = |it: &Asked<DiffReport>| it.answer().is_some_and(DiffReport::is_equal);
            Ok(found.iter().all(equal))
        }
        Clustermesh::Explain(question) => {
            crate::explain(&question, context, output).await?;
            Ok(true)
        }
        Clustermesh::Connect(_) | Clustermesh::Disconnect(_) => Err(anyhow!("that asks no daemon")),
    }
}

async fn peers(context: &Context) -> MeshPeers {
    let (apiservers, agents) = tokio::join!(
        questions::everyone(&context.apiservers),
        questions::everyone(&context.agents),
    );
    MeshPeers::new(apiservers, agents, daemon::Clock.unix_milliseconds())
}

/// One after the other, as an API server looks.
async fn troubleshoot(
    context: &Context,
    peer: Option<&ClusterName>,
) -> anyhow::Result<Vec<Asked<Troubleshooting>>> {
    let mut found = Vec::new();
    for (endpoint, peer) in questioned(context, peer).await? {
        let path = format!("/v1/peers/{}/troubleshoot", escape(peer.as_str()));
        found.push(look(&endpoint, &path).await);
    }
    Ok(found)
}

async fn diff(context: &Context, peer: &ClusterName) -> anyhow::Result<Vec<Asked<DiffReport>>> {
    let mut found = Vec::new();
    for (endpoint, peer) in questioned(context, Some(peer)).await? {
        let path = format!("/v1/peers/{}/diff", escape(peer.as_str()));
        found.push(look(&endpoint, &path).await);
    }
    Ok(found)
}

async fn look<T: DeserializeOwned>(endpoint: &Endpoint, path: &str) -> Asked<T> {
    let outcome = match endpoint.look(path).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(Unanswered::Refused { said, .. }) => Outcome::Error(said),
        Err(error) => Outcome::Error(error.to_string()),
    };
    Asked {
        endpoint: endpoint.clone(),
        outcome,
    }
}

/// Every API server with every remote cluster that it mirrors, or with the one that is meant.
async fn questioned(
    context: &Context,
    peer: Option<&ClusterName>,
) -> anyhow::Result<Vec<(Endpoint, ClusterName)>> {
    ensure!(
        !context.apiservers.is_empty(),
        "the context file lists no apiservers"
    );
    let asked: Vec<Asked<ApiserverStatus>> = questions::everyone(&context.apiservers).await;
    if asked.iter().all(|it| it.answer().is_none()) {
        return Err(questions::nobody(&asked));
    }
    let mut known = BTreeMap::<&ClusterName, Vec<&Endpoint>>::new();
    for asked in &asked {
        for peer in asked.answer().into_iter().flat_map(|it| &it.peers) {
            let knowing = known.entry(&peer.cluster.name).or_default();
            knowing.push(&asked.endpoint);
        }
    }
    ensure!(
        !known.is_empty(),
        "no remote cluster is configured; `meshctl clustermesh connect` does it"
    );
    let names: Vec<&str> = known.keys().map(|it| it.as_str()).collect();
    if let Some(peer) = peer.filter(|it| !known.contains_key(it)) {
        return Err(anyhow!(
            "no API server mirrors {peer}; they mirror {}",
            names.join(", ")
        ));
    }
    let meant = known
        .into_iter()
        .filter(|(name, _)| peer.is_none_or(|it| it == *name));
    let pairs = meant.flat_map(|(name, knowing)| {
        let pair = move |it: &Endpoint| (it.clone(), name.clone());
        knowing.into_iter().map(pair)
    });
    Ok(pairs.collect())
}
