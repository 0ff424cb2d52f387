//! What the API server believes of its own cluster and of the others, and which writes follow.
//!
//! Inputs change the model; what follows from them comes back as effects, so specific that carrying
//! them out decides nothing. The own half is in `publishing`, that of the others in `mirroring`.

use std::num::NonZeroU32;
use std::sync::Arc;

use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use topology::diff::Change;
use topology::id::ClusterName;

use crate::directory::Listing;
use crate::manifest::catalog::Manifests;
use crate::moment::Moment;
use crate::objects::ObjectEvent;
use crate::publish::{self, Changes, Cluster, Remembered, Table, Value};
use crate::remote_file::RemoteFile;
use crate::users::file::UsersFile;

mod agents;
mod mirroring;
pub mod peers;
mod publishing;
mod readers;
mod status;

pub use mirroring::{CONNECT_GRACE, Policy, REMOVAL_GRACE};

use agents::Agents;
use mirroring::Mirroring;
use publishing::Publishing;
use readers::Readers;

/// Everything that can change the model.
#[derive(Debug)]
pub enum Input {
    /// What our store says of the node agents of this cluster.
    Agents(Update),
    /// The ClusterMesh configuration directory.
    Configured(Listing<RemoteFile>),
    /// The objects of this cluster.
    Objects(Manifests),
    /// It is time to say when this is, in microseconds since 1970.
    Pulse { unix_microseconds: u64 },
    /// What a former life left in our store.
    Remembered(Remembered),
    /// The store of a remote cluster. The generation tells which follower it comes from.
    Said {
        remote: ClusterName,
        generation: u64,
        update: Update,
    },
    /// Time passed.
    Tick,
    /// The file of further users of our store.
    Users(Listing<UsersFile>),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Follow these prefixes of a remote's store, instead of whatever was followed of it before.
    Follow {
        remote: ClusterName,
        generation: u64,
        config: Box<EtcdConfig>,
        prefixes: Vec<String>,
        /// Those of them that the remote may lack or refuse.
        optional_prefixes: Vec<String>,
        /// What its contract permits.
        changes_per_second: Option<NonZeroU32>,
    },
    /// Remove everything that our store shows of the remote.
    Forget { remote: ClusterName },
    /// Measure how long it is since this time until what was written of the remote before now is in
    /// our store.
    Time {
        remote: ClusterName,
        sent_unix_microseconds: u64,
    },
    /// Stop following the remote.
    Unfollow { remote: ClusterName },
    /// Show this to our store, as `part` of it.
    Write { part: Part, write: Write },
}

/// The parts of our store that are written apart from each other, so that one which is not known
/// yet does not keep the others from being tidied up.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    Own,
    Remote(ClusterName),
}

#[derive(Debug, PartialEq)]
pub enum Write {
    /// The complete part, when it is known for the first time.
    All(Table),
    Changes(Changes),
}

#[derive(Debug)]
pub struct Model {
    cluster: Cluster,
    agents: Agents,
    publishing: Publishing,
    mirroring: Mirroring,
    readers: Readers,
}

impl Model {
    pub fn new(cluster: Cluster, now: impl Into<Moment>) -> Self {
        Self::with_policy(cluster, publish::Options::default(), Policy::default(), now)
    }

    pub fn with_policy(
        cluster: Cluster,
        options: publish::Options,
        policy: Policy,
        now: impl Into<Moment>,
    ) -> Self {
        let now = now.into();
        Self {
            agents: Agents::new(cluster.name.clone()),
            publishing: Publishing::new(cluster.clone(), options, now.unix_milliseconds),
            mirroring: Mirroring::new(cluster.clone(), policy, now),
            readers: Readers::new(cluster.name.clone()),
            cluster,
        }
    }

