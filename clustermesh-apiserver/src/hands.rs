//! Carries out what the model wants: writers towards our store, followers of the remotes'.

use std::collections::BTreeMap;

use kvstore::follower::{self, Follower};
use kvstore::store::Store;
use kvstore::writer::{self, Progress, Writer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use topology::id::ClusterName;
use topology::record::Kind;

use crate::model::{Effect, Input, Part, Write};
use crate::publish::Table;

/// Updates of one remote on their way; each is a list or whole revisions.
const UPDATES_MAX: usize = 16;

#[derive(Debug)]
pub struct Hands {
    own: ClusterName,
    store: Store,
    updates: mpsc::Sender<Input>,
    /// A writer stays when its cluster is forgotten: only one may ever tidy up its prefixes.
    writers: BTreeMap<Part, Writer>,
    followers: BTreeMap<ClusterName, JoinHandle<()>>,
    /// The last generation that the own part was given.
    generation: u64,
}

impl Hands {
    /// `updates` takes what followers hear.
    pub fn new(own: ClusterName, store: Store, updates: mpsc::Sender<Input>) -> Self {
        Self {
            own,
            store,
            updates,
            writers: BTreeMap::new(),
            followers: BTreeMap::new(),
            generation: 0,
        }
    }

    pub async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Follow {
                remote,
                generation,
                config,
                prefixes,
            } => {
                self.unfollow(&remote);
                let options = follower::Options::default();
                let follower = Follower::new(Store::Etcd(*config), prefixes, options);
                let updates = self.updates.clone();
                let task = tokio::spawn(follow(follower, remote.clone(), generation, updates));
                self.followers.insert(remote, task);
            }
            Effect::Forget { remote } => {
                self.write(Part::Remote(remote), Write::All(Table::new()))
                    .await;
            }
            Effect::Unfollow { remote } => self.unfollow(&remote),
            Effect::Write { part, write } => self.write(part, write).await,
        }
    }

    /// Why our store cannot be written, if it cannot.
    pub fn store_problem(&self) -> Option<String> {
        let writer = self.writers.get(&Part::Own)?;
        writer.progress().borrow().problem.clone()
    }

    /// Tells when everything that was written of the own part until now is in the store.
    pub fn tell_written(&self, written: oneshot::Sender<()>) -> impl Future<Output = ()> + use<> {
        let progress = self.writers.get(&Part::Own).map(Writer::progress);
        let generation = self.generation;
        async move {
            if let Some(progress) = progress {
                settled(progress, generation).await;
                // Nobody waits any more when the process ends already.
                let _ = written.send(());
            }
        }
    }

    async fn write(&mut self, part: Part, write: Write) {
        let writer = self.writers.entry(part.clone()).or_insert_with(|| {
            let options = options(&self.own, &part);
            Writer::spawn(self.store.clone(), options)
        });
        let generation = match write {
            Write::All(table) => writer.set(table).await,
            Write::Changes(changes) => writer.apply(changes).await,
        };
        if part == Part::Own {
            self.generation = generation;
        }
    }

    fn unfollow(&mut self, remote: &ClusterName) {
        if let Some(task) = self.followers.remove(remote) {
            task.abort();
        }
    }
}

async fn settled(mut progress: watch::Receiver<Progress>, generation: u64) {
    let settled = progress.wait_for(|it| generation <= it.settled_generation);
    // An error says that the writer is gone, and the process with it.
    let _ = settled.await;
}

/// Brings what a follower hears to the model.
async fn follow(
    follower: Follower,
    remote: ClusterName,
    generation: u64,
    updates: mpsc::Sender<Input>,
) {
    let (sender, mut heard) = mpsc::channel(UPDATES_MAX);
    let forward = async {
        while let Some(update) = heard.recv().await {
            let said = Input::Said {
                remote: remote.clone(),
                generation,
                update,
            };
            if updates.send(said).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(follower.run(sender), forward);
}

/// What a part owns, so that keys of a former life are removed, and what comes last in it.
fn options(own: &ClusterName, part: &Part) -> writer::Options {
    let (owned_prefixes, last_prefixes) = match part {
        Part::Own => (
            vec![
                format!("cilium/cluster-config/{own}"),
                "cilium/state/".to_owned(),
                format!("cilium/synced/{own}/"),
                format!("causeway/state/services/v1/{own}/"),
                "causeway/state/peers/v1/".to_owned(),
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
            let owned = kinds.into_iter().chain([config, synced.clone()]);
            (owned.collect(), vec![synced])
        }
    };
    writer::Options {
        owned_prefixes,
        last_prefixes,
        ..writer::Options::default()
    }
}
