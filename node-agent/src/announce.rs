//! A door: keeps what this agent says of its node in the cluster's store, below `causeway/agents/`.

use std::collections::BTreeMap;
use std::time::Duration;

use kvstore::store::Store;
use kvstore::writer::{Options, Progress, Writer};
use tokio::sync::watch;
use topology::id::{ClusterName, NodeName};
use topology::record::{Key, Reach, Record, TunnelEnd};

use crate::desired::Identity;

/// How long the records outlive an agent that ends or loses the store.
pub const LEASE_TTL: Duration = Duration::from_secs(30);

/// What an agent says of its node: at most one of each kind is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Announcement {
    Reach(Reach),
    TunnelEnd(TunnelEnd),
}

/// Where announcements go. Clones share one table; dropping the last one stops writing and leaves
/// the records to their lease.
#[derive(Clone, Debug)]
pub struct Announcer {
    cluster: ClusterName,
    node: NodeName,
    wanted: watch::Sender<Wanted>,
    written: watch::Receiver<Written>,
}

/// The table, with the number of its changes.
#[derive(Clone, Debug, Default)]
struct Wanted {
    version: u64,
    records: BTreeMap<String, Vec<u8>>,
}

/// How far the store has followed.
#[derive(Clone, Debug, Default)]
struct Written {
    version: u64,
    problem: Option<String>,
}

impl Announcer {
    /// Starts writing in a task of its own, which survives every loss of the store.
    ///
    /// A record of an earlier agent stays until this one announces the same kind, or its lease ends.
    pub fn spawn(store: Store, identity: &Identity) -> Self {
        let (cluster, node) = (identity.cluster.clone(), identity.node.clone());
        let options = Options {
            // Exactly these keys: the prefix above them is the other agents' as well.
            owned_prefixes: vec![
                Key::Reach(cluster.clone(), node.clone()).published(),
                Key::TunnelEnd(cluster.clone(), node.clone()).published(),
            ],
            lease_ttl: LEASE_TTL,
            ..Options::default()
        };
        let (wanted, wanted_by_writer) = watch::channel(Wanted::default());
        let (written_by_writer, written) = watch::channel(Written::default());
        let writer = Writer::spawn(store, options);
        tokio::spawn(follow(writer, wanted_by_writer, written_by_writer));
        Self {
            cluster,
            node,
            wanted,
            written,
        }
    }

    /// Puts `announcement` in place of the one of the same kind. Costs no write if nothing changes,
    /// and never waits: of several that come while the store is slow, the last is written.
    pub fn announce(&self, announcement: Announcement) {
        let (cluster, node) = (self.cluster.clone(), self.node.clone());
        let (key, record) = match announcement {
            Announcement::Reach(it) => (Key::Reach(cluster, node), Record::Reach(it)),
            Announcement::TunnelEnd(it) => (Key::TunnelEnd(cluster, node), Record::TunnelEnd(it)),
        };
        let (key, value) = (key.published(), record.encode());
        self.wanted.send_if_modified(|it| {
            if it.records.get(&key) == Some(&value) {
                return false;
            }
            it.records.insert(key, value);
            it.version += 1;
            true
        });
    }

    /// Whether the store holds everything announced so far.
    pub fn is_settled(&self) -> bool {
        self.wanted.borrow().version <= self.written.borrow().version
    }

    /// Why nothing can be written now, if so.
    pub fn problem(&self) -> Option<String> {
        self.written.borrow().problem.clone()
    }
}

/// Writes until the last announcer is gone.
///
/// Each kind is a lane of its own, so that what has not been announced yet is not taken for what
/// should go.
async fn follow(
    mut writer: Writer,
    mut wanted: watch::Receiver<Wanted>,
    written: watch::Sender<Written>,
) {
    let mut progress = writer.progress();
    let mut before = BTreeMap::new();
    let mut sent = (0, 0);
    loop {
        let Wanted { version, records } = wanted.borrow_and_update().clone();
        for (key, value) in &records {
            if before.get(key) != Some(value) {
                let table = [(key.clone(), value.clone())];
                let generation = writer.set_in(key, vec![key.clone()], table).await;
                sent = (version, generation);
            }
        }
        before = records;
        report(&progress.borrow_and_update(), sent, &written);
        let gone = tokio::select! {
            changed = wanted.changed() => changed.is_err(),
            changed = progress.changed() => changed.is_err(),
        };
        if gone {
            return;
        }
    }
}

/// `sent` is a version of the table, with the writer's generation that holds all of it.
fn report(progress: &Progress, sent: (u64, u64), written: &watch::Sender<Written>) {
    let (version, generation) = sent;
    written.send_modify(|it| {
        if generation <= progress.settled_generation {
            it.version = version;
        }
        it.problem.clone_from(&progress.problem);
    });
}
