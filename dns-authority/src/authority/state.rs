//! Everything that the owner's task owns, and how each input changes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use daemon::Clock;
use kvstore::follower::Update;
use topology::health::Health;
use topology::report::{CheckReport, DnsStatus, Problem, ZoneReport};
use tracing::{error, info, warn};

use super::mesh::Names;
use crate::answer::World;
use crate::check::board::{Board, Moment, Verdict};
use crate::check::memory::Memory;
use crate::check::{Check, CheckId};
use crate::geo::Atlas;
use crate::load::{Library, Loaded, MemoryFile};
use crate::metrics::{Metrics, ProbeLabels};
use crate::plan::{Backup, Plan};
use crate::wire::name::Shown;
use crate::zone::Zones;

/// A probe that ended.
pub(super) struct Ended {
    /// Of the set of checks that `id` belongs to.
    pub(super) generation: u64,
    pub(super) id: CheckId,
    pub(super) outcome: Result<(), String>,
}

pub(super) struct State {
    library: Library,
    /// The zones of files; those of the mesh are added when they are published.
    zones: Zones,
    atlas: Arc<Atlas>,
    board: Board,
    generation: u64,
    /// What an earlier life knew.
    memory: Memory,
    memory_file: Option<MemoryFile>,
    /// Whether the health has changed since it was written down.
    is_news: bool,
    names: Names,
    pub(super) follows_mesh: bool,
    world: Arc<ArcSwap<World>>,
    metrics: Metrics,
    clock: Clock,
    listen: Vec<SocketAddr>,
}

impl State {
    pub(super) fn new(
        library: Library,
        atlas: Arc<Atlas>,
        memory_file: Option<MemoryFile>,
        metrics: Metrics,
        clock: Clock,
        listen: Vec<SocketAddr>,
    ) -> Self {
        let now = clock.unix_milliseconds();
        let memory = memory_file
            .as_ref()
            .map_or(Ok(Memory::default()), |it| it.read(now));
        let memory = memory.unwrap_or_else(|error| {
            warn!(
                error = format!("{error:#}"),
                "cannot read the last health; it begins unknown"
            );
            Memory::default()
        });
        Self {
            library,
            zones: Zones::default(),
            atlas,
            board: Board::default(),
            generation: 0,
            memory,
            memory_file,
            is_news: false,
            names: Names::new(now),
            follows_mesh: false,
            world: Arc::default(),
            metrics,
            clock,
            listen,
        }
    }

