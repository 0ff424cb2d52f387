//! An API server: the model, with real hands that read and write through wires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clustermesh_apiserver::hands::{Hands, Heard, Measured};
use clustermesh_apiserver::model::{Effect, Input, Model, Part, Write};
use clustermesh_apiserver::moment::Moment;
use clustermesh_apiserver::publish::{Cluster, Remembered};
use clustermesh_apiserver::remember;
use clustermesh_apiserver::reports;
use kvstore::config::EtcdConfig;
use kvstore::follower::{Change, Update};
use kvstore::store::{Store, Way};
use tokio::sync::{mpsc, oneshot};
use topology::diff;
use topology::id::{ClusterName, MeshSize};

use crate::Millis;
use crate::check::{Check, Fault};
use crate::input::{self, Truth};
use crate::server::Server;
use crate::shown::Shown;
use crate::site::{Neighbours, Site};
use crate::wire::{Defect, Link, Wire};

#[derive(Debug)]
pub(crate) struct Process {
    index: usize,
    model: Model,
    hands: Hands,
    heard: mpsc::Receiver<Heard>,
    agents: mpsc::Receiver<Update>,
    /// To the store, if that is elsewhere.
    own_wire: Option<Wire>,
    wires: BTreeMap<ClusterName, Wire>,
    /// Each remote's store, as its follower knows it.
    cluster_ids: BTreeMap<ClusterName, u64>,
    /// Objects wait for what the store remembers.
    remembered: Option<oneshot::Receiver<Remembered>>,
    next_tick: Millis,
    next_pulse: Millis,
    opening: Opening,
}

/// Whether its own records have been written once; peers reach the embedded store from then on.
#[derive(Debug)]
enum Opening {
    Unpublished,
    Publishing(oneshot::Receiver<()>),
    Open,
}

/// What a process starts in.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) clusters: &'a [ClusterName],
    /// What is left to chance in it follows from this.
    pub(crate) seed: u32,
    pub(crate) defect: Option<Defect>,
}

const TICK: Millis = 1_000;
const PULSE: Millis = 5_000;

/// Short, so that leases end within a simulation.
const LEASE_TTL: Duration = Duration::from_secs(60);

/// As `clustermesh_apiserver::serve` has it.
const UPDATES_MAX: usize = 256;

impl Process {
    pub(crate) fn start(site: &Site, surroundings: &Surroundings<'_>, now: Millis) -> Self {
        let mut seeds = u64::from(surroundings.seed)..;
        let mut wire = || Wire::new(seeds.next().unwrap_or_default(), surroundings.defect);
        let own_wire = site.external.then(&mut wire);
        let store = match &own_wire {
            Some(wire) => Store::Via(wire.way()),
            None => Store::Local(site.server.local.clone()),
        };
        let names = surroundings
            .clusters
            .iter()
            .filter(|it| **it != site.name());
        let wires = names.map(|it| (it.clone(), wire()));
        let wires: BTreeMap<ClusterName, Wire> = wires.collect();
        let ways: BTreeMap<String, Way> = wires
            .iter()
            .map(|(name, wire)| (input::host(name.as_str()), wire.way()))
            .collect();
        let (updates, heard) = mpsc::channel(UPDATES_MAX);
        let hands = Hands::new(site.name(), store.clone(), updates, Measured::default())
            .leasing_for(LEASE_TTL)
            .reaching(move |config| reach(&ways, config));
        let cluster = Cluster {
            name: site.name(),
            id: site.id.try_into().expect("the ids are few"),
            mesh: MeshSize::default(),
        };
        Self {
            index: site.index,
            model: Model::new(cluster, input::moment(now, site.skew)),
            hands,
            heard,
            agents: reports::spawn(store.clone()),
            own_wire,
            wires,
            cluster_ids: BTreeMap::new(),
            remembered: Some(remember::spawn(store, site.name())),
            next_tick: now,
            next_pulse: now,
            opening: Opening::Unpublished,
        }
    }

