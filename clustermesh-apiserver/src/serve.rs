//! Runs the API server: brings inputs to the model, and carries out the effects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use daemon::{Clock, Drain, Process, Readiness, ReadinessGuard};
use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use kvstore::server::{self, Server};
use kvstore::store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use topology::id::ClusterName;
use topology::report::{ApiserverStatus, CertificateReport};
use tracing::{debug, error, info, warn};

use crate::admin::{self, Peer, Question};
use crate::certificate::{Expiries, Urgency, days_until};
use crate::certificates::{self, Certificates};
use crate::config::Config;
use crate::directory::{self, Listing};
use crate::hands::{Hands, Heard};
use crate::journal::Journal;
use crate::manifest::catalog::{Catalog, Manifests};
use crate::manifest::{self, ManifestFile};
use crate::metrics::Metrics;
use crate::model::peers::Surroundings;
use crate::model::{Input, Model};
use crate::moment::Moment;
use crate::publish::Cluster;
use crate::remember;
use crate::remote_file::RemoteFile;
use crate::users::settle::{self, Keeper};

/// Grace periods and the heartbeat are counted in seconds.
const TICK: Duration = Duration::from_secs(1);

/// How often peers of our own kind can measure how long a change takes to them.
const PULSE_INTERVAL: Duration = Duration::from_secs(5);

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
        file: users_file,
    };
    let (settled, users) = oneshot::channel();
    tokio::spawn(keeper.run(settled));
    let published = process.readiness.guard("the objects are published");
    let met = process
        .readiness
        .guard("the remote clusters are connected, or had their time");

    let remembered = remember::spawn(store.clone(), config.cluster_name.clone());

    let (updates_sender, updates) = mpsc::channel(UPDATES_MAX);
    let (questions_sender, questions) = mpsc::channel(QUESTIONS_MAX);
    let options = config.publish_options();
    let policy = config.policy();
    let cluster = Cluster {
        name: config.cluster_name,
        id: config.cluster_id,
        mesh: config.max_connected_clusters,
    };
    let (files, certificates) = certificate_files(config.tls_cert.as_ref());
    let (clock, started) = (process.clock, process.clock.now());
    let metrics = Metrics::register(&mut process.registry);
    let owner = Owner {
        model: Model::with_policy(cluster.clone(), options, policy, moment(clock, started)),
        metrics: metrics.clone(),
        hands: Hands::new(cluster.name.clone(), store, updates_sender),
        journal: Journal::default(),
        certificates: Certificates::new(),
        certificate_files: files,
        expiries: Expiries::default(),
        server_certificate: config.tls_cert.filter(|_| server.is_some()),
        started,
        cluster: cluster.clone(),
        clock,
        readiness: process.readiness.clone(),
        met: Some(met),
    };
    let inputs = Inputs {
        remembered,
        objects: inputs.0,
        remotes: inputs.1,
        updates,
        questions,
        certificates,
    };
    let (written, complete) = oneshot::channel();
    process.serve_admin(admin::routes(cluster.clone(), clock, questions_sender));
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