    /// What answers are made of, as published last.
    pub(super) fn world(&self) -> Arc<ArcSwap<World>> {
        Arc::clone(&self.world)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_every_check_known(&self) -> bool {
        self.board.unknown_count() == 0
    }

    /// Whether all names of services were known once, if there are to be any.
    pub(super) fn is_mesh_known(&self) -> bool {
        !self.follows_mesh || self.names.zone().is_some()
    }

    /// Takes over newly read zones.
    pub(super) fn load(&mut self, Loaded { zones, checks }: Loaded) {
        info!(
            zones = zones.iter().len(),
            checks = checks.iter().len(),
            "loaded"
        );
        let before = std::mem::take(&mut self.board);
        self.board = Board::new(&checks, before, &self.memory, self.now());
        self.generation += 1;
        self.zones = zones;

        self.metrics.forget_checks();
        for verdict in self.board.verdicts() {
            self.metrics.show_check(verdict.check, verdict.health);
        }
        self.publish();
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.board.next_due()
    }

    pub(super) fn take_due(&mut self, limit: usize) -> Vec<(CheckId, Arc<Check>)> {
        self.board.take_due(self.clock.now(), limit)
    }

    pub(super) fn handle_ended(&mut self, ended: Ended) {
        if ended.generation != self.generation {
            return;
        }
        let outcome = if ended.outcome.is_ok() {
            "success"
        } else {
            "failure"
        };
        self.metrics
            .probes
            .get_or_create(&ProbeLabels { outcome })
            .inc();

        let now = self.now();
        let Some(changed) = self.board.handle_outcome(ended.id, ended.outcome, now) else {
            return;
        };
        let health = changed.health;
        match health {
            Health::Healthy => info!(check = %changed.check, "healthy"),
            Health::Unknown | Health::Unhealthy => {
                info!(check = %changed.check, reason = changed.last_error, "unhealthy");
            }
        }
        self.metrics.show_check(changed.check, health);
        self.is_news = true;
        self.publish();
    }

    pub(super) fn handle_update(&mut self, update: Update) {
        let changed = self.names.handle(update, self.clock.unix_milliseconds());
        self.metrics
            .store_connected
            .set(i64::from(self.names.link().connected));
        if changed {
            self.publish();
        }
    }

    /// Looks for changed files, and writes news of health down.
    pub(super) fn handle_tick(&mut self) {
        let problems = self.library.problems();
        match self.library.refresh(&self.atlas) {
            Some(Ok(loaded)) => self.load(loaded),
            Some(Err(error)) => {
                error!(error = format!("{error:#}"), "the zones do not go together");
            }
            None => (),
        }
        for problem in self.library.problems() {
            if !problems.contains(&problem) {
                warn!(
                    problem,
                    "a zone file makes no sense; its zone stays as it was"
                );
                self.metrics.reload_failures.inc();
            }
        }
        if std::mem::take(&mut self.is_news) {
            self.remember();
        }
    }

    /// Writes the health down for the next life.
    pub(super) fn remember(&self) {
        let Some(file) = &self.memory_file else {
            return;
        };
        let memory = Memory::of_board(&self.board, self.clock.unix_milliseconds());
        if let Err(error) = file.write(&memory) {
            warn!(
                error = format!("{error:#}"),
                "the health of targets is not kept"
            );
        }
    }

    pub(super) fn status(&self) -> DnsStatus {
        let published = self.world.load();
        let zones = published.zones.iter().map(|zone| ZoneReport {
            origin: Shown(zone.origin()).to_string(),
            source: match self.library.file_of(zone.origin()) {
                Some(file) => file.display().to_string(),
                None => "mesh".to_owned(),
            },
            names: zone.names(),
        });
        let checks = self.board.verdicts().map(|it| CheckReport {
            target: it.check.to_string(),
            health: it.health,
            since: it.since,
            last_error: it.last_error.to_owned(),
        });
        DnsStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: false,
            listen: self.listen.clone(),
            zones: zones.collect(),
            checks: checks.collect(),
            store: self.follows_mesh.then(|| self.names.link().clone()),
            problems: self.problems(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what: String, remedy: &str| Problem {
            what,
            remedy: remedy.to_owned(),
        };
        let mut problems = Vec::new();
        for what in self.library.problems() {
            problems.push(problem(
                what,
                "mend the file; until then its zone stays as it was",
            ));
        }
        problems.extend(self.board.verdicts().filter_map(|it| verdict_problem(&it)));
        for (name, plan) in failing_open(&self.world.load()) {
            let what = format!(
                "every target of {} ({}) is unhealthy",
                Shown(name),
                plan.function
            );
            let remedy = match plan.backup {
                Backup::Empty => "look at its targets; nothing is answered meanwhile, as it says",
                Backup::Select(_) => "look at its targets; they are answered in doubt meanwhile",
            };
            problems.push(problem(what, remedy));
        }
        let link = self.names.link();
        if self.follows_mesh && !link.connected {
            let what = format!("the mesh's store does not answer: {}", link.reason);
            problems.push(problem(
                what,
                "check --etcd-config and that clustermesh-apiserver runs; names of services stay as they were known last",
            ));
        }
        problems
    }

    /// Makes everything that is known the world that queries are answered from.
    fn publish(&self) {
        let mut zones = self.zones.clone();
        if let Some(zone) = self.names.zone() {
            zones.add_missing(zone);
        }
        let count = |it: usize| i64::try_from(it).unwrap_or(i64::MAX);
        self.metrics.zones.set(count(zones.iter().len()));
        self.metrics
            .checks_unknown
            .set(count(self.board.unknown_count()));

        let world = World {
            zones: Arc::new(zones),
            atlas: Arc::clone(&self.atlas),
            health: self.board.health(),
        };
        self.metrics
            .records_failing_open
            .set(count(failing_open(&world).count()));
        self.world.store(Arc::new(world));
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: self.clock.now(),
            unix_milliseconds: self.clock.unix_milliseconds(),
        }
    }
}

fn verdict_problem(verdict: &Verdict<'_>) -> Option<Problem> {
    let check = verdict.check;
    let (what, remedy) = match (verdict.health, verdict.last_error) {
        (Health::Healthy, _) => return None,
        (Health::Unknown, "") => (
            format!("{check} has no verdict yet"),
            "wait for its first probes",
        ),
        (Health::Unknown, error) => (
            format!("{check} has no verdict yet: {error}"),
            "look at the target; it counts as unhealthy if the next probes fail as well",
        ),
        (Health::Unhealthy, "") => (
            format!("{check} is unhealthy: it was when the process before this one ended"),
            "wait for its first probes",
        ),
        (Health::Unhealthy, error) => (
            format!("{check} is unhealthy: {error}"),
            "look at the target; it is answered only if all others fail",
        ),
    };
    Some(Problem {
        what,
        remedy: remedy.to_owned(),
    })
}

/// The LUA records of whose targets none is healthy and all are known.
fn failing_open(world: &World) -> impl Iterator<Item = (&[u8], &Plan)> {
    let is_down = |plan: &Plan| {
        let mut candidates = plan.sets.iter().flatten();
        candidates.all(|it| {
            let health = it.check.map(|id| world.health.get(id.index()).copied());
            health == Some(Some(Health::Unhealthy))
        })
    };
    let plans = world.zones.iter().flat_map(|it| it.plans());
    plans.filter(move |(_, plan)| is_down(plan))
}
