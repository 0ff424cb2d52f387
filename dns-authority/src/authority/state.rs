//! Everything that the owner's task owns, and how each input changes it.

mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use daemon::Clock;
use kvstore::follower::Update;
use topology::health::Health;
use tracing::{error, info, warn};

use super::draining::{Draining, Order, Ordered};
use super::mesh::Names;
use super::planned::{Planned, planned};
use super::signing::Signing;
use super::verdicts::{Ended, Verdicts};
use crate::answer::World;
use crate::check::board::Moment;
use crate::check::memory::Memory;
use crate::check::{Check, CheckId};
use crate::geo::{Atlas, Overrides};
use crate::keeper::Keeper;
use crate::lifetime::{Bounds, Lifetimes};
use crate::load::{Library, Loaded};
use crate::metrics::{Metrics, ProbeLabels};
use crate::shared_health::publication::Table;
use crate::transfer::desk::{Edit, Request};
use crate::transfer::notify::Serials;
use crate::zone::Zones;

/// Verdicts and drains that are worth writing down, which takes a while if there are many.
pub(super) struct News {
    known: Option<Vec<(Arc<Check>, Health, u64)>>,
    /// As they are on disk.
    drains: Option<String>,
    /// In milliseconds since 1970.
    at: u64,
}

impl News {
    /// The verdicts and the drains, as far as they are news.
    pub(super) fn into_parts(self) -> (Option<Memory>, Option<String>) {
        let memory = self.known.map(|it| Memory::of_verdicts(it, self.at));
        (memory, self.drains)
    }
}

pub(super) struct State {
    library: Library,
    keeper: Keeper,
    /// Whether secondaries may have to be told of something.
    are_versions_new: bool,
    /// The zones of files; those of the mesh are added when they are published.
    zones: Zones,
    signing: Signing,
    atlas: Arc<Atlas>,
    /// What is wrong with the files that say where addresses are.
    place_problems: Vec<String>,
    pub(super) verdicts: Verdicts,
    draining: Draining,
    pub(super) bounds: Bounds,
    planned: Vec<Planned>,
    /// Why verdicts are not written down, if so.
    save_problem: Option<String>,
    names: Names,
    pub(super) follows_mesh: bool,
    world: Arc<ArcSwap<World>>,
    metrics: Metrics,
    clock: Clock,
    /// Where queries are answered.
    pub(super) listen: Vec<SocketAddr>,
}

impl State {
    pub(super) fn new(
        (library, keeper): (Library, Keeper),
        atlas: Arc<Atlas>,
        verdicts: Verdicts,
        draining: Draining,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let now = clock.unix_milliseconds();
        Self {
            library,
            keeper,
            are_versions_new: true,
            zones: Zones::default(),
            signing: Signing::default(),
            atlas,
            place_problems: Vec::new(),
            verdicts,
            draining,
            bounds: Bounds::default(),
            planned: Vec::new(),
            save_problem: None,
            names: Names::new(now),
            follows_mesh: false,
            world: Arc::default(),
            metrics,
            clock,
            listen: Vec::new(),
        }
    }

    /// What answers are made of, as published last.
    pub(super) fn world(&self) -> Arc<ArcSwap<World>> {
        Arc::clone(&self.world)
    }

    pub(super) fn generation(&self) -> u64 {
        self.verdicts.generation()
    }

    pub(super) fn is_every_check_known(&self) -> bool {
        self.verdicts.unknown_count() == 0
    }

    /// Whether all names of services were known once, if there are to be any.
    pub(super) fn is_mesh_known(&self) -> bool {
        !self.follows_mesh || self.names.zone().is_some()
    }

    /// Has zones signed from now on.
    pub(super) fn sign(&mut self, signing: Signing) {
        self.signing = signing;
    }

