//! One cluster: what is true there, its store, and its API server while that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use clustermesh_apiserver::model::{Effect, Input, Model, Part, Write};
use clustermesh_apiserver::publish::Cluster;
use rand::Rng as _;
use rand::rngs::SmallRng;
use topology::diff::Change;
use topology::id::{ClusterName, MeshSize};
use topology::record::{HEARTBEAT, Kind};

use crate::Millis;
use crate::check::{Check, Fault};
use crate::follower::{Follower, Link};
use crate::input::{self, Truth};
use crate::pen::Pen;
use crate::store::{Store, Table};

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) index: usize,
    pub(crate) id: u32,
    pub(crate) truth: Truth,
    /// The clusters that it is configured to mirror.
    pub(crate) remotes: BTreeSet<String>,
    /// Its store is an etcd of its own, which outlives the API server.
    pub(crate) external: bool,
    pub(crate) store: Store,
    /// Until then the API server does not reach its store.
    pub(crate) store_away_until: Millis,
    pub(crate) process: Option<Process>,
    /// The clock of the machine is this far from the simulation's.
    pub(crate) skew: i64,
}

/// What the API server has in memory.
#[derive(Debug)]
pub(crate) struct Process {
    own: ClusterName,
    model: Model,
    pens: BTreeMap<Part, Pen>,
    followers: BTreeMap<ClusterName, Follower>,
    next_tick: Millis,
    /// Whether its own records have been written once; peers reach the embedded store from then on.
    pub(crate) is_open: bool,
}

/// The others, as a follower finds them: the way there, and the store while it is served.
pub(crate) type Neighbours<'a> = BTreeMap<ClusterName, (Link, Option<&'a Store>)>;

const TICK: Millis = 1_000;

/// 2027, so that clocks can be set back without reaching 1970.
const START_UNIX_MILLISECONDS: i64 = 1_800_000_000_000;

pub(crate) fn name(index: usize) -> String {
    format!("c{index}")
}

impl Site {
    pub(crate) fn new(index: usize, clusters: usize, external: bool, origin: Instant) -> Self {
        let others = (0..clusters).filter(|it| *it != index);
        Self {
            index,
            id: u32::try_from(index + 1).expect("few clusters"),
            truth: Truth::new(),
            remotes: others.map(name).collect(),
            external,
            store: Store::new(u64::try_from(index + 1).expect("few clusters"), origin),
            store_away_until: 0,
            process: None,
            skew: 0,
        }
    }

    pub(crate) fn name(&self) -> ClusterName {
        name(self.index).parse().expect("a letter and a digit")
    }

    /// Whether peers reach the store, if the way there is free.
    pub(crate) fn is_serving(&self) -> bool {
        self.external || self.process.as_ref().is_some_and(|it| it.is_open)
    }

    pub(crate) fn start(
        &mut self,
        now: Millis,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        let cluster = Cluster {
            name: self.name(),
            id: self.id.try_into().expect("the ids are few"),
            mesh: MeshSize::default(),
        };
        self.process = Some(Process {
            own: self.name(),
            model: Model::new(cluster, self.wall(now)),
            pens: BTreeMap::new(),
            followers: BTreeMap::new(),
            next_tick: now,
            is_open: false,
        });
        self.apply(input::configured(&self.remotes), now, check, rng)?;
        self.tell_objects(now, check, rng)
    }

    /// Ends the process at once; an embedded store goes with it.
    pub(crate) fn kill(&mut self, instance: u64, origin: Instant) {
        self.process = None;
        if !self.external {
            self.store = Store::new(instance, origin);
        }
    }

    pub(crate) fn tell_objects(
        &mut self,
        now: Millis,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        self.apply(input::objects(self.index, &self.truth), now, check, rng)
    }

    pub(crate) fn tell_remotes(
        &mut self,
        now: Millis,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        self.apply(input::configured(&self.remotes), now, check, rng)
    }

    /// Lets time pass: reads the others, applies what arrived, writes the own store.
    pub(crate) fn advance(
        &mut self,
        neighbours: &Neighbours<'_>,
        now: Millis,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        if 0 < self.store.expire(now) {
            check.forgive(self.index);
        }
        self.tick(now, check, rng)?;
        let mut said = Vec::new();
        for (remote, follower) in self.process.iter_mut().flat_map(|it| &mut it.followers) {
            let (link, store) = neighbours
                .get(remote)
                .copied()
                .unwrap_or((Link::Silent, None));
            follower.read(link, store, now, rng);
            let generation = follower.generation;
            let updates = follower.arrived(now).into_iter();
            said.extend(updates.map(|update| Input::Said {
                remote: remote.clone(),
                generation,
                update,
            }));
        }
        for input in said {
            self.apply(input, now, check, rng)?;
        }
        self.write(now, check, rng)?;
        for (remote, (_, store)) in neighbours {
            let store = store.filter(|it| self.mirrors_all_of(remote, it));
            if store.is_some() {
                check.synced(self.index, remote.as_str(), now);
            }
        }
        Ok(())
    }

