//! What node agents report, between real processes: it decides who is lost, and completes the nodes.

use std::thread;
use std::time::Duration;

use super::authority::Authority;
use super::region::{Region, eventually};
use super::shop;

const STATE: &str = "causeway/state/peers/v1/eu";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// After it, an API server that is away would count as lost.
const MORE_THAN_A_RESTART: Duration = Duration::from_secs(6);

/// What a node's agent says of `eu`, as its own user.
fn report(us: &Region, node: &str, health: &str) {
    let value = format!(
        r#"{{"clusters":{{"eu":{{"health":"{health}","sinceUnixMilliseconds":1,"roundTripMicroseconds":900}}}}}}"#
    );
    write(us, &format!("reach/v1/us/{node}"), &value);
}

fn write(us: &Region, key: &str, value: &str) {
    let key = format!("causeway/agents/{key}");
    eventually("the agent may write", || {
        us.ask_as("local-us", &["put", &key, value]).is_ok()
    });
}

/// Waits until the store says so of `eu`.
fn expect(us: &Region, connected: bool, reason: &str) {
    let expected = format!(r#"{{"connected":{connected},"#);
    eventually(&format!("{expected} … {reason}"), || {
        let state = us.value(STATE).unwrap_or_default();
        state.starts_with(&expected) && state.contains(reason)
    });
}

#[test]
fn believes_agents_before_the_remote_api_server() {
    let authority = Authority::new();
    let mut eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    let mut us = us.peered_with(&[&eu]);
    eu.start();
    us.start();
    us.expect_peer("eu", true);
    eventually("eu in us", || us.backends_of("eu").contains("10.1.1.10"));
    let mut watch = us.watch("cilium/cache/");

    // The data plane alone, both ways.
    report(&us, "us-node-1", "unhealthy");
    expect(&us, false, "no node of ours reaches it through its tunnels");
    report(&us, "us-node-2", "healthy");
    expect(&us, true, r#""reason":"""#);
    report(&us, "us-node-1", "healthy");

    // The control plane alone, for longer than any grace.
    eu.kill();
    let kept = "2 of 2 nodes reach its pods";
    expect(&us, true, kept);
    let state = us.value(STATE);
    thread::sleep(MORE_THAN_A_RESTART);
    report(&us, "us-node-1", "unhealthy");
    expect(&us, true, "1 of 2 nodes reach its pods");
    report(&us, "us-node-1", "healthy");
    expect(&us, true, kept);
    assert_eq!(us.value(STATE), state, "it was connected all the time");
    assert_eq!(watch.deletes(), [] as [String; 0]);

    // Both, and back.
    for node in ["us-node-1", "us-node-2"] {
        report(&us, node, "unhealthy");
    }
    expect(&us, false, "its API server does not answer either");
    eu.start();
    expect(&us, false, r#"through its tunnels""#);
    report(&us, "us-node-2", "healthy");
    expect(&us, true, r#""reason":"""#);
    assert_eq!(watch.deletes(), [] as [String; 0]);

    for key in [STATE, "cilium/state/nodes/v1/us/x", "causeway/agents0"] {
        let denied = us.ask_as("local-us", &["put", key, "x"]).unwrap_err();
        assert!(denied.contains("permission denied"), "{key}: {denied}");
    }
}

#[test]
fn announces_the_tunnels_that_agents_tell_of() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    let mut us = us;
    let mut eu = eu.peered_with(&[&us]);
    us.start();
    eu.start();
    let mirrored = || {
        let node = eu.value("cilium/cache/nodes/v1/us/us-node-1");
        node.unwrap_or_default()
    };
    eventually("the node", || {
        mirrored().contains(r#""WireguardPubKey":"""#)
    });

    let end = format!(r#"{{"publicKey":"{KEY}","endpoints":["192.0.2.11:51871"]}}"#);
    write(&us, "tunnel/v1/us/us-node-1", &end);
    eventually("the key", || {
        let node = mirrored();
        node.contains(&format!(r#""WireguardPubKey":"{KEY}""#))
            && node.contains(r#""causeway.io/wg-endpoints":"192.0.2.11:51871""#)
    });

    // What is not acceptable changes nothing, and is told.
    write(&us, "tunnel/v1/us/us-node-1", r#"{"publicKey":"x"}"#);
    eventually("the problem", || {
        let status = super::region::admin(us.admin, "/v1/status");
        status.contains("causeway/agents/tunnel/v1/us/us-node-1: a public key must be")
    });
    assert!(mirrored().contains(KEY));
    let key = "causeway/agents/tunnel/v1/us/us-node-1";
    assert!(us.ask_as("local-us", &["del", key]).is_ok());
    us.write("shop.yaml", &shop(2, &["10.2.1.11"]));
    eventually("the next change", || {
        us.keys("cilium/state/ip/")
            .iter()
            .any(|it| it.ends_with("10.2.1.11"))
    });
    assert!(mirrored().contains(KEY), "as long as the Node exists");
}