    /// Takes over newly read zones.
    pub(super) fn load(&mut self, Loaded { zones, checks }: Loaded) {
        info!(
            zones = zones.iter().len(),
            checks = checks.iter().len(),
            "loaded"
        );
        self.keeper.load(&zones);
        self.keeper
            .renew_list(self.clock.unix_milliseconds() / 1000);
        self.zones = self.keeper.zones();
        self.are_versions_new = true;
        self.verdicts.load(&checks, self.now());
        self.planned = planned(&self.zones);
        self.draining.find(&self.planned, &self.atlas);
        self.metrics.targets.load(&checks);
        for (index, health) in self.verdicts.health().iter().enumerate() {
            self.metrics.targets.show_health(index, *health);
        }
        self.publish();
    }

    /// Changes a zone as somebody asked who may.
    pub(super) fn handle_request(&mut self, request: Request) {
        let (keeper, origin) = (&mut self.keeper, &request.origin);
        let now = self.clock.unix_milliseconds() / 1000;
        let outcome = match request.edit {
            Edit::Change(change) => keeper.change(origin, change),
            Edit::Expire => Ok(keeper.expire(origin)),
            Edit::Install(fetched) => keeper.install(origin, fetched, now),
        };
        if let Ok(Some(zone)) = &outcome {
            self.zones.insert(Arc::clone(zone));
            self.are_versions_new = true;
            self.publish();
        }
        // Whoever asked may have gone.
        let _ = request.done.send(outcome.map(|_| ()));
    }

    /// The serials that secondaries are told of.
    pub(super) fn serials(&self) -> Serials {
        self.keeper.serials()
    }

    /// The same if zones have come in other versions since it was asked last.
    pub(super) fn take_serials(&mut self) -> Option<Serials> {
        let is_news = std::mem::take(&mut self.are_versions_new);
        is_news.then(|| self.serials())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.verdicts.next_due()
    }

    pub(super) fn take_due(&mut self, limit: usize) -> Vec<(CheckId, Arc<Check>)> {
        self.verdicts.take_due(self.clock.now(), limit)
    }

    pub(super) fn handle_ended(&mut self, ended: Ended) {
        if ended.generation != self.generation() {
            return;
        }
        let is_success = ended.outcome.is_ok();
        let outcome = if is_success { "success" } else { "failure" };
        let labels = ProbeLabels { outcome };
        self.metrics.probes.get_or_create(&labels).inc();

        let (id, now) = (ended.id, self.now());
        self.verdicts.handle_ended(ended, now);
        let history = self.verdicts.verdict(id, now.monotonic).history;
        let took = history.took.unwrap_or_default();
        let targets = &self.metrics.targets;
        targets.count_probe(id.index(), is_success, took);
    }

    /// Takes in what the store tells of other authorities.
    pub(super) fn handle_shared(&mut self, update: &Update) {
        self.verdicts.handle_update(update, self.now());
        if self.draining.handle_update(update) {
            self.draining.find(&self.planned, &self.atlas);
            self.publish();
        }
    }

    /// Takes an order about a drain, which is in force at once unless others have to hear of it first.
    pub(super) fn order(&mut self, order: &Order, is_shared: bool) -> Result<Ordered, String> {
        let records = (self.planned.as_slice(), &*self.atlas);
        let at = (self.bounds, self.clock.unix_milliseconds());
        let ordered = self.draining.order(order, records, at, is_shared)?;
        if !is_shared {
            self.draining.find(&self.planned, &self.atlas);
            self.publish();
        }
        Ok(ordered)
    }

    /// Forgets drains that are undone and over, and returns their keys in the store.
    pub(super) fn forget_drains(&mut self) -> Vec<String> {
        self.draining.forget_over(self.clock.unix_milliseconds())
    }

    /// Draws the conclusions of all that was taken in, and returns what others are to be told.
    pub(super) fn settle(&mut self) -> Option<Table> {
        let now = self.now();
        let changed = self.verdicts.decide(now);
        for id in &changed {
            let health = self.verdicts.health()[id.index()];
            self.metrics.targets.show_health(id.index(), health);
        }
        if !changed.is_empty() {
            self.publish();
        }
        self.verdicts.publication(now.monotonic)
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
        self.verdicts.handle_tick(self.now());
        let now = self.clock.unix_milliseconds();
        let is_signed_anew = self.signing.handle_tick(now / 1000);
        // A second after it has ended, a drain's last step is taken.
        let is_draining = self.draining.is_moving(now.saturating_sub(2_000));
        if is_signed_anew || is_draining || !self.bounds.is_none() {
            self.publish();
        }
    }

