//! What the API server believes of its own cluster and of the others, and which writes follow.
//!
//! Inputs change the model; what follows from them comes back as effects, so specific that carrying
//! them out decides nothing. The own half is in `publishing`, that of the others in `mirroring`.

use kvstore::config::EtcdConfig;
use kvstore::follower::Update;
use topology::diff::Change;
use topology::id::ClusterName;

use crate::directory::Listing;
use crate::manifest::ManifestFile;
use crate::publish::{Cluster, Table};
use crate::remote_file::RemoteFile;

mod mirroring;
mod publishing;
mod status;

pub use mirroring::{CONNECT_GRACE, REMOVAL_GRACE};

use mirroring::Mirroring;
use publishing::Publishing;

/// Everything that can change the model.
#[derive(Debug)]
pub enum Input {
    /// The ClusterMesh configuration directory.
    Configured(Listing<RemoteFile>),
    /// The manifests' directory.
    Objects(Listing<ManifestFile>),
    /// The store of a remote cluster. The generation tells which follower it comes from.
    Said {
        remote: ClusterName,
        generation: u64,
        update: Update,
    },
    /// Time passed.
    Tick,
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
    },
    /// Remove everything that our store shows of the remote.
    Forget { remote: ClusterName },
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
    Changes(Vec<Change<String, Vec<u8>>>),
}

#[derive(Debug)]
pub struct Model {
    cluster: Cluster,
    publishing: Publishing,
    mirroring: Mirroring,
}

impl Model {
    pub fn new(cluster: Cluster, now: u64) -> Self {
        Self {
            publishing: Publishing::new(cluster.clone(), now),
            mirroring: Mirroring::new(cluster.clone(), now),
            cluster,
        }
    }

    /// Takes in one input at `now`, in milliseconds since 1970, and returns what follows from it.
    pub fn apply(&mut self, input: Input, now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Configured(listing) => self.mirroring.configure(&listing, now, &mut effects),
            Input::Objects(listing) => self.publish(&listing, now, &mut effects),
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
                self.publishing.tick(now);
            }
        }
        self.publishing.announce(&self.mirroring, &mut effects);
        effects
    }

    /// Whether every remote cluster is connected, or has had its time.
    pub fn has_met_remotes(&self, now: u64) -> bool {
        self.mirroring.has_met_remotes(now)
    }

    fn publish(&mut self, listing: &Listing<ManifestFile>, now: u64, effects: &mut Vec<Effect>) {
        let (publishing, mirroring) = (&mut self.publishing, &self.mirroring);
        publishing.publish(listing, mirroring, now, effects);
    }
}

fn write(part: Part, changes: Vec<Change<String, Vec<u8>>>, effects: &mut Vec<Effect>) {
    if !changes.is_empty() {
        let write = Write::Changes(changes);
        effects.push(Effect::Write { part, write });
    }
}

#[cfg(test)]
mod tests;
