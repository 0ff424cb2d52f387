//! Keeps keys of a store equal to a desired table, under leases, over every loss of connection.

pub mod plan;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use topology::diff::Change;

use crate::measures::Measures;
use crate::store::{Link, Store};
use plan::{Key, Plan, Value};
use session::Session;

#[derive(Clone, Debug)]
pub struct Options {
    /// Prefixes that belong to this writer alone, or whose parts belong to its lanes: keys of a former
    /// life that are not desired any more are deleted once everything desired is in place, and what
    /// others delete is put again. What does not end with `/` is a key itself, and is put again also
    /// when others change it.
    pub owned_prefixes: Vec<String>,
    /// Owned prefixes under which keys are put again also when others change them, and not only when
    /// they delete them. For few keys: our own writes come back as well.
    pub reasserted_prefixes: Vec<String>,
    /// Keys with these prefixes are put after all others of their lane: they announce that the rest is
    /// complete.
    pub last_prefixes: Vec<String>,
    pub lease_ttl: Duration,
    pub keys_per_lease: usize,
    pub link: Link,
    pub measures: Measures,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            owned_prefixes: Vec::new(),
            reasserted_prefixes: Vec::new(),
            last_prefixes: Vec::new(),
            lease_ttl: Duration::from_secs(15 * 60),
            keys_per_lease: 1_000,
            link: Link::default(),
            measures: Measures::default(),
        }
    }
}

/// How far the store is from what is desired.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub connected: bool,
    /// Every command up to this generation is in the store.
    pub settled_generation: u64,
    /// Why there is no connection, if there is none.
    pub problem: Option<String>,
}

/// The desired table's owner. Dropping it stops writing and leaves the keys to their leases.
///
/// One table may have several lanes, each with an owner, prefixes and an order of its own. Lanes take
/// turns, so that a busy one does not keep the others waiting.
#[derive(Debug)]
pub struct Writer {
    commands: mpsc::Sender<Command>,
    progress: watch::Receiver<Progress>,
    generation: u64,
}

/// What the owner wants of the task that writes.
enum Command {
    Apply {
        lane: Arc<str>,
        changes: Vec<Change<Key, Value>>,
    },
    Set {
        lane: Arc<str>,
        /// `None` for all owned ones.
        prefixes: Option<Vec<String>>,
        table: BTreeMap<Key, Value>,
    },
    Withdraw(oneshot::Sender<()>),
}

/// Commands on their way; the task takes them in even while the store is away.
const COMMANDS_MAX: usize = 64;

/// Operations in one transaction: etcd's default bound; and in the process, where a larger one is
/// cheaper, what watchers can take in one piece.
const ETCD_OPERATIONS_MAX: usize = 128;
const LOCAL_OPERATIONS_MAX: usize = 512;

/// How long a withdrawal may take before the keys are left to their leases.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);

impl Writer {
    /// Starts writing in a task of its own. Nothing is deleted before the first [`set`](Self::set).
    pub fn spawn(store: Store, options: Options) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (sender, progress) = watch::channel(Progress::default());
        let operations_max = match store {
            Store::Etcd(_) | Store::Via(_) => ETCD_OPERATIONS_MAX,
            Store::Local(_) => LOCAL_OPERATIONS_MAX,
        };
        let last_prefixes = options.last_prefixes.clone();
        let plan = Plan::new(last_prefixes, options.keys_per_lease, operations_max);
        let plan = plan.measured(options.measures.clone());
        tokio::spawn(Session::new(store, options, plan, receiver, sender).run());
        Self {
            commands,
            progress,
            generation: 0,
        }
    }

    /// Replaces the desired table and returns its generation. For a writer of a single lane.
    pub async fn set<K: Into<Arc<str>>, V: Into<Arc<[u8]>>>(
        &mut self,
        desired: impl IntoIterator<Item = (K, V)>,
    ) -> u64 {
        let command = Command::Set {
            lane: SINGLE_LANE.into(),
            prefixes: None,
            table: shared(desired),
        };
        self.send(command).await
    }

    /// Changes the desired table and returns its generation. Costs what the changes cost. For a
    /// writer of a single lane.
    pub async fn apply(&mut self, changes: Vec<Change<Arc<str>, Arc<[u8]>>>) -> u64 {
        self.apply_in(SINGLE_LANE, changes).await
    }

    /// Replaces all that `lane` desires, which lies under `prefixes`, parts of the owned ones that
    /// belong to this lane alone; returns the generation.
    pub async fn set_in<K: Into<Arc<str>>, V: Into<Arc<[u8]>>>(
        &mut self,
        lane: &str,
        prefixes: Vec<String>,
        desired: impl IntoIterator<Item = (K, V)>,
    ) -> u64 {
        let command = Command::Set {
            lane: lane.into(),
            prefixes: Some(prefixes),
            table: shared(desired),
        };
        self.send(command).await
    }

    /// Changes what `lane` desires, and returns the generation.
    pub async fn apply_in(&mut self, lane: &str, changes: Vec<Change<Arc<str>, Arc<[u8]>>>) -> u64 {
        let lane = lane.into();
        self.send(Command::Apply { lane, changes }).await
    }

    /// Waits until the store holds everything set and applied up to `generation`.
    pub async fn settled(&self, generation: u64) {
        let mut progress = self.progress.clone();
        // The task lives as long as this writer.
        let _ = progress
            .wait_for(|it| generation <= it.settled_generation)
            .await;
    }

    /// How far the store is, now and later.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Revokes the leases, so that the keys vanish now and not when their time is over, and stops.
    pub async fn withdraw(self) {
        let (done, withdrawn) = oneshot::channel();
        if self.commands.send(Command::Withdraw(done)).await.is_ok() {
            let _ = timeout(WITHDRAW_TIMEOUT, withdrawn).await;
        }
    }

    async fn send(&mut self, command: Command) -> u64 {
        // The task takes commands as long as this writer lives.
        let _ = self.commands.send(command).await;
        self.generation += 1;
        self.generation
    }
}

/// The name of the only lane.
const SINGLE_LANE: &str = "";

fn shared<K: Into<Arc<str>>, V: Into<Arc<[u8]>>>(
    desired: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<Key, Value> {
    let desired = desired.into_iter();
    desired
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