    /// Where the mesh says that its prefixes are, if that is news.
    pub(super) fn take_mesh_places(&mut self) -> Option<Overrides> {
        self.names.take_places()
    }

    /// Takes over where addresses are now, if that is known anew.
    pub(super) fn handle_places(&mut self, problems: Vec<String>, atlas: Option<Atlas>) {
        for problem in problems
            .iter()
            .filter(|it| !self.place_problems.contains(it))
        {
            warn!(
                problem,
                "a file of places makes no sense; they stay as they were"
            );
            self.metrics.reload_failures.inc();
        }
        self.place_problems = problems;
        let Some(atlas) = atlas else {
            return;
        };
        info!("addresses are elsewhere now");
        self.atlas = Arc::new(atlas);
        match self.library.relocate(&self.atlas) {
            Ok(loaded) => self.load(loaded),
            Err(error) => error!(error = format!("{error:#}"), "the zones do not go together"),
        }
    }

    /// What is worth writing down for the next life, if it is news.
    pub(super) fn take_news(&mut self) -> Option<News> {
        let (known, drains) = (self.verdicts.take_news(), self.draining.take_news());
        (known.is_some() || drains.is_some()).then(|| News {
            known,
            drains,
            at: self.clock.unix_milliseconds(),
        })
    }

    /// Takes in whether news could be written down.
    pub(super) fn handle_saved(&mut self, outcome: anyhow::Result<()>) {
        let problem = outcome.err().map(|it| format!("{it:#}"));
        if let Some(error) = problem.as_ref().filter(|_| self.save_problem.is_none()) {
            warn!(error, "the health of targets is not kept");
        }
        if problem.is_some() {
            self.verdicts.keep_news();
            self.draining.keep_news();
        }
        self.save_problem = problem;
    }

    /// Makes everything that is known the world that queries are answered from.
    fn publish(&mut self) {
        let mut zones = self.zones.clone();
        if let Some(zone) = self.names.zone() {
            zones.add_missing(zone);
        }
        let zones = self.signing.signed(zones);
        let count = |it: usize| i64::try_from(it).unwrap_or(i64::MAX);
        self.metrics.zones.set(count(zones.iter().len()));
        let lacking = zones.iter().filter(|it| it.lack().is_some()).count();
        self.metrics.zones_lacking.set(count(lacking));
        self.metrics
            .checks_unknown
            .set(count(self.verdicts.unknown_count()));
        let (heard, doubted) = self.verdicts.vantages();
        self.metrics.vantages_heard.set(count(heard));
        self.metrics.vantages_doubted.set(count(doubted));

        let now = self.clock.unix_milliseconds();
        let world = World {
            zones: Arc::new(zones),
            atlas: Arc::clone(&self.atlas),
            health: Arc::clone(self.verdicts.health()),
            measures: Arc::default(),
            scales: self.draining.scales(now),
            lifetimes: Arc::new(Lifetimes {
                bounds: self.bounds,
                now,
                since: match self.bounds.is_none() {
                    true => Arc::default(),
                    false => self.verdicts.since().into(),
                },
            }),
        };
        self.metrics
            .records_failing_open
            .set(count(self.failing_open().count()));
        self.world.store(Arc::new(world));
    }

    /// The LUA records of whose targets none is healthy and all are known.
    fn failing_open(&self) -> impl Iterator<Item = &Planned> {
        let health = self.verdicts.health();
        let is_down = |id: &CheckId| health.get(id.index()) == Some(&Health::Unhealthy);
        let checked = self.planned.iter().filter(|it| !it.checks.is_empty());
        checked.filter(move |it| it.checks.iter().all(is_down))
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: self.clock.now(),
            unix_milliseconds: self.clock.unix_milliseconds(),
        }
    }
}
