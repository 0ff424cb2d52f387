//! Decides whether there is somebody to read what objects export to clusters by name.

use std::collections::BTreeSet;

use topology::id::ClusterName;
use tracing::warn;

use crate::directory::Listing;
use crate::objects::ObjectKey;
use crate::publish::Publisher;
use crate::remote_file::RemoteFile;
use crate::users;
use crate::users::file::UsersFile;

/// What an operator can do about a cluster that nobody knows.
pub(super) const REMEDY: &str = "correct causeway.io/export-to, or add the cluster to the \
                                 ClusterMesh configuration directory or its user to --users-file";

/// The clusters that have a user in our store.
#[derive(Debug)]
pub(super) struct Readers {
    own: ClusterName,
    configured: BTreeSet<ClusterName>,
    listed: BTreeSet<ClusterName>,
    /// Clusters that an operator was warned of.
    told: BTreeSet<ClusterName>,
}

impl Readers {
    pub(super) fn new(own: ClusterName) -> Self {
        Self {
            own,
            configured: BTreeSet::new(),
            listed: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    pub(super) fn configure(&mut self, files: &Listing<RemoteFile>) {
        self.configured = users::peers(&self.own, files);
    }

    /// A file that is broken or gone takes nothing back.
    pub(super) fn list(&mut self, files: &Listing<UsersFile>) {
        for file in files.files.values() {
            if let UsersFile::Good(entries) = &**file {
                let peers = entries.iter().filter_map(|it| users::peer_of(&it.name));
                self.listed = peers.collect();
            }
        }
    }

    /// Warns of clusters that are named and unknown, once as long as they are.
    pub(super) fn tell(&mut self, publisher: &Publisher) {
        let unknown: BTreeSet<ClusterName> =
            self.unknown(publisher).map(|(it, _)| it.clone()).collect();
        for (peer, objects) in self.unknown(publisher) {
            if !self.told.contains(peer) {
                warn!("{}; {REMEDY}", text(peer, objects));
            }
        }
        self.told = unknown;
    }

    /// What is exported to nobody, in a stable order.
    pub(super) fn problems(&self, publisher: &Publisher) -> Vec<String> {
        let unknown = self.unknown(publisher);
        unknown.map(|(peer, objects)| text(peer, objects)).collect()
    }

    fn unknown<'a>(
        &'a self,
        publisher: &'a Publisher,
    ) -> impl Iterator<Item = (&'a ClusterName, &'a BTreeSet<ObjectKey>)> {
        let named = publisher.named_peers();
        named.filter(|(it, _)| !self.configured.contains(it) && !self.listed.contains(it))
    }
}

fn text(peer: &ClusterName, objects: &BTreeSet<ObjectKey>) -> String {
    let first = objects.iter().take(1).map(ToString::to_string);
    let first: String = first.collect();
    let others = match objects.len() {
        0 | 1 => String::new(),
        count => format!(", and with it {} more,", count - 1),
    };
    format!("{first}{others} is exported to {peer}, which is no peer and cannot read it")
}
