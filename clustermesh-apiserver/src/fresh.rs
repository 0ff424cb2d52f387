//! Looks at a store anew, beside whoever follows it: what a remote cluster publishes now, and what
//! our store shows of it.

use std::collections::BTreeSet;
use std::time::Duration;

use kvstore::follower::{self, Follower, Record, Update};
use kvstore::store::Store;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;
use topology::id::{ClusterName, ServiceName};
use topology::mesh::{Event, Mesh};
use topology::record::Kind;

use crate::model::peers::View;
use crate::moment::Moment;
use crate::publish::Table;
use crate::remote::Remote;

/// A list of a million records over a usual line. Two of them must fit into the time that the admin
/// endpoint gives an answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a remote says first may tell where the rest is, and that once more.
const LOOKS_MAX: usize = 4;

/// Why nothing could be seen.
#[derive(Debug, Error)]
pub enum Unseen {
    #[error("{0}")]
    Lost(String),
    #[error("not read within {} s", LOOK_TIMEOUT.as_secs())]
    Slow,
}

/// What the remote cluster publishes now, judged as its mirror would.
pub async fn remote(view: View, now: Moment) -> Result<Remote, Unseen> {
    let View {
        mut remote,
        config,
        taken,
    } = view;
    let store = Store::Etcd(config);
    for _ in 0..LOOKS_MAX {
        let options = follower::Options {
            optional_prefixes: remote.optional_prefixes().into(),
            ..follower::Options::default()
        };
        let records = list(store.clone(), remote.prefixes(), options).await?;
        remote.apply(Update::Connected { cluster_id: 0 }, &taken, now);
        let step = remote.apply(Update::Listed(records), &taken, now);
        if !step.follow_again {
            break;
        }
    }
    Ok(remote)
}

/// What our store shows of the remote cluster, without its cluster-config and its canaries.
pub async fn held(store: &Store, remote: &ClusterName) -> Result<Table, Unseen> {
    let prefixes = Kind::ALL.map(|it| format!("cilium/cache/{}/v1/{remote}/", it.as_str()));
    let records = list(store.clone(), prefixes.into(), follower::Options::default()).await?;
    let shared = |it: Record| (it.key.into(), it.value.into());
    Ok(records.into_iter().map(shared).collect())
}

/// As much of the mesh, as agents read it from our store, as decides which backends serve a service of
/// our cluster `own`.
pub async fn mesh(store: &Store, own: &ClusterName, service: &ServiceName) -> Result<Mesh, Unseen> {
    let mut mesh = Mesh::new(own.clone());
    let of = |tree: &str, kind: &str, cluster: &ClusterName, rest: &str| {
        format!("cilium/{tree}/{kind}/v1/{cluster}/{rest}")
    };
    let service_key = format!("{}/{}", service.namespace(), service.name());
    let clusters = [
        "cilium/cluster-config/".to_owned(),
        format!("causeway/state/services/v1/{own}/{service_key}"),
        "causeway/state/peers/v1/".to_owned(),
    ];
    learn(&mut mesh, store, clusters.into()).await?;

    let tree = |it: &ClusterName| if it == own { "state" } else { "cache" };
    let offers = mesh.clusters().into_iter();
    let offers = offers.map(|it| of(tree(it), "services", it, &service_key));
    let offers = offers.collect();
    learn(&mut mesh, store, offers).await?;

    // Nodes say where a cluster is.
    let offering = mesh.shared_services().keys().map(|(_, cluster)| cluster);
    let places: BTreeSet<&ClusterName> = offering.chain([own]).collect();
    let nodes = places.into_iter().map(|it| of(tree(it), "nodes", it, ""));
    let nodes = nodes.collect();
    learn(&mut mesh, store, nodes).await?;
    Ok(mesh)
}

async fn learn(mesh: &mut Mesh, store: &Store, prefixes: Vec<String>) -> Result<(), Unseen> {
    let options = follower::Options {
        is_paged: true,
        ..follower::Options::default()
    };
    for Record { key, value, .. } in list(store.clone(), prefixes, options).await? {
        // What an agent would drop decides nothing.
        let _rejected = mesh.apply(Event::Put { key, value });
    }
    Ok(())
}

/// One complete list.
async fn list(
    store: Store,
    prefixes: Vec<String>,
    options: follower::Options,
) -> Result<Vec<Record>, Unseen> {
    let follower = Follower::new(store, prefixes, options);
    let (sender, mut updates) = mpsc::channel(1);
    let listed = async {
        let mut pages = Vec::new();
        while let Some(update) = updates.recv().await {
            match update {
                Update::Connected { .. } | Update::Changed(_) => (),
                Update::Page(records) => pages.extend(records),
                Update::Listed(records) => {
                    pages.extend(records);
                    return Ok(pages);
                }
                Update::Lost { reason, .. } => return Err(Unseen::Lost(reason)),
            }
        }
        Err(Unseen::Lost("the list broke off".to_owned()))
    };
    tokio::select! {
        outcome = timeout(LOOK_TIMEOUT, listed) => outcome.unwrap_or(Err(Unseen::Slow)),
        () = follower.run(sender) => Err(Unseen::Lost("the list broke off".to_owned())),
    }
}
