//! Runs the authority: one task owns zones, health and mesh names, and publishes what answers are
//! made of.

mod admin;
mod draining;
mod ground;
mod mesh;
mod order;
mod peers;
mod planned;
mod problems;
mod save;
mod share;
mod signing;
mod state;
mod verdicts;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::{Clock, Drain, Process, ReadinessGuard};
use kvstore::follower::{self, Follower, Update};
use kvstore::store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::geo::Atlas;
use crate::load::Places;
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::serve::sockets::Sockets;
use crate::serve::{self, Service};
use crate::transfer::desk::Request;
use crate::transfer::notify::Serials;
use ground::Ground;
use peers::Means;
use save::Saver;
use share::Share;
use state::State;
use verdicts::Ended;

/// Probes that are under way at once: each holds a socket, and those that are not answered hold it
/// until their timeout, so that every second target of 10,000 may be silent.
const PROBES_MAX: usize = 8 * 1024;
/// Updates of the store that wait to be applied; the follower waits beyond that.
const UPDATES_MAX: usize = 64;
/// Changes of zones that wait to be made; whoever asks waits beyond that.
const REQUESTS_MAX: usize = 64;
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
    /// Somebody wants a zone changed.
    Change(Request),
    Due,
    Ended(Ended),
    Mesh(Update),
    Saved(anyhow::Result<()>),
    Shared(Update),
    Surveyed(Box<Survey>),
    Shutdown,
    Tick,
}

/// The files of places after a look at them, and where addresses are if that has changed.
struct Survey {
    places: Places,
    atlas: Option<Atlas>,
}

/// Serves DNS as `config` says until the process drains.
pub async fn run(config: Config, mut process: Process) -> anyhow::Result<()> {
    let metrics = Metrics::register(&mut process.registry);
    let store = config.etcd_config.as_deref().map(store).transpose()?;
    let ground = Ground::lay(&config, store.clone(), &metrics, process.clock).await?;
    let certificate = serve::certificate(&config.serving)?;
    let sockets = Sockets::bind(&config.serving, certificate)?;
    let mut state = ground.state;
    state.listen = sockets.addresses();
    let updates = store.clone().map(follow);

    let guard = |what: &'static str| process.readiness.guard(what);
    let first_verdicts = guard("every health check has a first verdict");
    let mesh_known = guard("the names of the mesh's services are known");
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (requests, requested) = mpsc::channel(REQUESTS_MAX);
    let serials = watch::Sender::new(state.serials());
    let desk = ground.peers.start(&Means {
        world: state.world(),
        serials: serials.subscribe(),
        requests,
        clock: process.clock,
    });
    let world = (state.world(), desk);
    let service = Service::new(world, metrics.tallies, process.clock, &config.serving)?;
    let readiness = process.readiness.clone();
    let parent = config.signing.dnssec_parent;
    let routes = admin::routes(state.world(), questions, readiness, store.clone(), parent);
    process.serve_admin(routes);
    let served = sockets.serve(&service, &process.drain);
    served.context("cannot start to answer queries")?;

    let owner = Owner {
        state,
        serials,
        prober: Prober::new(config.probe_roots.as_deref())?,
        probes: JoinSet::new(),
        places: Some(ground.places),
        survey: JoinSet::new(),
        first_verdicts: Some(first_verdicts),
        mesh_known: Some(mesh_known),
        started: process.clock.now(),
        clock: process.clock,
        store,
        share: ground.share,
        saver: ground.saver,
    };
    owner.run(updates, asked, requested, process.drain).await;
    Ok(())
}

/// Follows the records of the own cluster that names are derived from.
fn follow(store: Store) -> mpsc::Receiver<Update> {
    let (sender, updates) = mpsc::channel(UPDATES_MAX);
    let prefixes = mesh::PREFIXES.map(str::to_owned).to_vec();
    tokio::spawn(Follower::new(store, prefixes, follower::Options::default()).run(sender));
    updates
}

fn store(config: &Path) -> anyhow::Result<Store> {
    let config = kvstore::config::EtcdConfig::read(config).context("--etcd-config")?;
    Ok(Store::Etcd(config))
}