/// The files to watch for their ends, and what they say.
fn certificate_files(
    server: Option<&PathBuf>,
) -> (
    watch::Sender<BTreeSet<PathBuf>>,
    watch::Receiver<Certificates>,
) {
    let (sender, files) = watch::channel(server.into_iter().cloned().collect());
    (sender, certificates::watch(files))
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

/// Everything that can wake the owner.
struct Inputs {
    /// The identities in our store, as soon as it can be read. Objects wait for them.
    remembered: oneshot::Receiver<Vec<(u32, String)>>,
    objects: mpsc::Receiver<Manifests>,
    remotes: watch::Receiver<Listing<RemoteFile>>,
    updates: mpsc::Receiver<Heard>,
    questions: mpsc::Receiver<Question>,
    certificates: watch::Receiver<Certificates>,
}

/// The one task that owns the model.
struct Owner {
    model: Model,
    metrics: Metrics,
    hands: Hands,
    journal: Journal,
    certificates: Certificates,
    certificate_files: watch::Sender<BTreeSet<PathBuf>>,
    expiries: Expiries,
    server_certificate: Option<PathBuf>,
    started: Instant,
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
        let mut written = Some(written);
        let mut remembers = false;

        let mut ticks = timer(TICK);
        let mut pulses = timer(PULSE_INTERVAL);
        loop {
            tokio::select! {
                identities = &mut inputs.remembered, if !remembers => {
                    remembers = true;
                    // The task ends without a word only with the process.
                    self.take_in(Input::Remembered(identities.unwrap_or_default())).await;
                }
                Some(objects) = inputs.objects.recv(), if remembers => {
                    self.take_in(Input::Objects(objects)).await;
                    if let Some(written) = written.take() {
                        tokio::spawn(self.hands.tell_written(written));
                    }
                }
                _ = pulses.tick() => {
                    let unix_microseconds = self.clock.unix_microseconds();
                    self.take_in(Input::Pulse { unix_microseconds }).await;
                }
                listing = next(&mut inputs.remotes) => {
                    self.take_in(Input::Configured(listing)).await;
                }
                Some(Heard { input, turn }) = inputs.updates.recv() => {
                    self.take_in(input).await;
                    drop(turn);
                }
                Some(question) = inputs.questions.recv() => self.answer(question),
                certificates = next(&mut inputs.certificates) => self.look_at(certificates),
                _ = ticks.tick() => {
                    self.take_in(Input::Tick).await;
                    self.note_beats();
                    self.show();
                }
            }
        }
    }

    async fn take_in(&mut self, input: Input) {
        let now = moment(self.clock, self.started);
        self.witness(&input, now.unix_milliseconds);
        for effect in self.model.apply(input, now) {
            self.hands.carry_out(effect).await;
        }
        if self.met.is_some() && self.model.has_met_remotes(now) {
            self.met = None;
            self.metrics.set_mirrored(self.clock.now() - self.started);
        }
    }

    /// Takes in how long remotes' pulses were on their way.
    fn note_beats(&mut self) {
        let now = self.clock.unix_milliseconds();
        for beat in self.hands.take_beats() {
            self.journal
                .beat(&beat.remote, beat.latency_microseconds, now);
            let latency = Duration::from_micros(beat.latency_microseconds);
            self.metrics
                .observe_latency(&self.cluster.name, &beat.remote, latency);
        }
    }

    /// Brings what is shown outside up to date.
    fn show(&mut self) {
        self.journal.keep(self.model.remote_names());
        self.metrics
            .show(&self.cluster.name, &self.model, &self.journal);
        let own = self.server_certificate.iter();
        let files: BTreeSet<PathBuf> = self
            .model
            .client_certificates()
            .chain(own)
            .cloned()
            .collect();
        self.certificate_files.send_if_modified(|it| {
            let is_new = *it != files;
            *it = files;
            is_new
        });
    }

    /// Warns of certificates that end soon.
    fn look_at(&mut self, certificates: Certificates) {
        let now = self.clock.unix_milliseconds();
        self.certificates = certificates;
        self.metrics.show_certificates(
            self.certificates.values(),
            self.server_certificate.as_deref(),
        );
        for (certificate, urgency) in self.expiries.due(self.certificates.values(), now) {
            warn_of_end(certificate, urgency, now);
        }
    }

    /// Logs and counts what an operator cares about.
    fn witness(&mut self, input: &Input, now: u64) {
        if let Input::Said { remote, update, .. } = input {
            self.journal.hear(remote, update, now);
        }
        match input {
            Input::Said {
                remote,
                update: Update::Lost { reason, .. },
                ..
            } => {
                warn!(%remote, reason, "a remote cluster is lost");
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
                debug!(%remote, records = records.len(), "the end of a remote cluster's list");
            }
            Input::Said {
                update: Update::Changed(_) | Update::Page(_),
                ..
            }
            | Input::Configured(_)
            | Input::Objects(_)
            | Input::Pulse { .. }
            | Input::Remembered(_)
            | Input::Tick => (),
        }
    }

    fn answer(&self, question: Question) {
        // Who asked may have left.
        match question {
            Question::Peer { name, answer } => {
                let _ = answer.send(self.peer(&name));
            }
            Question::Status(answer) => {
                let _ = answer.send(self.status());
            }
        }
    }

    fn status(&self) -> ApiserverStatus {
        let ready = self.readiness.is_ready();
        let certificate = self.server_certificate.as_ref();
        ApiserverStatus {
            peers: self.model.peers(self.surroundings()),
            certificate: certificate.and_then(|it| self.certificates.get(it).cloned()),
            ..self.model.status(ready, self.hands.store_problem())
        }
    }

    fn peer(&self, name: &ClusterName) -> Option<Peer> {
        Some(Peer {
            report: self.model.peer(name, self.surroundings())?,
            view: self.model.view(name, moment(self.clock, self.started))?,
            store: self.hands.store().clone(),
        })
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            journal: &self.journal,
            certificates: &self.certificates,
        }
    }
}

fn warn_of_end(certificate: &CertificateReport, urgency: Urgency, now: u64) {
    let file = &certificate.file;
    let days = days_until(certificate.not_after, now);
    match urgency {
        Urgency::Month => warn!(file, days, "a certificate ends within a month; renew it"),
        Urgency::Week => warn!(file, days, "a certificate ends within a week; renew it"),
        Urgency::Day => warn!(file, days, "a certificate ends within a day; renew it now"),
        Urgency::Expired => error!(file, "a certificate has expired; renew it"),
    }
}

fn moment(clock: Clock, started: Instant) -> Moment {
    let uptime = clock.now().duration_since(started).as_millis();
    Moment {
        unix_milliseconds: clock.unix_milliseconds(),
        uptime_milliseconds: u64::try_from(uptime).unwrap_or(u64::MAX),
    }
}

/// The next listing; waits for ever once nobody watches the directory.
async fn next<T: Clone>(listings: &mut watch::Receiver<T>) -> T {
    if listings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    listings.borrow_and_update().clone()
}

fn timer(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
