//! Runs the API server: brings inputs to the model, and carries out the effects.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use daemon::{Drain, Process, ReadinessGuard};
use kvstore::config::EtcdConfig;
use kvstore::server::{self, Server, Vitals};
use kvstore::store::Store;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use topology::id::ClusterName;
use tracing::info;

use crate::admin;
use crate::certificates::Watchman;
use crate::config::Config;
use crate::directory::{self, Listing};
use crate::hands::{Hands, Measured};
use crate::journal::Journal;
use crate::manifest::catalog::{Catalog, Manifests};
use crate::manifest::{self, ManifestFile};
use crate::metrics::{self, Metrics};
use crate::model::Model;
use crate::publish::Cluster;
use crate::remember;
use crate::remote_file::RemoteFile;
use crate::reports;
use crate::users::settle::{self, Keeper};
use owner::{Inputs, Owner, moment};

mod owner;

/// Updates on their way, over all remotes: a remote that says more waits, and its store with it.
const UPDATES_MAX: usize = 256;

/// People and scripts that ask for the status at the same time.
const QUESTIONS_MAX: usize = 16;

/// Runs until the drain starts, or until something fails that a restart may cure.
pub async fn serve(config: Config, mut process: Process) -> anyhow::Result<()> {
    let inputs = (objects(&config)?, remotes(&config)?);
    let users_file = settle::watch_file(config.users_file.as_deref())?;
    let (store, server) = store(&config).await?;
    let keeper = Keeper {
        own: config.cluster_name.clone(),
        store: store.clone(),
        certificates: config.tls().is_some(),
        remotes: inputs.1.clone(),
        file: users_file.clone(),
    };
    let (settled, users) = oneshot::channel();
    tokio::spawn(keeper.run(settled));
    let published = process.readiness.guard("the objects are published");
    let met = process
        .readiness
        .guard("the remote clusters are connected, or had their time");

    let remembered = remember::spawn(store.clone(), config.cluster_name.clone());
    let agents = reports::spawn(store.clone());

    let (updates_sender, updates) = mpsc::channel(UPDATES_MAX);
    let (questions_sender, questions) = mpsc::channel(QUESTIONS_MAX);
    let options = config.publish_options();
    let policy = config.policy();
    let cluster = Cluster {
        name: config.cluster_name,
        id: config.cluster_id,
        mesh: config.max_connected_clusters,
    };
    let vitals = server.as_ref().map(Server::vitals);
    let (clock, started) = (process.clock, process.clock.now());
    let (metrics, measures) = register(&mut process.registry, &cluster.name, vitals.as_ref());
    let (own, own_store) = (cluster.name.clone(), store.clone());
    let hands = Hands::new(own, own_store, updates_sender, measures).leasing_for(config.lease_ttl);
    let owner = Owner {
        model: Model::with_policy(cluster.clone(), options, policy, moment(clock, started)),
        metrics: metrics.clone(),
        hands,
        journal: Journal::default(),
        certificates: Watchman::new(config.tls_cert.zip(vitals)),
        started,
        cluster: cluster.clone(),
        clock,
        readiness: process.readiness.clone(),
        met: Some(met),
    };
    let inputs = Inputs {
        remembered,
        agents,
        objects: inputs.0,
        remotes: inputs.1,
        users: users_file,
        updates,
        questions,
    };
    let (written, complete) = oneshot::channel();
    let routes = admin::routes(cluster.clone(), store.clone(), clock, questions_sender);
    process.serve_admin(routes);
    let announced = async move {
        let _ = complete.await;
        metrics.set_published(&cluster.name, clock.now() - started);
    };
    let serving = open(server, announced, users, published, process.drain);
    tokio::select! {
        outcome = serving => outcome,
        never = owner.run(inputs, written) => never,
    }
}

/// Shows everything that is counted.
fn register(
    registry: &mut Registry,
    own: &ClusterName,
    vitals: Option<&Arc<Vitals>>,
) -> (Metrics, Measured) {
    if let Some(vitals) = vitals {
        vitals.register(registry);
    }
    let measures = metrics::store_clients(registry, own);
    (Metrics::register(registry), measures)
}

fn objects(config: &Config) -> anyhow::Result<mpsc::Receiver<Manifests>> {
    let Some(objects) = config.objects.as_ref().filter(|_| !config.kubernetes) else {
        bail!("--kubernetes is not built yet; write the objects to a directory and use --objects");
    };
    let mut catalog = Catalog::default();
    let fold = move |changes| catalog.update(changes);
    directory::follow(objects, manifest::is_manifest, ManifestFile::read, fold)
        .context("--objects must name a directory that can be read")
}

fn remotes(config: &Config) -> anyhow::Result<watch::Receiver<Listing<RemoteFile>>> {
    let Some(directory) = config.clustermesh_config.clone() else {
        return Ok(directory::nothing());
    };
    let path = directory.clone();
    directory::watch(
        &directory,
        |_| true,
        move |name, text, before| RemoteFile::read(path.join(name), text, before),
    )
    .context("--clustermesh-config must name a directory that can be read")
}

/// The store to write to, and the server to open once everything is in it.
async fn store(config: &Config) -> anyhow::Result<(Store, Option<Server>)> {
    if let Some(file) = &config.etcd_config {
        return Ok((Store::Etcd(EtcdConfig::read(Path::new(file))?), None));
    }
    let server = Server::bind(server::Options {
        tls: config.tls(),
        storage: config.storage.options().map_err(anyhow::Error::msg)?,
        ..server::Options::new(config.listen, config.cluster_name.to_string())
    })
    .await?;
    info!(address = %server.address(), "the embedded etcd has its address");
    Ok((Store::Local(server.local()), Some(server)))
}

/// Opens the embedded etcd once the own records and its users are in it, so that nobody sees it empty
/// after a restart, or more of it than he may; and keeps it open until the drain.
async fn open(
    server: Option<Server>,
    announced: impl Future<Output = ()>,
    users: oneshot::Receiver<()>,
    published: ReadinessGuard,
    mut drain: Drain,
) -> anyhow::Result<()> {
    let is_embedded = server.is_some();
    let prepared = async {
        announced.await;
        if is_embedded {
            users.await.context("the users could not be set up")?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = prepared => outcome?,
        () = drain.started() => return Ok(()),
    }
    drop(published);
    info!("the own records are published");
    match server {
        Some(server) => server.serve(async { drain.started().await }).await?,
        None => drain.started().await,
    }
    Ok(())
}
