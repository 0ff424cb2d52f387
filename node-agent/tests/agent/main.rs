//! One agent on one node, as a process of its own: real eBPF in a cgroup and a BPF file system made
//! for the test, a real store and a real WireGuard device in a network namespace made for the test.
//! Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the story that cannot be made fails it"
)]

mod far_node;
mod gateways;
mod near_node;
mod nodes;
mod plaintext;
mod probes;
mod quantum;
mod relay;
mod rotation;
mod routes;
mod spread;
mod store;
mod traffic;
mod world;

use std::collections::BTreeSet;
use std::io;

use traffic::{Flow, Server};
use world::World;

#[test]
fn serves_survives_restarts_protects_and_cleans_up() {
    let mut world = World::new();
    let first = Server::start(&world, "10.1.1.2");
    let second = Server::start(&world, "10.1.1.3");
    publish(&world, &["10.1.1.2", "10.1.1.3"]);

    world.start_agent();
    balances_over_both_backends(&world);
    serves_dual_stack_sockets(&world);
    refuses_a_service_without_backends(&world);
    drops_plaintext_for_a_peer(&world);
    routes_to_a_neighbor(&world);
    configures_a_device_that_comes_later(&mut world);
    never_chooses_a_backend_that_is_gone(&world);
    loses_no_connection_while_restarted(&mut world);
    stays_in_force_without_an_agent(&mut world);
    guards_an_interface_that_is_made_anew(&world);
    refuses_a_second_agent(&world);
    cleans_up(&mut world);

    drop((first, second));
}

#[test]
#[ignore = "is started by other tests, as a process that they can kill"]
fn serves_a_device_for_another_test() {
    world::serve_device();
}

fn balances_over_both_backends(world: &World) {
    let answers: BTreeSet<String> = (0..64)
        .map(|_| world.inside(traffic::ask_tcp).unwrap())
        .collect();
    assert_eq!(
        answers,
        names(["10.1.1.2", "10.1.1.3"]),
        "connections spread"
    );

    let answers: BTreeSet<String> = (0..64)
        .map(|_| world.inside(traffic::ask_udp).unwrap())
        .collect();
    assert_eq!(answers, names(["10.1.1.2", "10.1.1.3"]), "datagrams spread");

    let answers: BTreeSet<String> = world.inside(traffic::ask_connected_udp).unwrap();
    assert_eq!(
        answers.len(),
        1,
        "a connected socket stays with its backend: {answers:?}"
    );
}

fn serves_dual_stack_sockets(world: &World) {
    let (over_tcp, over_udp) = world.inside(traffic::ask_mapped).unwrap();

    let both = names(["10.1.1.2", "10.1.1.3"]);
    assert!(both.contains(&over_tcp), "{over_tcp}");
    assert!(both.contains(&over_udp), "{over_udp}");
}

fn refuses_a_service_without_backends(world: &World) {
    let error = world
        .inside(|| traffic::connect("10.111.0.11:80"))
        .unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    world.wait_until("the refusal is counted", || {
        world.drops("EGRESS", "Service backend not found") == 1
    });
}

/// Somebody's own route leads around tunnel and barrier, so only strict mode stands between the pods
/// of a peer and the underlay.
fn drops_plaintext_for_a_peer(world: &World) {
    world.lead_around("10.2.1.7");
    let _whether_the_sender_is_told = world.inside(|| traffic::send_udp("10.2.1.7:9"));
    world.inside(|| traffic::send_udp("203.0.113.9:9")).unwrap();

    world.wait_until("the drop is counted", || {
        world.drops("EGRESS", UNENCRYPTED) == 1
    });
    assert_eq!(
        world.drops_soon("EGRESS", UNENCRYPTED),
        1,
        "only what is for peers is dropped"
    );
}

fn routes_to_a_neighbor(world: &World) {
    let routes = world.ip("route show proto 201");

    assert!(
        routes.contains("10.1.2.0/24 via 192.0.2.12 dev under0"),
        "{routes}"
    );
    assert!(
        routes.contains("unreachable 10.2.1.0/24") && !routes.contains("10.2.1.0/24 dev"),
        "there is no device to route through yet: {routes}"
    );
}

