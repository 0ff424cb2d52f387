//! Decides which users and roles a cluster's store should have: Cilium's for a cluster of a mesh, and
//! one role for each peer, with what is exported to that peer only.

pub mod file;
pub mod plan;
pub mod settle;

use std::collections::{BTreeMap, BTreeSet};

use kvstore::auth::{Access, Keys, ROOT};
use topology::id::ClusterName;
use topology::record::{AGENTS, AUTHORITIES};

use crate::directory::Listing;
use crate::remote_file::RemoteFile;
use file::Entry;

/// What a role may do with which keys.
pub type Permissions = BTreeMap<Keys, Access>;

/// The users and roles of a store. Users and roles that are not named here are somebody else's.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Users who have a certificate and no password, with their roles.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// What each role may do. The role `root` needs no entry.
    pub roles: BTreeMap<String, Permissions>,
    /// Whether authentication is to be enabled: not where clients cannot show who they are.
    pub enabled: bool,
}

impl Desired {
    /// What cluster `own` needs for its peers, and for the users that its operator lists.
    pub fn new<'a>(
        own: &ClusterName,
        peers: impl IntoIterator<Item = &'a ClusterName>,
        entries: &[Entry],
        enabled: bool,
    ) -> Self {
        let mut desired = Self {
            users: BTreeMap::new(),
            roles: BTreeMap::from([
                (LOCAL.to_owned(), local()),
                (REMOTE.to_owned(), remote(own)),
            ]),
            enabled,
        };
        desired.add(ROOT, ROOT);
        desired.add(&format!("admin-{own}"), ROOT);
        desired.add(&format!("local-{own}"), LOCAL);
        desired.add(REMOTE, REMOTE);
        for peer in peers {
            desired.add_peer(peer);
        }
        let own_users: BTreeSet<String> = desired.users.keys().cloned().collect();
        // What is built in stays as it is, whatever the file says.
        for entry in entries.iter().filter(|it| !own_users.contains(&it.name)) {
            desired.add(&entry.name, entry.role.as_str());
            if let Some(peer) = peer_of(&entry.name) {
                desired.add_peer(&peer);
            }
        }
        desired
    }

    /// Whether `user` will be an administrator.
    pub fn is_administrator(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|it| it.contains(ROOT))
    }

    fn add_peer(&mut self, peer: &ClusterName) {
        let name = format!("{REMOTE}-{peer}");
        self.add(&name, REMOTE);
        self.add(&name, &name);
        self.roles.insert(name, exported_to(peer));
    }

    fn add(&mut self, user: &str, role: &str) {
        let roles = self.users.entry(user.to_owned()).or_default();
        roles.insert(role.to_owned());
    }
}

/// The peers that a configuration directory names, with files that are broken too: how we reach a
/// peer has no say in what it may read of us.
pub fn peers(own: &ClusterName, directory: &Listing<RemoteFile>) -> BTreeSet<ClusterName> {
    let files = directory.files.iter();
    let peers = files.filter(|(_, it)| it.is_of_a_peer());
    let names = peers.filter_map(|(name, _)| name.parse().ok());
    names.filter(|it| it != own).collect()
}

/// The cluster whose own user this is.
pub fn peer_of(user: &str) -> Option<ClusterName> {
    user.strip_prefix(REMOTE)?.strip_prefix('-')?.parse().ok()
}

/// For node agents and DNS authorities of the own cluster.
fn local() -> Permissions {
    let read = [
        HEARTBEAT,
        "cilium/cache/",
        "cilium/cluster-config/",
        "cilium/synced/",
        // Beyond Cilium's role: our agents read their own cluster's records here too.
        "cilium/state/",
        "causeway/",
    ];
    let mut permissions = readable(read.map(Keys::prefix));
    // What they tell their API server and each other.
    permissions.insert(Keys::prefix(AGENTS), Access::ReadWrite);
    permissions.insert(Keys::prefix(AUTHORITIES), Access::ReadWrite);
    permissions
}

/// For the other clusters.
fn remote(own: &ClusterName) -> Permissions {
    readable([
        Keys::prefix(HEARTBEAT),
        Keys::prefix("cilium/state/"),
        Keys::key(&format!("cilium/cluster-config/{own}")),
        Keys::prefix(&format!("cilium/synced/{own}/")),
        // Beyond Cilium's role: what peers of our own kind follow.
        Keys::key(&format!("causeway/capabilities/{own}")),
        Keys::prefix("causeway/delta/"),
        Keys::key(&format!("causeway/pulse/{own}")),
    ])
}

/// For one other cluster.
fn exported_to(peer: &ClusterName) -> Permissions {
    readable([Keys::prefix(&format!("causeway/export/{peer}/"))])
}

fn readable<const N: usize>(keys: [Keys; N]) -> Permissions {
    keys.map(|it| (it, Access::Read)).into()
}

const LOCAL: &str = "local";
const REMOTE: &str = "remote";

/// As Cilium grants it: every key that begins so.
const HEARTBEAT: &str = "cilium/.heartbeat";

#[cfg(test)]
mod tests;
