//! Where addresses are, by files that change and by what the mesh says of its own prefixes.

use std::fs;

use kvstore::store::{Link, Store};

use super::process::{Authority, eventually};
use super::{OVERRIDES, zone};

/// Targets in Frankfurt and in Ashburn.
const NEAREST: &str = "near LUA A \"pickclosest({'192.0.2.1', '198.51.100.1'})\"\n";

#[test]
fn a_changed_file_of_places_moves_clients_and_a_broken_one_does_not() {
    let authority = Authority::start(&zone(NEAREST), &[("--geo-overrides", OVERRIDES)]);
    let file = authority.zone_file().with_file_name("overrides.yaml");
    let ask = || nearest(&authority, "10.1.2.3");
    assert_eq!(ask(), "192.0.2.1");

    let moved = OVERRIDES.replace(
        "10.1.0.0/16, latitude: 50.11, longitude: 8.68",
        "10.1.0.0/16, latitude: 39, longitude: -77",
    );
    fs::write(&file, moved).unwrap();
    eventually("the client has moved", || ask() == "198.51.100.1");

    fs::write(&file, "- {prefix: nowhere}\n").unwrap();
    eventually("the status names the place", || {
        authority.get("/v1/status").contains("overrides.yaml:1:")
    });
    assert_eq!(ask(), "198.51.100.1");

    fs::write(&file, OVERRIDES).unwrap();
    eventually("the client is back", || ask() == "192.0.2.1");
    assert!(authority.get("/v1/status").contains("\"problems\":[]"));
}

/// The client is in a /16 of its own, but so is everybody else who is nearer to one of the targets:
/// the scope says how far the list of both holds, not how far the place does.
#[test]
fn the_scope_is_as_short_as_it_can_be() {
    let more = "- {prefix: 10.1.77.0/24, latitude: 48.1, longitude: 11.6, name: Munich}\n";
    let overrides = format!("{OVERRIDES}{more}");
    let authority = Authority::start(&zone(NEAREST), &[("--geo-overrides", &overrides)]);

    let scope = |address: &str| {
        let subnet = format!("+subnet={address}/24");
        let said = authority.dig(&["near.example.test", "A", &subnet]);
        let line = said.lines().find(|it| it.contains("CLIENT-SUBNET"));
        line.unwrap().rsplit_once('/').unwrap().1.to_owned()
    };
    assert_eq!(scope("10.1.77.0"), "16");
    assert_eq!(scope("10.1.78.0"), "16");
    assert_eq!(scope("10.2.0.0"), "16");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_where_their_cluster_is() {
    let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
    let server = kvstore::server::Server::bind(options).await.unwrap();
    let endpoint = format!("endpoints: ['http://{}']\n", server.address());
    let store = Store::Local(server.local());
    let serving = tokio::spawn(server.serve(std::future::pending()));
    let mut records = store.connect(&Link::default()).await.unwrap();
    for (key, value) in [
        (
            "cilium/cluster-config/eu",
            r#"{"id":1,"capabilities":{}}"#.to_owned(),
        ),
        (
            "cilium/cluster-config/us",
            r#"{"id":2,"capabilities":{}}"#.to_owned(),
        ),
        (
            "cilium/state/nodes/v1/eu/node-1",
            node("eu", 1, "10.41.0.0", "50.1,8.7"),
        ),
        (
            "cilium/cache/nodes/v1/us/node-1",
            node("us", 2, "10.42.0.0", "39.0,-77.5"),
        ),
        ("causeway/synced/eu", String::new()),
    ] {
        records.put(key, value, None).await.unwrap();
    }

    let told = tokio::task::spawn_blocking(move || {
        let flags = [("--geo-overrides", OVERRIDES), ("--etcd-config", &endpoint)];
        let authority = Authority::start(&zone(NEAREST), &flags);
        eventually("a pod of the other cluster is there", || {
            authority
                .get("/v1/explain/dns?name=near.example.test&from=10.42.0.9")
                .contains("mesh 10.42.0.0/24 (cluster us)")
        });
        assert_eq!(nearest(&authority, "10.42.0.9"), "198.51.100.1");
        assert_eq!(nearest(&authority, "10.41.0.9"), "192.0.2.1");
    });
    told.await.unwrap();
    serving.abort();
}

/// A node with a prefix of 24 bits, as Go writes it.
fn node(cluster: &str, id: u32, pods: &str, location: &str) -> String {
    format!(
        r#"{{"Name":"node-1","Cluster":"{cluster}","ClusterID":{id},"IPv4AllocCIDR":{{"IP":"{pods}","Mask":"////AA=="}},
            "Annotations":{{"causeway.io/location":"{location}"}}}}"#
    )
}

fn nearest(authority: &Authority, client: &str) -> String {
    let subnet = format!("+subnet={client}/32");
    let said = authority.dig(&["near.example.test", "A", "+short", &subnet]);
    said.trim().to_owned()
}