    /// Whether everything in the store of `remote` was read and written.
    fn mirrors_all_of(&self, remote: &ClusterName, store: &Store) -> bool {
        self.process.as_ref().is_some_and(|it| {
            let is_read = it
                .followers
                .get(remote)
                .is_some_and(|it| it.is_current(store));
            let pen = it.pens.get(&Part::Remote(remote.clone()));
            is_read && pen.is_some_and(|it| it.is_idle)
        })
    }

    /// Whether nothing is left to be read or written.
    pub(crate) fn is_settled(&self, neighbours: &Neighbours<'_>) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let mirrors = |(name, (_, store)): (&ClusterName, &(Link, Option<&Store>))| {
            store.is_some_and(|it| self.mirrors_all_of(name, it))
        };
        process.is_open && neighbours.iter().all(mirrors)
    }

    fn tick(&mut self, now: Millis, check: &mut Check, rng: &mut SmallRng) -> Result<(), Fault> {
        let Some(process) = self.process.as_mut().filter(|it| it.next_tick <= now) else {
            return Ok(());
        };
        process.next_tick = now + TICK;
        self.apply(Input::Tick, now, check, rng)
    }

    fn apply(
        &mut self,
        input: Input,
        now: Millis,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        let wall = self.wall(now);
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        for effect in process.model.apply(input, wall) {
            process.carry_out(effect, self.index, check, rng)?;
        }
        Ok(())
    }

    fn write(&mut self, now: Millis, check: &mut Check, rng: &mut SmallRng) -> Result<(), Fault> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        if self.external && now < self.store_away_until {
            return Ok(());
        }
        for _ in 0..rng.random_range(1..6) {
            for (part, pen) in &mut process.pens {
                let wrote = pen.write(&mut self.store, rng.random_range(1..8), now);
                process.is_open |= !wrote && *part == Part::Own;
                if wrote {
                    check.observe(self.index, &self.store, now)?;
                }
            }
        }
        Ok(())
    }

    fn wall(&self, now: Millis) -> u64 {
        let now = i64::try_from(now).expect("simulations are short");
        u64::try_from(START_UNIX_MILLISECONDS + now + self.skew).expect("long after 1970")
    }
}

impl Process {
    fn carry_out(
        &mut self,
        effect: Effect,
        own: usize,
        check: &mut Check,
        rng: &mut SmallRng,
    ) -> Result<(), Fault> {
        match effect {
            Effect::Follow {
                remote,
                generation,
                prefixes,
                ..
            } => {
                let follower = Follower::new(generation, prefixes, rng.random_bool(0.5));
                self.followers.insert(remote, follower);
            }
            Effect::Forget { remote } => {
                self.set(own, Part::Remote(remote), Table::new(), check)?;
            }
            Effect::Unfollow { remote } => drop(self.followers.remove(&remote)),
            // Nobody here reads how long a pulse was on its way.
            Effect::Time { .. } => (),
            Effect::Write { part, write } => match write {
                Write::All(table) => {
                    let owned = table
                        .iter()
                        .map(|(key, value)| (key.to_string(), value.to_vec()));
                    self.set(own, part, owned.collect(), check)?;
                }
                Write::Changes(changes) => {
                    for change in changes {
                        self.change(own, &part, change, check)?;
                    }
                }
            },
        }
        Ok(())
    }

    fn set(
        &mut self,
        own: usize,
        part: Part,
        table: Table,
        check: &mut Check,
    ) -> Result<(), Fault> {
        check.desired_anew(own, &part);
        for (key, value) in &table {
            check.desired_put(own, &part, key, value)?;
        }
        self.pen(part).set(table);
        Ok(())
    }

    fn change(
        &mut self,
        own: usize,
        part: &Part,
        change: Change<Arc<str>, Arc<[u8]>>,
        check: &mut Check,
    ) -> Result<(), Fault> {
        match change {
            Change::Delete(key) => {
                check.desired_delete(own, part, &key);
                self.pen(part.clone()).delete(&key);
            }
            Change::Put(key, value) => {
                check.desired_put(own, part, &key, &value)?;
                self.pen(part.clone()).put(key.to_string(), value.to_vec());
            }
        }
        Ok(())
    }

    fn pen(&mut self, part: Part) -> &mut Pen {
        let number = i64::try_from(self.pens.len() + 1).expect("few parts");
        let (owned, last) = keys_of(&self.own, &part);
        let new = || Pen::new(number, owned, last);
        self.pens.entry(part).or_insert_with(new)
    }
}

/// What a part owns and what comes last in it, as `clustermesh_apiserver::hands` has it.
fn keys_of(own: &ClusterName, part: &Part) -> (Vec<String>, Vec<String>) {
    match part {
        Part::Own => (
            vec![
                format!("cilium/cluster-config/{own}"),
                "cilium/state/".to_owned(),
                format!("cilium/synced/{own}/"),
                "causeway/".to_owned(),
                HEARTBEAT.to_owned(),
            ],
            vec![
                format!("cilium/synced/{own}/"),
                "causeway/synced/".to_owned(),
            ],
        ),
        Part::Remote(name) => {
            let kinds = Kind::ALL.map(|it| format!("cilium/cache/{}/v1/{name}/", it.as_str()));
            let synced = format!("cilium/synced/{name}/");
            let config = format!("cilium/cluster-config/{name}");
            (
                kinds.into_iter().chain([config, synced.clone()]).collect(),
                vec![synced],
            )
        }
    }
}