struct Owner {
    state: State,
    /// For those who tell secondaries.
    serials: watch::Sender<Serials>,
    prober: Prober,
    probes: JoinSet<Ended>,
    /// `None` while they are looked at.
    places: Option<Places>,
    survey: JoinSet<Box<Survey>>,
    /// Held until the first probes have ended.
    first_verdicts: Option<ReadinessGuard>,
    /// Held until the store was whole once.
    mesh_known: Option<ReadinessGuard>,
    started: Instant,
    clock: Clock,
    /// The way to other authorities, if there is a store.
    share: Option<Share>,
    store: Option<Store>,
    saver: Saver,
}

impl Owner {
    async fn run(
        mut self,
        mut updates: Option<mpsc::Receiver<Update>>,
        mut asked: mpsc::Receiver<admin::Question>,
        mut requested: mpsc::Receiver<Request>,
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
                Some(surveyed) = self.survey.join_next() => {
                    Input::Surveyed(surveyed.expect("reading files does not panic"))
                }
                Some(update) = received(&mut updates) => Input::Mesh(update),
                Some(update) = heard(&mut self.share) => Input::Shared(update),
                saved = self.saver.saved() => Input::Saved(saved),
                Some(question) = asked.recv() => Input::Ask(question),
                Some(request) = requested.recv() => Input::Change(request),
                _ = tick.tick() => Input::Tick,
            };
            match input {
                Input::Ask(question) => question.answer(&mut self.state, self.store.is_some()),
                Input::Change(request) => self.state.handle_request(request),
                Input::Due => self.probe(),
                Input::Ended(ended) => self.handle_ended(ended),
                Input::Mesh(update) => self.state.handle_update(update),
                Input::Saved(outcome) => self.state.handle_saved(outcome),
                Input::Shared(update) => self.state.handle_shared(&update),
                Input::Shutdown => return self.end().await,
                Input::Surveyed(survey) => self.handle_survey(*survey),
                Input::Tick => {
                    self.handle_tick();
                    self.survey();
                }
            }
            if let (Some(table), Some(share)) = (self.state.settle(), &self.share) {
                share.publish(table);
            }
            self.notice_readiness();
            self.notice_versions();
        }
    }

    /// Has secondaries told of zones that changed.
    fn notice_versions(&mut self) {
        if let Some(serials) = self.state.take_serials() {
            self.serials.send_if_modified(|last| {
                let is_news = *last != serials;
                *last = serials;
                is_news
            });
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

    /// Takes in all probes that have ended by now, so that many that end at once are one change.
    fn handle_ended(&mut self, ended: Ended) {
        self.state.handle_ended(ended);
        while let Some(ended) = self.probes.try_join_next() {
            let ended = ended.expect("a probe does not panic and is never aborted");
            self.state.handle_ended(ended);
        }
    }

    fn handle_tick(&mut self) {
        self.state.handle_tick();
        let over = self.state.forget_drains();
        if let Some(store) = self.store.clone().filter(|_| !over.is_empty()) {
            order::forget(store, over);
        }
        if self.saver.is_free()
            && let Some(news) = self.state.take_news()
        {
            self.saver.save(news);
        }
    }

    /// Leaves nothing behind that is not true any more, and everything that is.
    async fn end(mut self) {
        if let Some(share) = self.share.take() {
            share.end().await;
        }
        self.saver.end(self.state.take_news()).await;
    }

    /// Begins to find out where addresses are now, if files or the mesh say otherwise.
    fn survey(&mut self) {
        let Some(mut places) = self.places.take() else {
            return;
        };
        let mesh = self.state.take_mesh_places();
        if mesh.is_none() && !places.is_changed() {
            self.places = Some(places);
            return;
        }
        self.survey.spawn_blocking(move || {
            let changed = places.refresh();
            let atlas = match mesh {
                None => changed,
                Some(mesh) => Some(places.with_mesh(mesh)),
            };
            Box::new(Survey { places, atlas })
        });
    }

    fn handle_survey(&mut self, Survey { places, atlas }: Survey) {
        self.state.handle_places(places.problems(), atlas);
        self.places = Some(places);
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

async fn heard(share: &mut Option<Share>) -> Option<Update> {
    match share {
        Some(share) => share.next().await,
        None => std::future::pending().await,
    }
}
