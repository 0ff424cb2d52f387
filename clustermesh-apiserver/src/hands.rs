//! Carries out what the model wants: writers towards our store, followers of the remotes'.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use kvstore::config::EtcdConfig;
use kvstore::follower::{self, Follower};
use kvstore::measures::Measures;
use kvstore::store::Store;
use kvstore::writer::{self, Progress, Writer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use topology::id::ClusterName;
use topology::record::Kind;

use crate::journal::Throttle;
use crate::model::{Effect, Input, Part, Write};
use crate::remote::Table;

mod forward;

use forward::Forwarder;

/// Updates of one remote on their way from its follower; each is a page of a list, or whole
/// revisions. Remotes may be hundreds, and each page has some hundred kilobytes.
const UPDATES_MAX: usize = 1;

/// Keys per page of a remote's list: enough to make the round trip cheap.
const PAGE_KEYS: u32 = 1_000;

/// Remotes that are listed at a time: their pages are what costs memory when hundreds of remotes are
/// met at once, and more of them would not be faster.
const LISTS_MAX: usize = 16;

/// How much the start of each remote's follower spreads the start of all, and at most.
const START_SPREAD: Duration = Duration::from_millis(2);
const START_SPREAD_MAX: Duration = Duration::from_millis(500);

/// Measurements that nobody has asked for yet.
const BEATS_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Hands {
    own: ClusterName,
    store: Store,
    updates: mpsc::Sender<Heard>,
    /// Writes the own part.
    publisher: Option<Writer>,
    /// Writes what is mirrored, each remote in a lane of its own.
    mirror: Option<Writer>,
    followers: BTreeMap<ClusterName, Following>,
    measures: Measured,
    lists: Arc<Semaphore>,
    /// The last generations that the writers were given.
    published_generation: u64,
    mirrored_generation: u64,
    /// Measurements under way: at most one for each remote.
    timers: BTreeMap<ClusterName, JoinHandle<()>>,
    beats: (mpsc::Sender<Beat>, mpsc::Receiver<Beat>),
    lease_ttl: Duration,
    reach: Reach,
}

/// What is counted of the two parts of our store.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub publisher: Measures,
    pub mirror: Measures,
}

/// A remote that is followed.
#[derive(Debug)]
struct Following {
    task: JoinHandle<()>,
    throttle: watch::Receiver<Throttle>,
}

/// What a remote said, in its turn: the remote says no more before this is dropped.
#[derive(Debug)]
pub struct Heard {
    pub input: Input,
    pub turn: OwnedSemaphorePermit,
}

/// How long it was since a remote's publisher wrote until our store had it.
#[derive(Clone, Debug)]
pub struct Beat {
    pub remote: ClusterName,
    pub latency_microseconds: u64,
}

/// How a remote's store is found.
struct Reach(Box<dyn Fn(EtcdConfig) -> Store + Send>);

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").finish_non_exhaustive()
    }
}

impl Hands {
    /// `updates` takes what followers hear.
    pub fn new(
        own: ClusterName,
        store: Store,
        updates: mpsc::Sender<Heard>,
        measures: Measured,
    ) -> Self {
        Self {
            own,
            store,
            updates,
            publisher: None,
            mirror: None,
            followers: BTreeMap::new(),
            measures,
            lists: Arc::new(Semaphore::new(LISTS_MAX)),
            published_generation: 0,
            mirrored_generation: 0,
            timers: BTreeMap::new(),
            beats: mpsc::channel(BEATS_MAX),
            lease_ttl: writer::Options::default().lease_ttl,
            reach: Reach(Box::new(Store::Etcd)),
        }
    }

