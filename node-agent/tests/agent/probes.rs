//! Probes through a real tunnel to a real other end, and takes away in turn what they need.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::far_node::{self, FarNode};
use crate::world::World;
use crate::{EXPLAIN, SERVICE, node, publish, service};

#[test]
fn probes_through_tunnels_and_acts_on_what_it_sees() {
    let mut world = World::new();
    publish(&world, &["10.1.1.2"]);
    let mut far = FarNode::start(&world, 1);
    share_service(&world, &far);
    world.start_device();
    world.start_agent();

    sees_who_answers(&world);
    listens_inside_the_tunnel_only(&world);
    tells_its_cluster(&world);
    excuses_an_agent_that_is_away(&world, &mut far);
    passes_over_who_is_out_of_reach(&world);
    finds_a_path_that_shrinks(&world);
}

fn sees_who_answers(world: &World) {
    world.wait_until("the other end answers", || {
        let status = world.admin("/v1/status");
        status.contains(r#""health":"healthy""#) && status.contains(r#""pathMtu":1420"#)
    });
    let explanation = world.admin("/v1/explain/peer/us/node-1");
    assert!(
        explanation.contains("probes come back through it"),
        "{explanation}"
    );
    world.wait_until("both clusters serve", || serves(world, "10.2.1.5:8080"));
    world.wait_until("metrics tell", || {
        let metrics = world.admin("/metrics");
        metrics
            .contains(r#"mesh_node_agent_tunnel_path_mtu_bytes{cluster="us",node="node-1"} 1420"#)
            && metrics.contains(r#"cilium_wireguard_peers{status="connected"} 1"#)
    });
}

fn listens_inside_the_tunnel_only(world: &World) {
    let output = world.inside(|| {
        let mut command = Command::new("ss");
        command.args(["-Huln", "sport", "=", ":4240"]).output()
    });
    let sockets = String::from_utf8(output.unwrap().stdout).unwrap();
    for address in ["10.1.1.1", "[fd00:10:1:1::1]"] {
        let bound = format!("{address}%{}:4240", world.interface());
        assert!(sockets.contains(&bound), "{sockets}");
    }
    assert_eq!(sockets.lines().count(), 2, "{sockets}");
}

fn tells_its_cluster(world: &World) {
    world.wait_until("the store has what is seen", || {
        let reach = world.store.get("causeway/agents/reach/v1/eu/node-1");
        reach.is_some_and(|it| {
            it.contains(r#""us":{"health":"healthy""#) && it.contains(r#""pathMtu":1420"#)
        })
    });
}

/// Its kernel says that nobody listens, so the tunnel carries.
fn excuses_an_agent_that_is_away(world: &World, far: &mut FarNode) {
    far.stop_answering();

    world.wait_until("probes are lost", || {
        let status = world.admin("/v1/status");
        loss_per_mille(&status).is_some_and(|it| 200 < it)
    });
    assert!(world.admin("/v1/status").contains(r#""health":"healthy""#));

    far.answer(world);
}

fn passes_over_who_is_out_of_reach(world: &World) {
    world.wait_until("probes are answered again", || {
        let status = world.admin("/v1/status");
        loss_per_mille(&status).is_some_and(|it| it < 200)
    });

    let cut = now();
    far_node::ip(world, "link set far0 down");
    world.wait_until("the cut is noticed", || {
        !serves(world, "10.2.1.5:8080") && serves(world, "10.1.1.2:8080")
    });
    tell("passed over after the cut", cut.elapsed());
    let explanation = world.admin(EXPLAIN);
    assert!(
        explanation.contains(r#""because":"unreachable""#),
        "{explanation}"
    );
    world.wait_until("the store knows", || {
        let reach = world.store.get("causeway/agents/reach/v1/eu/node-1");
        reach.is_some_and(|it| it.contains(r#""us":{"health":"unhealthy""#))
    });

    let mended = now();
    far_node::ip(world, "link set far0 up");
    world.wait_until("the other end is back", || serves(world, "10.2.1.5:8080"));
    tell("served again after the repair", mended.elapsed());
}

/// The far end of the wire takes no packet that is larger than its own MTU, and tells nobody.
fn finds_a_path_that_shrinks(world: &World) {
    let shrunk = now();
    far_node::ip(world, "link set far0 mtu 1400");

    world.wait_until("it is noticed that large packets stay away", || {
        !world.admin("/v1/status").contains(r#""pathMtu":1420"#)
    });
    // Up to 1404 bytes come through a veth: a tunnel's 60, and a multiple of 16.
    world.wait_until("the path's size is found", || {
        world.admin("/v1/status").contains(r#""pathMtu":1344"#)
    });
    tell("found after the path shrank", shrunk.elapsed());
    world.wait_until("the route says so", || {
        let route = world.ip("route show 10.2.1.0/24");
        route.contains("mtu 1344") && route.contains("advmss 1304")
    });
}

fn serves(world: &World, backend: &str) -> bool {
    let explanation = world.admin(EXPLAIN);
    let mut programmed = explanation.split(r#""programmed":["#).skip(1);
    programmed.any(|it| it.split(']').next().unwrap().contains(backend))
}

pub(crate) fn loss_per_mille(status: &str) -> Option<u16> {
    let (_, rest) = status.split_once(r#""lossPerMille":"#)?;
    rest.split(',').next()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is printed is how long it took"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::print_stdout,
    reason = "a measurement, for whoever looks at it"
)]
pub(crate) fn tell(what: &str, took: Duration) {
    println!("{what}: {took:?}");
}

/// A service of both clusters, and the far node as its cluster announces it.
fn share_service(world: &World, far: &FarNode) {
    let key = far.key.public_key().to_base64();
    let us = node("us", 2, "node-1", "192.0.2.21", "10.2.1.0", &key);
    world.store.put("cilium/cache/nodes/v1/us/node-1", &us);
    let shared = r#"{"cluster":"us","namespace":"shop","name":"shop","clusterID":2,
        "backends":{"10.2.1.5":{"http":{"Protocol":"TCP","Port":8080}}}}"#;
    world
        .store
        .put("cilium/cache/services/v1/us/shop/shop", shared);
    let own = service(&["10.1.1.2"]).replace(r#""global":false"#, r#""global":true"#);
    world.store.put(SERVICE, &own);
}
