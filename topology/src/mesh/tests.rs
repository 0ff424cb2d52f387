use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;

#[test]
fn keeps_everything_when_the_store_restarts_empty() {
    let mut mesh = mesh(STORE);

    mesh.apply(Event::Listed(Vec::new()));

    assert_eq!(summary(&mesh), "services us ap, nodes us, peers us ap");
}

#[test]
fn drops_what_is_gone_once_the_canary_is_there() {
    let mut mesh = mesh(STORE);
    mesh.apply(Event::Listed(Vec::new()));

    put(&mut mesh, "cilium/synced/us/cilium/cache/services/v1", "");

    assert_eq!(summary(&mesh), "services ap, nodes us, peers us ap");
}

#[test]
fn drops_a_cluster_that_is_no_longer_configured() {
    let mut mesh = mesh(STORE);

    mesh.apply(Event::Listed(entries(&[
        ("causeway/state/peers/v1/us", CONNECTED),
        ("causeway/synced/eu", ""),
    ])));

    assert_eq!(summary(&mesh), "services us, nodes us, peers us");
}

#[test]
fn deletes_at_once_what_the_store_deletes() {
    let mut mesh = mesh(STORE);

    mesh.apply(Event::Delete {
        key: "cilium/cache/services/v1/us/shop/shop".into(),
    });

    assert_eq!(summary(&mesh), "services ap, nodes us, peers us ap");
}

#[test]
fn keeps_the_key_of_a_node_that_names_none_for_a_while() {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    let at = ("us".parse().unwrap(), "node-1".parse().unwrap());
    let mut tell = |key: &str| {
        let node = format!(
            r#"{{"Name":"node-1","Cluster":"us","ClusterID":2,"WireguardPubKey":"{key}"}}"#
        );
        put(&mut mesh, "cilium/cache/nodes/v1/us/node-1", &node);
        mesh.nodes()[&at].wireguard_public_key.clone()
    };

    assert_eq!(
        ["", "one", "", "two"].map(&mut tell),
        ["", "one", "one", "two"]
    );
}

#[test]
fn takes_the_nearest_nodes_round_trip_and_forgets_a_node_that_left() {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    let us = "us".parse().unwrap();
    assert_eq!(mesh.round_trip_microseconds(&us), None);
    let reach = |microseconds: u32| {
        let seen = format!(
            r#""health":"healthy","sinceUnixMilliseconds":0,"roundTripMicroseconds":{microseconds}"#
        );
        format!(r#"{{"clusters":{{"us":{{{seen}}}}}}}"#)
    };

    put(&mut mesh, "causeway/agents/reach/v1/eu/node-1", &reach(900));
    put(&mut mesh, "causeway/agents/reach/v1/eu/node-2", &reach(800));
    put(&mut mesh, "causeway/agents/reach/v1/ap/node-1", &reach(100));
    assert_eq!(mesh.round_trip_microseconds(&us), Some(800));

    mesh.apply(Event::Delete {
        key: "causeway/agents/reach/v1/eu/node-2".to_owned(),
    });
    assert_eq!(mesh.round_trip_microseconds(&us), Some(900));
}

#[test]
fn keeps_the_old_value_when_the_new_one_is_invalid() {
    let mut mesh = mesh(STORE);
    let entries = entries(&[
        ("cilium/synced/us/cilium/cache/services/v1", ""),
        ("cilium/cache/services/v1/us/shop/shop", "{"),
    ]);

    let rejected = mesh.apply(Event::Listed(entries));

    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].key, "cilium/cache/services/v1/us/shop/shop");
    assert_eq!(summary(&mesh), "services us ap, nodes us, peers us ap");
}

#[test]
fn checks_records_against_a_config_that_is_listed_after_them() {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    let wrong = SERVICE_US.replace(r#""clusterID":2"#, r#""clusterID":7"#);

    let rejected = mesh.apply(Event::Listed(entries(&[
        ("cilium/cache/services/v1/us/shop/shop", &wrong),
        ("cilium/cluster-config/us", r#"{"id":2,"capabilities":{}}"#),
    ])));

    assert_eq!(rejected.len(), 1);
}

proptest! {
    /// Relists, repeats and any order of puts end in the same belief.
    #[test]
    fn converges_whatever_the_order(
        order in Just(STORE.to_vec()).prop_shuffle(),
        repeated in subsequence(STORE.to_vec(), 0..STORE.len()),
        at in any::<Index>(),
    ) {
        let expected = summary(&mesh(STORE));
        let mut mesh = Mesh::new("eu".parse().unwrap());
        for (at_now, (key, value)) in order.iter().chain(&repeated).enumerate() {
            if at_now == at.index(order.len()) {
                mesh.apply(Event::Listed(Vec::new()));
            }
            put(&mut mesh, key, value);
        }
        mesh.apply(Event::Listed(entries(STORE)));
        prop_assert_eq!(summary(&mesh), expected);
    }
}

const CONNECTED: &str = r#"{"connected":true,"sinceUnixMilliseconds":1}"#;
const SERVICE_US: &str = r#"{"cluster":"us","namespace":"shop","name":"shop","clusterID":2}"#;

const STORE: &[(&str, &str)] = &[
    ("causeway/state/peers/v1/ap", CONNECTED),
    ("causeway/state/peers/v1/us", CONNECTED),
    ("cilium/cache/services/v1/us/shop/shop", SERVICE_US),
    (
        "cilium/cache/services/v1/ap/shop/shop",
        r#"{"cluster":"ap","namespace":"shop","name":"shop","clusterID":3}"#,
    ),
    (
        "cilium/cache/nodes/v1/us/us-node-1",
        r#"{"Name":"us-node-1","Cluster":"us","ClusterID":2}"#,
    ),
];

fn mesh(store: &[(&str, &str)]) -> Mesh {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    assert!(mesh.apply(Event::Listed(entries(store))).is_empty());
    mesh
}

fn entries(store: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_owned());
    store.iter().map(entry).collect()
}

fn put(mesh: &mut Mesh, key: &str, value: &str) {
    let rejected = mesh.apply(Event::Put {
        key: key.to_owned(),
        value: value.as_bytes().to_owned(),
    });
    assert!(rejected.is_empty(), "{rejected:?}");
}

/// Which clusters' services, nodes and liveness are believed, by descending name.
fn summary(mesh: &Mesh) -> String {
    let names = |it: BTreeSet<&ClusterName>| {
        let names: Vec<&str> = it.into_iter().rev().map(ClusterName::as_str).collect();
        names.join(" ")
    };
    format!(
        "services {}, nodes {}, peers {}",
        names(mesh.services.keys().map(|(_, it)| it).collect()),
        names(mesh.nodes.keys().map(|(it, _)| it).collect()),
        names(mesh.peers.keys().collect()),
    )
}