    /// What is written ends so long after the process. For hands that have not written yet.
    #[must_use]
    pub fn leasing_for(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// Remotes' stores are found through `reach`.
    #[must_use]
    pub fn reaching(mut self, reach: impl Fn(EtcdConfig) -> Store + Send + 'static) -> Self {
        self.reach = Reach(Box::new(reach));
        self
    }

    pub async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Follow {
                remote,
                generation,
                config,
                prefixes,
                optional_prefixes,
                changes_per_second,
            } => {
                self.unfollow(&remote);
                let options = self.follower_options(optional_prefixes);
                let follower = Follower::new((self.reach.0)(*config), prefixes, options);
                self.follow(follower, remote, generation, changes_per_second);
            }
            Effect::Forget { remote } => {
                let nothing = Write::All(Table::new());
                self.write(Part::Remote(remote), nothing).await;
            }
            Effect::Time {
                remote,
                sent_unix_microseconds,
            } => self.time(remote, sent_unix_microseconds),
            Effect::Unfollow { remote } => self.unfollow(&remote),
            Effect::Write { part, write } => self.write(part, write).await,
        }
    }

    /// Our store, for those who want to look at it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Why our store cannot be written, if it cannot.
    pub fn store_problem(&self) -> Option<String> {
        let writer = self.publisher.as_ref()?;
        writer.progress().borrow().problem.clone()
    }

    /// Tells when everything that was written of the own part until now is in the store.
    pub fn tell_written(&self, written: oneshot::Sender<()>) -> impl Future<Output = ()> + use<> {
        let progress = self.publisher.as_ref().map(Writer::progress);
        let generation = self.published_generation;
        async move {
            if let Some(progress) = progress {
                settled(progress, generation).await;
                // Nobody waits any more when the process ends already.
                let _ = written.send(());
            }
        }
    }

    /// What was measured since this was asked last.
    pub fn take_beats(&mut self) -> Vec<Beat> {
        let receiver = &mut self.beats.1;
        std::iter::from_fn(|| receiver.try_recv().ok()).collect()
    }

    /// How each remote is held back by its contract.
    pub fn throttles(&self) -> impl Iterator<Item = (&ClusterName, Throttle)> {
        let followers = self.followers.iter();
        followers.map(|(remote, it)| (remote, *it.throttle.borrow()))
    }

    async fn write(&mut self, part: Part, write: Write) {
        let (store, measures) = (&self.store, &self.measures);
        match part {
            Part::Own => {
                let options = || writer::Options {
                    lease_ttl: self.lease_ttl,
                    measures: measures.publisher.clone(),
                    ..publisher_options(&self.own)
                };
                let spawn = || Writer::spawn(store.clone(), options());
                let writer = self.publisher.get_or_insert_with(spawn);
                self.published_generation = match write {
                    Write::All(table) => writer.set(table).await,
                    Write::Changes(changes) => writer.apply(changes).await,
                };
            }
            Part::Remote(name) => {
                let options = || writer::Options {
                    lease_ttl: self.lease_ttl,
                    measures: measures.mirror.clone(),
                    ..mirror_options()
                };
                let spawn = || Writer::spawn(store.clone(), options());
                let writer = self.mirror.get_or_insert_with(spawn);
                let lane = name.as_str();
                self.mirrored_generation = match write {
                    Write::All(table) => writer.set_in(lane, mirrored_prefixes(&name), table).await,
                    Write::Changes(changes) => writer.apply_in(lane, changes).await,
                };
            }
        }
    }

    fn follower_options(&self, optional_prefixes: Vec<String>) -> follower::Options {
        let followers = u32::try_from(self.followers.len()).unwrap_or(u32::MAX);
        let spread = START_SPREAD.saturating_mul(followers);
        follower::Options {
            page_keys: PAGE_KEYS,
            is_paged: true,
            optional_prefixes,
            lists: Some(Arc::clone(&self.lists)),
            start_delay_max: spread.min(START_SPREAD_MAX),
            measures: self.measures.mirror.clone(),
            ..follower::Options::default()
        }
    }

    /// Brings what a follower hears to the model.
    fn follow(
        &mut self,
        follower: Follower,
        remote: ClusterName,
        generation: u64,
        changes_per_second: Option<NonZeroU32>,
    ) {
        let (sender, heard) = mpsc::channel(UPDATES_MAX);
        let (forwarder, throttle) = Forwarder::new(remote.clone(), generation, changes_per_second);
        let updates = self.updates.clone();
        let task = tokio::spawn(async move {
            tokio::join!(follower.run(sender), forwarder.run(heard, updates));
        });
        self.followers.insert(remote, Following { task, throttle });
    }

    fn unfollow(&mut self, remote: &ClusterName) {
        if let Some(following) = self.followers.remove(remote) {
            following.task.abort();
        }
    }

    fn time(&mut self, remote: ClusterName, sent_unix_microseconds: u64) {
        let is_busy = self.timers.get(&remote).is_some_and(|it| !it.is_finished());
        let Some(mirror) = self.mirror.as_ref().filter(|_| !is_busy) else {
            return;
        };
        let (progress, generation) = (mirror.progress(), self.mirrored_generation);
        let (beats, name) = (self.beats.0.clone(), remote.clone());
        let timer = tokio::spawn(async move {
            settled(progress, generation).await;
            let beat = Beat {
                remote: name,
                latency_microseconds: Clock
                    .unix_microseconds()
                    .saturating_sub(sent_unix_microseconds),
            };
            // If nobody asks, nobody misses it.
            let _ = beats.try_send(beat);
        });
        self.timers.insert(remote, timer);
    }
}

async fn settled(mut progress: watch::Receiver<Progress>, generation: u64) {
    let settled = progress.wait_for(|it| generation <= it.settled_generation);
    // An error says that the writer is gone, and the process with it.
    let _ = settled.await;
}

/// What the own part owns, so that keys of a former life are removed, and what comes last in it.
fn publisher_options(own: &ClusterName) -> writer::Options {
    let canaries = format!("cilium/synced/{own}/");
    writer::Options {
        owned_prefixes: vec![
            format!("cilium/cluster-config/{own}"),
            "cilium/state/".to_owned(),
            canaries.clone(),
            format!("causeway/capabilities/{own}"),
            format!("causeway/delta/services/v1/{own}/"),
            "causeway/export/".to_owned(),
            format!("causeway/pulse/{own}"),
            format!("causeway/state/services/v1/{own}/"),
            "causeway/state/peers/v1/".to_owned(),
        ],
        last_prefixes: vec![canaries, "causeway/synced/".to_owned()],
        ..writer::Options::default()
    }
}

/// What all mirrored parts lie in. Nothing of it is removed before it is known whose it is.
fn mirror_options() -> writer::Options {
    let [cache, configs, canaries] =
        ["cilium/cache/", "cilium/cluster-config/", "cilium/synced/"].map(str::to_owned);
    writer::Options {
        owned_prefixes: vec![cache, configs.clone(), canaries.clone()],
        reasserted_prefixes: vec![configs],
        last_prefixes: vec![canaries],
        ..writer::Options::default()
    }
}

/// What belongs to one remote.
fn mirrored_prefixes(name: &ClusterName) -> Vec<String> {
    let kinds = Kind::ALL.map(|it| format!("cilium/cache/{}/v1/{name}/", it.as_str()));
    let config = format!("cilium/cluster-config/{name}");
    let synced = format!("cilium/synced/{name}/");
    kinds.into_iter().chain([config, synced]).collect()
}