    /// Takes in one input at `now` and returns what follows from it.
    pub fn apply(&mut self, input: Input, now: impl Into<Moment>) -> Vec<Effect> {
        let now = now.into();
        let mut effects = Vec::new();
        let is_of_a_store = matches!(input, Input::Agents(_) | Input::Said { .. });
        let is_about_objects = matches!(input, Input::Objects(_));
        let may_move_pods = if let Input::Objects(manifests) = &input {
            manifests.events.iter().any(ObjectEvent::is_of_nodes)
        } else {
            !is_of_a_store
        };
        let is_tick = matches!(input, Input::Tick);
        match input {
            Input::Agents(update) => self.hear_agents(update, now, &mut effects),
            Input::Configured(listing) => {
                self.readers.configure(&listing);
                self.mirroring.configure(&listing, now, &mut effects);
                let agents = &self.agents;
                self.mirroring.hear_nodes(|it| Some(agents.tally(it)), now);
            }
            Input::Objects(manifests) => {
                let (publishing, mirroring) = (&mut self.publishing, &self.mirroring);
                publishing.publish(manifests, mirroring, now.unix_milliseconds, &mut effects);
            }
            Input::Pulse { unix_microseconds } => self.publishing.beat(unix_microseconds),
            Input::Remembered(mut remembered) => {
                let agents = Update::Listed(std::mem::take(&mut remembered.agents));
                self.hear_agents(agents, now, &mut effects);
                self.publishing.remember(remembered, now.unix_milliseconds);
            }
            Input::Said {
                remote,
                generation,
                update,
            } => {
                let mirroring = &mut self.mirroring;
                mirroring.hear(&remote, generation, update, now, &mut effects);
            }
            Input::Tick => {
                self.mirroring.tick(now, &mut effects);
                self.agents.tell(now);
                self.publishing.tick(now.unix_milliseconds, &mut effects);
                self.readers.tell(&self.publishing.publisher);
            }
            Input::Users(listing) => self.readers.list(&listing),
        }
        let is_liveness_new = self.mirroring.take_liveness_news();
        if is_liveness_new {
            let publishing = &self.publishing;
            let own_serves = |service: &str| publishing.has_backends(service);
            self.mirroring.withhold_lost(own_serves, now, &mut effects);
        }
        if is_tick {
            let publishing = &self.publishing;
            let own = || publishing.pod_prefixes();
            self.mirroring.compare_pod_prefixes(own);
        } else if may_move_pods {
            self.mirroring.forget_comparison();
        }
        // What stores say changes nothing else of what is announced, and they say a lot; nor do
        // objects.
        if is_liveness_new || !(is_of_a_store || is_about_objects) {
            self.publishing.announce(&self.mirroring, &mut effects);
        }
        effects
    }

    fn hear_agents(&mut self, update: Update, now: Moment, effects: &mut Vec<Effect>) {
        let news = self.agents.apply(update);
        let agents = &self.agents;
        let tally = |it: &ClusterName| news.remotes.contains(it).then(|| agents.tally(it));
        self.mirroring.hear_nodes(tally, now);
        if !news.ends.is_empty() {
            let now = now.unix_milliseconds;
            self.publishing.end_tunnels(news.ends, now, effects);
        }
    }

    /// Whether every remote cluster is connected, or has had its time.
    pub fn has_met_remotes(&self, now: impl Into<Moment>) -> bool {
        self.mirroring.has_met_remotes(now.into())
    }
}

fn write<K, V>(part: Part, changes: Vec<Change<K, V>>, effects: &mut Vec<Effect>)
where
    K: Into<Arc<str>>,
    V: Into<Value>,
{
    if changes.is_empty() {
        return;
    }
    let shared = changes.into_iter().map(|it| match it {
        Change::Delete(key) => Change::Delete(key.into()),
        Change::Put(key, value) => Change::Put(key.into(), value.into()),
    });
    let write = Write::Changes(shared.collect());
    effects.push(Effect::Write { part, write });
}

#[cfg(test)]
mod tests;
