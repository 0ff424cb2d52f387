use std::sync::Arc;

use kvstore::auth::Auth;
use kvstore::mvcc::KeyRange;

use super::plan::{Actual, plan};
use super::*;

#[test]
fn lets_peers_read_what_is_published_and_nothing_else() {
    for user in ["remote", "remote-us", "remote-asia"] {
        check(user, "cilium/.heartbeat", "r");
        check(user, "cilium/state/nodes/v1/eu/node-1", "r");
        check(user, "cilium/cluster-config/eu", "r");
        check(user, "cilium/cluster-config/eu-2", "");
        check(user, "cilium/synced/eu/cilium/state/nodes/v1", "r");
        check(user, "cilium/synced/us/cilium/cache/nodes/v1", "");
        check(user, "cilium/cache/nodes/v1/us/node-1", "");
        check(user, "causeway/state/peers/v1/us", "");
        check(user, "causeway/capabilities/eu", "r");
        check(user, "causeway/capabilities/eu-2", "");
        check(user, "causeway/pulse/eu", "r");
        check(user, "causeway/pulse/us", "");
        check(user, "causeway/delta/services/v1/eu/a/b", "r");
    }
}

#[test]
fn lets_a_peer_alone_read_what_is_exported_to_it() {
    let key = "causeway/export/us/cilium/state/services/v1/eu/a/b";
    check("remote-us", key, "r");
    check("remote-us", "causeway/export/us-2/cilium/state/x", "");
    for other in ["remote", "remote-asia", "remote-africa", "nobody"] {
        check(other, key, "");
    }
    check("remote-asia", "causeway/export/asia/x", "r");
    check("local-eu", key, "r");
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
fn lets_agents_write_what_they_report_and_nothing_else() {
    check("local-eu", "causeway/agents/reach/v1/eu/node-1", "rw");
    check("local-eu", "causeway/agents/tunnel/v1/eu/node-1", "rw");
    check("local-eu", "causeway/dns/health/v1/eu-1/7", "rw");
    for key in [
        "causeway/agents",
        "causeway/agents0",
        "causeway/state/peers/v1/us",
        "cilium/state/nodes/v1/eu/node-1",
    ] {
        check("local-eu", key, "r");
    }
    for peer in ["remote", "remote-us"] {
        check(peer, "causeway/agents/reach/v1/eu/node-1", "");
        check(peer, "causeway/dns/health/v1/eu-1/7", "");
    }
}

#[test]
fn lets_only_administrators_of_this_cluster_write() {
    for user in ["admin-eu", "root", "operator"] {
        check(user, "anything", "rw");
        assert!(desired().is_administrator(user));
    }
    for nobody in ["admin-us", "local-us", "admin", "eu", "server", "remote-"] {
        check(nobody, "cilium/state/nodes/v1/eu/node-1", "");
        assert!(!desired().is_administrator(nobody));
    }
}

#[test]
fn lets_no_file_change_what_is_built_in() {
    let own = "eu".parse().unwrap();
    let entries = file::parse("users: [{name: remote, role: root}]").unwrap();
    let with_entry = Desired::new(&own, [], &entries, true);
    assert_eq!(with_entry, Desired::new(&own, [], &[], true));
}

#[test]
fn lets_a_peer_read_whose_file_does_not_say_how_to_reach_it() {
    let file = |name: &str, text: &str| {
        let file = RemoteFile::read(name.into(), Ok(text), None);
        (name.to_owned(), Arc::new(file))
    };
    let good = "endpoints: ['http://127.0.0.1:2379']";
    let files = [
        file("us", good),
        file("asia", "endpoints: ['https://asia:2379']"),
        file("Asia.yaml", good),
        file("eu", good),
        file("us.contract.yaml", "{}"),
        file("ca.crt", "-----BEGIN"),
    ];
    assert!(files[1].1.problem().is_some());
    let directory = Listing {
        files: files.into(),
        problem: None,
    };

    let peers = peers(&"eu".parse().unwrap(), &directory);

    let names: Vec<&str> = peers.iter().map(ClusterName::as_str).collect();
    assert_eq!(names, ["asia", "us"]);
}

fn desired() -> Desired {
    let us = "us".parse().unwrap();
    let entries = file::parse(
        "users:\n- {name: remote-asia, role: remote}\n- {name: operator, role: root}\n",
    );
    Desired::new(&"eu".parse().unwrap(), [&us], &entries.unwrap(), true)
}

#[track_caller]
fn check(user: &str, key: &str, expected: &str) {
    let mut auth = Auth::default();
    for command in plan(&desired(), &Actual::default(), &BTreeSet::new()) {
        auth.apply(command).unwrap();
    }
    let permission = auth.permission(Some(user));
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
