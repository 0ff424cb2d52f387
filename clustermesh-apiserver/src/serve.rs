//! Runs the API server: brings inputs to the model, and carries out the effects.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use daemon::{Clock, Drain, Process, Readiness, ReadinessGuard};
use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use kvstore::server::{self, Server};
use kvstore::store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use topology::report::ApiserverStatus;
use tracing::{info, warn};

use crate::config::Config;
use crate::directory::{self, Listing};
use crate::hands::Hands;
use crate::manifest::{self, ManifestFile};
use crate::metrics::Metrics;
use crate::model::{Input, Model};
use crate::publish::Cluster;
use crate::remote_file::RemoteFile;

/// Grace periods and the heartbeat are counted in seconds.
const TICK: Duration = Duration::from_secs(1);

/// Updates on their way, over all remotes: a remote that says more waits, and its store with it.
const UPDATES_MAX: usize = 256;

/// People and scripts that ask for the status at the same time.
const QUESTIONS_MAX: usize = 16;

/// Runs until the drain starts, or until something fails that a restart may cure.
pub async fn serve(config: Config, mut process: Process) -> anyhow::Result<()> {
    let inputs = (objects(&config)?, remotes(&config)?);
    let (store, server) = store(&config).await?;
    let published = process.readiness.guard("the objects are published");
    let met = process
        .readiness
        .guard("the remote clusters are connected, or had their time");

    let (updates_sender, updates) = mpsc::channel(UPDATES_MAX);
    let (questions_sender, questions) = mpsc::channel(QUESTIONS_MAX);
    let cluster = Cluster {
        name: config.cluster_name,
        id: config.cluster_id,
        mesh: config.max_connected_clusters,
    };
    let owner = Owner {
        model: Model::new(cluster.clone(), process.clock.unix_milliseconds()),
        metrics: Metrics::register(&mut process.registry),
        hands: Hands::new(cluster.name.clone(), store, updates_sender),
        cluster,
        clock: process.clock,
        readiness: process.readiness.clone(),
        met: Some(met),
    };
    let inputs = Inputs {
        objects: inputs.0,
        remotes: inputs.1,
        updates,
        questions,
    };
    let (written, complete) = oneshot::channel();
    process.serve_admin([("/v1/status", status_route(questions_sender))]);
    let serving = open(server, complete, published, process.drain);
    tokio::select! {
        outcome = serving => outcome,
        never = owner.run(inputs, written) => never,
    }
}

fn objects(config: &Config) -> anyhow::Result<watch::Receiver<Listing<ManifestFile>>> {
    let Some(objects) = config.objects.as_ref().filter(|_| !config.kubernetes) else {
        bail!("--kubernetes is not built yet; write the objects to a directory and use --objects");
    };
    directory::watch(objects, manifest::is_manifest, ManifestFile::read)
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
    if config.data_dir.is_some() {
        bail!(
            "--data-dir is not built yet; leave it out to keep data in memory, \
             or use an etcd with --etcd-config"
        );
    }
    if let Some(file) = &config.etcd_config {
        return Ok((Store::Etcd(EtcdConfig::read(Path::new(file))?), None));
    }
    let server = Server::bind(server::Options {
        tls: config.tls(),
        ..server::Options::new(config.listen, config.cluster_name.to_string())
    })
    .await?;
    info!(address = %server.address(), "the embedded etcd has its address");
    Ok((Store::Local(server.local()), Some(server)))
}

/// Opens the embedded etcd once the own records are in it, so that nobody sees it empty after a
/// restart, and keeps it open until the drain.
async fn open(
    server: Option<Server>,
    complete: oneshot::Receiver<()>,
    published: ReadinessGuard,
    mut drain: Drain,
) -> anyhow::Result<()> {
    tokio::select! {
        _ = complete => drop(published),
        () = drain.started() => return Ok(()),
    }
    info!("the own records are published");
    match server {
        Some(server) => server.serve(async { drain.started().await }).await?,
        None => drain.started().await,
    }
    Ok(())
}

/// Everything that can wake the owner.
struct Inputs {
    objects: watch::Receiver<Listing<ManifestFile>>,
    remotes: watch::Receiver<Listing<RemoteFile>>,
    updates: mpsc::Receiver<Input>,
    questions: mpsc::Receiver<Question>,
}

/// Somebody wants to know the status.
type Question = oneshot::Sender<ApiserverStatus>;

/// The one task that owns the model.
struct Owner {
    model: Model,
    metrics: Metrics,
    hands: Hands,
    cluster: Cluster,
    clock: Clock,
    readiness: Readiness,
    /// Delays readiness until the remotes are met.
    met: Option<ReadinessGuard>,
}

impl Owner {
    /// Runs until it is dropped. `written` is told when the first publication is in the store.
    async fn run(mut self, mut inputs: Inputs, written: oneshot::Sender<()>) -> ! {
        // The remotes first: what is announced of them belongs to the first publication.
        let remotes = inputs.remotes.borrow_and_update().clone();
        self.take_in(Input::Configured(remotes)).await;
        let objects = inputs.objects.borrow_and_update().clone();
        self.take_in(Input::Objects(objects)).await;
        tokio::spawn(self.hands.tell_written(written));

        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                listing = next(&mut inputs.objects) => self.take_in(Input::Objects(listing)).await,
                listing = next(&mut inputs.remotes) => {
                    self.take_in(Input::Configured(listing)).await;
                }
                Some(said) = inputs.updates.recv() => self.take_in(said).await,
                Some(question) = inputs.questions.recv() => self.answer(question),
                _ = ticks.tick() => {
                    self.take_in(Input::Tick).await;
                    self.metrics.show(&self.cluster.name, &self.model);
                }
            }
        }
    }

    async fn take_in(&mut self, input: Input) {
        let now = self.clock.unix_milliseconds();
        self.witness(&input, now);
        for effect in self.model.apply(input, now) {
            self.hands.carry_out(effect).await;
        }
        if self.met.is_some() && self.model.has_met_remotes(now) {
            self.met = None;
        }
    }

    /// Logs and counts what an operator cares about.
    fn witness(&self, input: &Input, now: u64) {
        match input {
            Input::Said {
                remote,
                update: Update::Lost { reason, .. },
                ..
            } => {
                warn!(%remote, reason, "a remote cluster is lost");
                self.metrics.count_failure(&self.cluster.name, remote, now);
            }
            Input::Said {
                remote,
                update: Update::Connected { .. },
                ..
            } => {
                info!(%remote, "a remote cluster answers");
            }
            Input::Said {
                remote,
                update: Update::Listed(records),
                ..
            } => {
                info!(%remote, records = records.len(), "a remote cluster is listed");
            }
            Input::Configured(_) | Input::Objects(_) | Input::Said { .. } | Input::Tick => (),
        }
    }

    fn answer(&self, question: Question) {
        let ready = self.readiness.is_ready();
        // Who asked may have left.
        let _ = question.send(self.model.status(ready, self.hands.store_problem()));
    }
}

/// The next listing; waits for ever once nobody watches the directory.
async fn next<T: Clone>(listings: &mut watch::Receiver<T>) -> T {
    if listings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    listings.borrow_and_update().clone()
}

fn status_route(questions: mpsc::Sender<Question>) -> MethodRouter {
    get(async move || status(&questions).await)
}

async fn status(questions: &mpsc::Sender<Question>) -> Response {
    let (question, answer) = oneshot::channel();
    if questions.send(question).await.is_ok()
        && let Ok(status) = answer.await
    {
        return Json(status).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the process is ending").into_response()
}
