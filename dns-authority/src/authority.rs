//! Runs the authority: one task owns zones, health and mesh names, and publishes what answers are
//! made of.

mod admin;
mod mesh;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::{Clock, Drain, Process, ReadinessGuard};
use kvstore::follower::{self, Follower, Update};
use kvstore::store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::check::CheckId;
use crate::config::Config;
use crate::load::{self, Library, MemoryFile};
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::serve::{Responder, Sockets};
use state::{Ended, State};

/// Probes that are under way at once: each holds a socket.
const PROBES_MAX: usize = 1024;
/// Updates of the store that wait to be applied; the follower waits beyond that.
const UPDATES_MAX: usize = 64;
/// Questions about the status that wait to be answered.
const QUESTIONS_MAX: usize = 16;
/// How often changed files are looked for, and news of health written down.
const TICK: Duration = Duration::from_secs(1);
/// Checks that have come to no verdict after so long, or a store that is not whole, do not keep the
/// process unready: what it knows is better than nothing, and the status says what it lacks.
const READINESS_DELAY_MAX: Duration = Duration::from_secs(10);

/// What the owner's task is woken by.
enum Input {
    Ask(admin::Question),
    Due,
    Ended(Ended),
    Mesh(Update),
    Shutdown,
    Tick,
}

/// Serves DNS as `config` says until the process drains.
pub async fn run(config: Config, mut process: Process) -> anyhow::Result<()> {
    let atlas = Arc::new(load::atlas(&config)?);
    let (library, loaded) = Library::open(&config.zones, &atlas)?;
    let file = config
        .state_dir
        .as_deref()
        .map(MemoryFile::in_directory)
        .transpose()?;
    let updates = config.etcd_config.as_deref().map(follow).transpose()?;
    let sockets = Sockets::bind(config.listen).await?;

    let metrics = Metrics::register(&mut process.registry);
    let listen = sockets.address().into_iter().collect();
    let mut state = State::new(library, atlas, file, metrics.clone(), process.clock, listen);
    state.follows_mesh = updates.is_some();
    state.load(loaded);

    let first_verdicts = process
        .readiness
        .guard("every health check has a first verdict");
    let mesh_known = process
        .readiness
        .guard("the names of the mesh's services are known");
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let readiness = process.readiness.clone();
    process.serve_admin(admin::routes(state.world(), questions, readiness));
    let responder = Responder::new(state.world(), metrics, process.clock);
    sockets.serve(&responder, &process.drain);

    let owner = Owner {
        state,
        prober: Prober::new().context("cannot set TLS up for probes")?,
        probes: JoinSet::new(),
        first_verdicts: Some(first_verdicts),
        mesh_known: Some(mesh_known),
        started: process.clock.now(),
        clock: process.clock,
    };
    owner.run(updates, asked, process.drain).await;
    Ok(())
}

/// Follows the records of the own cluster that names are derived from.
fn follow(config: &std::path::Path) -> anyhow::Result<mpsc::Receiver<Update>> {
    let store = Store::Etcd(kvstore::config::EtcdConfig::read(config).context("--etcd-config")?);
    let (sender, updates) = mpsc::channel(UPDATES_MAX);
    let prefixes = mesh::PREFIXES.map(str::to_owned).to_vec();
    tokio::spawn(Follower::new(store, prefixes, follower::Options::default()).run(sender));
    Ok(updates)
}

struct Owner {
    state: State,
    prober: Prober,
    probes: JoinSet<Ended>,
    /// Held until the first probes have ended.
    first_verdicts: Option<ReadinessGuard>,
    /// Held until the store was whole once.
    mesh_known: Option<ReadinessGuard>,
    started: Instant,
    clock: Clock,
}

impl Owner {
    async fn run(
        mut self,
        mut updates: Option<mpsc::Receiver<Update>>,
        mut asked: mpsc::Receiver<admin::Question>,
        mut drain: Drain,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = self.probes.len() < PROBES_MAX;
            let due = self.state.next_due().filter(|_| room);
            let input = tokio::select! {
                () = drain.started() => Input::Shutdown,
                Some(ended) = self.probes.join_next() => {
                    Input::Ended(ended.expect("a probe does not panic and is never aborted"))
                }
                () = until(due) => Input::Due,
                Some(update) = received(&mut updates) => Input::Mesh(update),
                Some(question) = asked.recv() => Input::Ask(question),
                _ = tick.tick() => Input::Tick,
            };
            match input {
                Input::Ask(question) => drop(question.send(self.state.status())),
                Input::Due => self.probe(),
                Input::Ended(ended) => self.state.handle_ended(ended),
                Input::Mesh(update) => self.state.handle_update(update),
                Input::Shutdown => return self.state.remember(),
                Input::Tick => self.state.handle_tick(),
            }
            self.notice_readiness();
        }
    }

    /// Starts the probes that are due.
    fn probe(&mut self) {
        let room = PROBES_MAX - self.probes.len();
        for (id, check) in self.state.take_due(room) {
            let prober = self.prober.clone();
            let generation = self.state.generation();
            self.probes.spawn(async move {
                let outcome = prober.probe(&check).await;
                Ended {
                    generation,
                    id,
                    outcome,
                }
            });
        }
    }

    fn notice_readiness(&mut self) {
        let age = self.clock.now().saturating_duration_since(self.started);
        let is_overdue = age > READINESS_DELAY_MAX;
        if is_overdue || self.state.is_every_check_known() {
            self.first_verdicts = None;
        }
        if is_overdue || self.state.is_mesh_known() {
            self.mesh_known = None;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn received(updates: &mut Option<mpsc::Receiver<Update>>) -> Option<Update> {
    match updates {
        Some(updates) => updates.recv().await,
        None => std::future::pending().await,
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            generation,
            id,
            outcome,
        } = self;
        let id: &CheckId = id;
        write!(formatter, "{generation}/{id:?}: {outcome:?}")
    }
}
