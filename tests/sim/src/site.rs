//! One cluster: what is true there, its store, and its API server while that runs.

use std::collections::BTreeSet;

use topology::health::Health;
use topology::id::ClusterName;
use topology::record::{ClusterReach, Key, PeerState, Reach, Record};

use crate::Millis;
use crate::check::{Check, Fault};
use crate::input::{self, Truth};
use crate::process::{Process, Surroundings};
use crate::server::{Audience, Server};
use crate::shown::{Seen, Shown};
use crate::wire::Link;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) index: usize,
    pub(crate) id: u32,
    pub(crate) truth: Truth,
    /// The clusters that it is configured to mirror.
    pub(crate) remotes: BTreeSet<String>,
    /// Its store is an etcd of its own, which outlives the API server.
    pub(crate) external: bool,
    pub(crate) server: Server,
    pub(crate) shown: Shown,
    /// Until then the API server does not reach its store.
    pub(crate) store_away_until: Millis,
    pub(crate) process: Option<Process>,
    /// The clock of the machine is this far from the simulation's.
    pub(crate) skew: i64,
    /// When a living API server reached the store for the last time.
    contact: Millis,
    /// Until then readers of the store may lose what they saw: its leases ended.
    forgiven_until: Millis,
    /// When processes died whose leases live on in the store.
    deaths: Vec<Millis>,
}

/// The others, as a site finds them.
pub(crate) type Neighbours<'a> = Vec<(&'a Site, Link)>;

/// The least time without contact in which a lease may end: its time to live without a renewal.
const CONTACT_LOST: Millis = 39_000;

/// When all leases of a process that died have ended.
const LEASES_GONE: Millis = 65_000;

/// How long after a lease ended its keys may still be missing.
const FORGIVENESS: Millis = 5_000;

pub(crate) fn name(index: usize) -> String {
    format!("c{index}")
}

impl Site {
    pub(crate) fn new(index: usize, clusters: usize, external: bool, audience: Audience) -> Self {
        let others = (0..clusters).filter(|it| *it != index);
        let life = u64::try_from(index + 1).expect("few clusters");
        Self {
            index,
            id: u32::try_from(index + 1).expect("few clusters"),
            truth: Truth::new(),
            remotes: others.map(name).collect(),
            external,
            server: Server::start(index, life, audience),
            shown: Shown::new(life),
            store_away_until: 0,
            process: None,
            skew: 0,
            contact: 0,
            forgiven_until: 0,
            deaths: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> ClusterName {
        name(self.index).parse().expect("a letter and a digit")
    }

    /// Whether peers reach the store, if the way there is free.
    pub(crate) fn is_serving(&self) -> bool {
        self.external || self.process.as_ref().is_some_and(Process::is_open)
    }

    pub(crate) async fn start(
        &mut self,
        surroundings: &Surroundings<'_>,
        now: Millis,
        check: &mut Check,
    ) -> Result<(), Fault> {
        self.process = Some(Process::start(self, surroundings, now));
        self.tell_remotes(now, check).await
    }

    /// Ends the process at once; an embedded store goes with it.
    pub(crate) async fn kill(&mut self, life: u64, now: Millis, audience: Audience) {
        if let Some(process) = self.process.take() {
            process.kill().await;
            self.deaths.push(now);
        }
        if !self.external {
            self.replace_store(life, audience);
        }
    }

    /// The store comes back without what it had.
    pub(crate) fn replace_store(&mut self, life: u64, audience: Audience) {
        self.server = Server::start(self.index, life, audience);
        self.shown = Shown::new(life);
    }

    /// What a watch told of the store.
    pub(crate) fn see(&mut self, seen: Seen, check: &mut Check) -> Result<(), Fault> {
        if seen.life != self.server.life {
            return Ok(());
        }
        let at = seen.at;
        self.shown.take_in(seen);
        let leases_end =
            |death: &Millis| (CONTACT_LOST..LEASES_GONE).contains(&at.saturating_sub(*death));
        if at <= self.forgiven_until || self.deaths.iter().any(leases_end) {
            check.forgive(self.index);
        }
        check.observe(self.index, &self.shown, at)
    }

    /// Its leases may end now.
    pub(crate) fn forgive(&mut self, now: Millis) {
        self.forgiven_until = now + FORGIVENESS;
    }

    /// What its agents are told of another cluster.
    pub(crate) fn told_of(&self, other: &ClusterName) -> Option<PeerState> {
        let key = Key::Peer(other.clone());
        let table = self.shown.table(&key.published());
        let record = Record::decode(&key, table.values().next()?, None);
        let Ok(Record::Peer(state)) = record else {
            return None;
        };
        Some(state)
    }

    /// One of its nodes, which has tunnels there alone, says what it sees of the other cluster.
    pub(crate) async fn report(&self, node: u8, other: &ClusterName, health: Health) {
        let reach = ClusterReach {
            health,
            since_unix_milliseconds: 1,
            round_trip_microseconds: Some(900),
            loss_per_mille: 0,
            path_mtu: None,
        };
        let node = format!("n{node}-{other}").parse().expect("a name");
        let key = Key::Reach(self.name(), node).published();
        let clusters = [(other.clone(), reach)].into();
        let value = Record::Reach(Reach { clusters }).encode();
        self.server.put(&key, value).await;
    }

    pub(crate) async fn tell_objects(
        &mut self,
        now: Millis,
        check: &mut Check,
    ) -> Result<(), Fault> {
        let objects = input::objects(self.index, &self.truth);
        let moment = input::moment(now, self.skew);
        match &mut self.process {
            Some(process) => process.hear_objects(objects, moment, check).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn tell_remotes(
        &mut self,
        now: Millis,
        check: &mut Check,
    ) -> Result<(), Fault> {
        let remotes = input::configured(&self.remotes);
        let moment = input::moment(now, self.skew);
        match &mut self.process {
            Some(process) => process.apply(remotes, moment, check).await,
            None => Ok(()),
        }
    }

    /// Leads the process' ways to where the stores are now.
    pub(crate) fn connect(&self, neighbours: &Neighbours<'_>, now: Millis) {
        let Some(process) = &self.process else {
            return;
        };
        let own = match now < self.store_away_until {
            true => Link::Silent,
            false => Link::Up,
        };
        process.connect_store(own, &self.server);
        for (other, link) in neighbours {
            let server = other.is_serving().then_some(&other.server);
            process.connect_remote(&other.name(), *link, server);
        }
    }

    /// Lets the process take in what arrived.
    pub(crate) async fn advance(
        &mut self,
        neighbours: &Neighbours<'_>,
        now: Millis,
        is_repeated: impl FnMut() -> bool,
        check: &mut Check,
    ) -> Result<(), Fault> {
        self.connect(neighbours, now);
        self.note_contact(now);
        let moment = input::moment(now, self.skew);
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        process.hear_memory(&self.truth, moment, check).await?;
        process.hear_agents(moment, check).await?;
        process.tick(now, moment, check).await?;
        let heard = process.hear(neighbours, is_repeated, moment, check);
        heard.await
    }

    fn note_contact(&mut self, now: Millis) {
        if self.contact + CONTACT_LOST <= now {
            self.forgive(now);
        }
        if self.process.is_some() && self.store_away_until <= now {
            self.contact = now;
        }
    }
}