    /// Ends all that it does; its wires end with it.
    pub(crate) async fn kill(mut self) {
        for remote in self.wires.keys().cloned().collect::<Vec<_>>() {
            self.hands.carry_out(Effect::Unfollow { remote }).await;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match self.opening {
            Opening::Open => true,
            Opening::Publishing(_) | Opening::Unpublished => false,
        }
    }

    pub(crate) fn connect_store(&self, link: Link, server: &Server) {
        if let Some(wire) = &self.own_wire {
            wire.set(link, Some((server.life, server.local.clone())));
        }
    }

    /// `server` is absent while nobody serves it.
    pub(crate) fn connect_remote(&self, remote: &ClusterName, link: Link, server: Option<&Server>) {
        if let Some(wire) = self.wires.get(remote) {
            wire.set(link, server.map(|it| (it.life, it.local.clone())));
        }
    }

    /// Takes in the objects, unless it has yet to learn what the store remembers.
    pub(crate) async fn hear_objects(
        &mut self,
        objects: Input,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        if self.remembered.is_some() {
            return Ok(());
        }
        self.apply(objects, now, check).await?;
        if let Opening::Unpublished = self.opening {
            let (written, publishing) = oneshot::channel();
            tokio::spawn(self.hands.tell_written(written));
            self.opening = Opening::Publishing(publishing);
        }
        Ok(())
    }

    /// Takes in what the store remembers, when it has been read, and the objects after it.
    pub(crate) async fn hear_memory(
        &mut self,
        truth: &Truth,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        if let Opening::Publishing(publishing) = &mut self.opening
            && publishing.try_recv().is_ok()
        {
            self.opening = Opening::Open;
        }
        let Some(Ok(remembered)) = self.remembered.as_mut().map(oneshot::Receiver::try_recv) else {
            return Ok(());
        };
        self.remembered = None;
        self.apply(Input::Remembered(remembered), now, check)
            .await?;
        let objects = input::objects(self.index, truth);
        self.hear_objects(objects, now, check).await
    }

    pub(crate) async fn tick(
        &mut self,
        time: Millis,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        if self.next_pulse <= time {
            self.next_pulse = time + PULSE;
            let unix_microseconds = now.unix_milliseconds * 1_000;
            let pulse = Input::Pulse { unix_microseconds };
            self.apply(pulse, now, check).await?;
        }
        if self.next_tick <= time {
            self.next_tick = time + TICK;
            self.apply(Input::Tick, now, check).await?;
        }
        Ok(())
    }

    /// Takes in what its agents have written, once it knows what they wrote before.
    pub(crate) async fn hear_agents(
        &mut self,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        if self.remembered.is_some() {
            return Ok(());
        }
        while let Ok(update) = self.agents.try_recv() {
            self.apply(Input::Agents(update), now, check).await?;
        }
        Ok(())
    }

    /// Takes in what followers heard, some of it twice.
    pub(crate) async fn hear(
        &mut self,
        neighbours: &Neighbours<'_>,
        mut is_repeated: impl FnMut() -> bool,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        // What comes while this is taken in may be newer than what was seen of the stores.
        let arrived = std::iter::from_fn(|| self.heard.try_recv().ok());
        let mut arrived: Vec<Heard> = arrived.collect();
        // Of what comes at the same time, the runtime's order is not the seed's.
        arrived.sort_by_key(|it| remote_of(&it.input).cloned());
        for Heard { input, turn } in arrived {
            let Input::Said {
                remote,
                generation,
                update,
            } = input
            else {
                continue;
            };
            if let Update::Changed(_) = &update
                && is_repeated()
            {
                let again = Input::Said {
                    remote: remote.clone(),
                    generation,
                    update: update.clone(),
                };
                self.apply(again, now, check).await?;
            }
            if let Update::Connected { cluster_id } = &update {
                self.cluster_ids.insert(remote.clone(), *cluster_id);
            }
            let revision = last_of_services(&update);
            let said = Input::Said {
                remote: remote.clone(),
                generation,
                update,
            };
            self.apply(said, now, check).await?;
            let source = neighbours.iter().find(|(it, _)| it.name() == remote);
            if let Some((source, _)) = source {
                self.note_belief(&remote, source.index, &source.shown, revision, check);
            }
            drop(turn);
        }
        Ok(())
    }

    fn note_belief(
        &self,
        remote: &ClusterName,
        source: usize,
        shown: &Shown,
        revision: Option<i64>,
        check: &mut Check,
    ) {
        let cluster_id = self.cluster_ids.get(remote).copied().unwrap_or(0);
        let time = revision.and_then(|it| shown.time_of(cluster_id, it));
        if let Some(at) = time {
            check.believed(self.index, source, at);
        }
    }

    pub(crate) async fn apply(
        &mut self,
        input: Input,
        now: Moment,
        check: &mut Check,
    ) -> Result<(), Fault> {
        for effect in self.model.apply(input, now) {
            self.check(&effect, check)?;
            // Nobody here reads how long a pulse was on its way.
            if !matches!(effect, Effect::Time { .. }) {
                self.hands.carry_out(effect).await;
            }
        }
        Ok(())
    }

    fn check(&self, effect: &Effect, check: &mut Check) -> Result<(), Fault> {
        let reader = self.index;
        match effect {
            Effect::Forget { remote } => {
                check.desired_anew(reader, &Part::Remote(remote.clone()));
            }
            Effect::Follow { .. } | Effect::Time { .. } | Effect::Unfollow { .. } => (),
            Effect::Write { part, write } => match write {
                Write::All(table) => {
                    check.desired_anew(reader, part);
                    for (key, value) in table {
                        check.desired_put(reader, part, key, value)?;
                    }
                }
                Write::Changes(changes) => {
                    for change in changes {
                        check_change(reader, part, change, check)?;
                    }
                }
            },
        }
        Ok(())
    }
}

fn remote_of(input: &Input) -> Option<&ClusterName> {
    match input {
        Input::Said { remote, .. } => Some(remote),
        Input::Agents(_)
        | Input::Configured(_)
        | Input::Objects(_)
        | Input::Pulse { .. }
        | Input::Remembered(_)
        | Input::Tick
        | Input::Users(_) => None,
    }
}

fn check_change(
    reader: usize,
    part: &Part,
    change: &diff::Change<Arc<str>, Arc<[u8]>>,
    check: &mut Check,
) -> Result<(), Fault> {
    match change {
        diff::Change::Delete(key) => check.desired_delete(reader, part, key),
        diff::Change::Put(key, value) => check.desired_put(reader, part, key, value)?,
    }
    Ok(())
}

fn reach(ways: &BTreeMap<String, Way>, config: EtcdConfig) -> Store {
    let host = config.endpoints.first().map(|it| &it.host);
    match host.and_then(|it| ways.get(it)) {
        Some(way) => Store::Via(way.clone()),
        None => Store::Etcd(config),
    }
}

/// The newest revision of a service that an update tells of: all older ones were told, too.
fn last_of_services(update: &Update) -> Option<i64> {
    let revision = |key: &str, revision: i64| key.contains("/services/v1/").then_some(revision);
    match update {
        Update::Changed(changes) => {
            let revisions = changes.iter().filter_map(|change| match change {
                Change::Delete { key, mod_revision } => revision(key, *mod_revision),
                Change::Put(record) => revision(&record.key, record.mod_revision),
            });
            revisions.max()
        }
        Update::Listed(records) => {
            let revisions = records.iter();
            revisions
                .filter_map(|it| revision(&it.key, it.mod_revision))
                .max()
        }
        // A page takes nothing away yet.
        Update::Connected { .. } | Update::Lost { .. } | Update::Page(_) => None,
    }
}
