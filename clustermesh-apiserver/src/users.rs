//! Decides what the clients of the embedded etcd may do: Cilium's users for a cluster of the mesh, and
//! what our own agents need beside them.

use kvstore::access::{Permission, Rule, Rules, Users};
use kvstore::mvcc::KeyRange;
use topology::id::ClusterName;

/// The rules of cluster `own`'s store; whoever is not named may do nothing.
pub fn rules(own: &ClusterName) -> Rules {
    let named = |name: String, permission: Permission| Rule {
        users: Users::Named(name),
        permission,
    };
    Rules::new(vec![
        named("root".to_owned(), Permission::everything()),
        named(format!("admin-{own}"), Permission::everything()),
        named(format!("local-{own}"), local()),
        named("remote".to_owned(), remote(own)),
        Rule {
            users: Users::Prefixed("remote-".to_owned()),
            permission: remote(own),
        },
    ])
}

/// Node agents and DNS authorities of the own cluster.
fn local() -> Permission {
    Permission::reading(
        [
            HEARTBEAT,
            "cilium/cache/",
            "cilium/cluster-config/",
            "cilium/synced/",
            // Beyond Cilium's role: our agents read their own cluster's records here too.
            "cilium/state/",
            "causeway/",
        ]
        .map(KeyRange::prefix),
    )
}

/// The other clusters.
fn remote(own: &ClusterName) -> Permission {
    Permission::reading([
        KeyRange::prefix(HEARTBEAT),
        KeyRange::prefix("cilium/state/"),
        KeyRange::key(&format!("cilium/cluster-config/{own}")),
        KeyRange::prefix(&format!("cilium/synced/{own}/")),
    ])
}

/// As Cilium grants it: every key that begins so.
const HEARTBEAT: &str = "cilium/.heartbeat";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_peers_read_what_is_published_and_nothing_else() {
        for user in ["remote", "remote-us"] {
            check(user, "cilium/.heartbeat", "r");
            check(user, "cilium/state/nodes/v1/eu/node-1", "r");
            check(user, "cilium/cluster-config/eu", "r");
            check(user, "cilium/cluster-config/eu-2", "");
            check(user, "cilium/synced/eu/cilium/state/nodes/v1", "r");
            check(user, "cilium/synced/us/cilium/cache/nodes/v1", "");
            check(user, "cilium/cache/nodes/v1/us/node-1", "");
            check(user, "causeway/state/peers/v1/us", "");
        }
    }

    #[test]
    fn lets_agents_read_everything_of_the_mesh() {
        for key in [
            "cilium/.heartbeat",
            "cilium/state/nodes/v1/eu/node-1",
            "cilium/cluster-config/us",
            "cilium/synced/us/cilium/cache/nodes/v1",
            "cilium/cache/nodes/v1/us/node-1",
            "causeway/state/peers/v1/us",
        ] {
            check("local-eu", key, "r");
        }
        check("local-eu", "secrets", "");
    }

    #[test]
    fn lets_only_administrators_of_this_cluster_write() {
        check("admin-eu", "anything", "rw");
        check("root", "anything", "rw");
        for nobody in ["admin-us", "local-us", "admin", "eu", "server", ""] {
            check(nobody, "cilium/state/nodes/v1/eu/node-1", "");
        }
    }

    #[track_caller]
    fn check(user: &str, key: &str, expected: &str) {
        let permission = rules(&"eu".parse().unwrap()).permission(Some(user));
        let key = KeyRange::key(key);
        let mut found = String::new();
        if permission.check_read(&key).is_ok() {
            found.push('r');
        }
        if permission.check_write(&key).is_ok() {
            found.push('w');
        }
        assert_eq!(found, expected, "{user}");
    }
}