fn configures_a_device_that_comes_later(world: &mut World) {
    let status = world.admin("/v1/status");
    assert!(status.contains("no tunnels: "), "{status}");

    world.start_device();

    world.wait_until("the peer is configured", || world.device_peers() == 1);
    world.wait_until("pods of the peer are routed through the tunnel", || {
        world
            .ip("route show proto 201")
            .contains("10.2.1.0/24 dev cwt")
    });
    assert!(world.ip("address show").contains("10.1.1.1/32"));
    world.wait_until("the same holds for IPv6", || {
        let routes = world.ip("-6 route show proto 201");
        routes.contains("fd00:10:2:1::/64 dev cwt")
            && routes.contains("unreachable fd00:10:2:1::/64")
    });
    assert!(world.ip("-6 address show").contains("fd00:10:1:1::1/128"));
    world.wait_until("the problem is gone", || {
        !world.admin("/v1/status").contains("no tunnels: ")
    });
    let explanation = world.admin("/v1/explain/peer/us/node-1");
    assert!(
        explanation.contains("the tunnel was never up"),
        "{explanation}"
    );
    assert!(
        explanation.contains(r#""protected":["10.2.1.0/24","fd00:10:2:1::/64"]"#),
        "{explanation}"
    );
}

fn never_chooses_a_backend_that_is_gone(world: &World) {
    world.store.put(SERVICE, &service(&["10.1.1.2"]));
    world.wait_until("the table follows", || {
        !world.admin(EXPLAIN).contains(r#""10.1.1.3:8080"#)
    });

    for _ in 0..64 {
        assert_eq!(world.inside(traffic::ask_tcp).unwrap(), "10.1.1.2");
    }
    world
        .store
        .put(SERVICE, &service(&["10.1.1.2", "10.1.1.3"]));
    world.wait_until("the table follows back", || {
        let explanation = world.admin(EXPLAIN);
        explanation.contains(r#""programmed":["10.1.1.2:8080","10.1.1.3:8080"]"#)
    });
}

fn loses_no_connection_while_restarted(world: &mut World) {
    let flow = Flow::start(world);

    world.kill_agent();
    flow.go_on(world);
    world.start_agent();
    assert!(
        world.terminate_agent().success(),
        "SIGTERM ends the agent with 0"
    );
    flow.go_on(world);
    world.start_agent();

    let (succeeded, failed) = flow.stop();
    assert_eq!(failed, Vec::<String>::new());
    assert!(
        succeeded > 50,
        "{succeeded} connections are too few to show anything"
    );
}

fn stays_in_force_without_an_agent(world: &mut World) {
    let before = world.drops_soon("EGRESS", UNENCRYPTED);
    world.kill_device();
    assert!(world.terminate_agent().success());

    let answers: BTreeSet<String> = (0..64)
        .map(|_| world.inside(traffic::ask_tcp).unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    let _maybe_refused = world.inside(|| traffic::send_udp("10.2.1.7:9"));

    world.start_agent();
    world.wait_until("the drop without an agent is counted", || {
        world.drops("EGRESS", UNENCRYPTED) == before + 1
    });
}

fn guards_an_interface_that_is_made_anew(world: &World) {
    let before = world.drops_soon("EGRESS", UNENCRYPTED);

    world.rebuild_underlay();

    world.wait_until("plaintext is dropped again", || {
        let _whether_the_sender_is_told = world.inside(|| traffic::send_udp("10.2.1.7:9"));
        before < world.drops("EGRESS", UNENCRYPTED)
    });
}

fn refuses_a_second_agent(world: &World) {
    let (status, stderr) = world.run_agent(&["--admin", "127.0.0.1:9000"]);

    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another node-agent uses"), "{stderr}");
}

fn cleans_up(world: &mut World) {
    assert!(world.terminate_agent().success());

    let (status, stderr) = world.run_agent(&["--cleanup"]);

    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!world.bpffs().join("causeway").exists());
    assert_eq!(world.ip("route show proto 201"), "");
    assert_eq!(world.ip("-6 route show proto 201"), "");
    let error = world
        .inside(|| traffic::connect("10.111.0.10:80"))
        .unwrap_err();
    assert_ne!(
        error.kind(),
        io::ErrorKind::ConnectionRefused,
        "nothing translates any more"
    );
    let (status, _) = world.run_agent(&["--cleanup"]);
    assert_eq!(status.code(), Some(0), "a second time is as good");
}

const UNENCRYPTED: &str = "Traffic is unencrypted";
const SERVICE: &str = "causeway/state/services/v1/eu/shop/shop";
const EXPLAIN: &str = "/v1/explain/service/shop/shop";

/// Everything that a cluster's API server would have written.
fn publish(world: &World, backends: &[&str]) {
    let device_key = world.device_key().to_base64();
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
            "causeway/state/peers/v1/us",
            r#"{"connected":true,"sinceUnixMilliseconds":1}"#.to_owned(),
        ),
        (
            "cilium/state/nodes/v1/eu/node-1",
            node("eu", 1, "node-1", "192.0.2.11", "10.1.1.0", &device_key),
        ),
        (
            "cilium/state/nodes/v1/eu/node-2",
            node("eu", 1, "node-2", "192.0.2.12", "10.1.2.0", &device_key),
        ),
        (
            "cilium/cache/nodes/v1/us/node-1",
            node("us", 2, "node-1", "198.51.100.11", "10.2.1.0", PEER_KEY),
        ),
        (SERVICE, service(backends)),
        (
            "causeway/state/services/v1/eu/shop/empty",
            service(&[]).replace("10.111.0.10", "10.111.0.11"),
        ),
    ] {
        world.store.put(key, &value);
    }
    for kind in ["identities", "ip", "nodes", "services"] {
        world
            .store
            .put(&format!("cilium/synced/us/cilium/cache/{kind}/v1"), "now");
    }
    world.store.put("causeway/synced/eu", "now");
}

const PEER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn service(backends: &[&str]) -> String {
    let ports = r#"{"echo":{"Protocol":"UDP","Port":8080},"http":{"Protocol":"TCP","Port":8080}}"#;
    let backends: Vec<String> = backends
        .iter()
        .map(|it| format!(r#""{it}":{ports}"#))
        .collect();
    format!(
        r#"{{"global":false,"shared":false,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{},"backends":{{{}}}}}"#,
        ports.replace("8080", "80"),
        backends.join(",")
    )
}

fn node(cluster: &str, id: u32, name: &str, address: &str, pods: &str, key: &str) -> String {
    let pods_v6 = pods.trim_end_matches(".0").replace('.', ":");
    format!(
        r#"{{"Name":"{name}","Cluster":"{cluster}","ClusterID":{id},
        "IPAddresses":[{{"Type":"InternalIP","IP":"{address}"}}],
        "IPv4AllocCIDR":{{"IP":"{pods}","Mask":"////AA=="}},
        "IPv6AllocCIDR":{{"IP":"fd00:{pods_v6}::","Mask":"//////////8AAAAAAAAAAA=="}},
        "WireguardPubKey":"{key}"}}"#
    )
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}
