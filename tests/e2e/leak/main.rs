//! Follows the packets of two regions' pods through everything that happens to their daemons: not
//! one is seen outside WireGuard, by a capture that sees all of them once nothing is encrypted.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

mod mesh;
mod story;
mod traffic;
mod wires;

use std::time::Duration;

use lab::{Conditions, Lab, Plan, Pod, Process, Region};

use crate::mesh::run;
use crate::story::Story;
use crate::traffic::Client;
use crate::wires::Wires;

/// For anything that takes seconds, or 30 s for a change of keys, unless it hangs.
const HANG: Duration = Duration::from_secs(120);

/// For the labs of other tests to end.
const TURN: Duration = Duration::from_secs(600);

/// How many requests must be answered, or must fail, before what comes next.
const SOME: usize = 20;

/// Where no pod is; a route of the first node of eu leads there past the tunnel.
const LED_AROUND: &str = "10.2.1.99";

/// The nodes of eu and us whose pods ask each other. The third one of eu is no gateway.
const CONVERSATIONS: [(u8, u8); 3] = [(1, 1), (2, 2), (3, 1)];

#[test]
fn no_packet_of_a_peered_prefix_is_seen_outside_wireguard() {
    let lab = Lab::start_when_free(plan(), TURN).unwrap();
    let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
    let shops: Vec<Process> = [eu, us]
        .into_iter()
        .flat_map(|it| traffic::start_shops(&lab, it).unwrap())
        .collect();
    open_the_way(&lab);
    without_encryption_everything_is_seen(&lab);

    let mut story = Story::start(&lab);
    story.steady();
    story.agent_killed();
    story.device_killed();
    story.key_rotated();
    story.node_removed_and_back();
    story.gateways_take_over();
    story.neighbors_encrypted();
    story.prefix_added_and_taken_away();
    story.end();
    drop(shops);
    lab.end(|| assert_eq!(lab::leftovers(), Vec::<String>::new()));
}

/// Two regions of three and two nodes, each with a pod that serves and one that asks.
fn plan() -> Plan {
    let mut plan = Plan::three_regions();
    plan.regions.truncate(2);
    plan.regions[0].nodes = 3;
    let near = Conditions::delayed(Duration::from_millis(5));
    plan.paths = vec![("eu".to_owned(), "us".to_owned(), near)];
    for region in &mut plan.regions {
        let pod = |name: &str, node: u8, suffix| Pod {
            name: format!("{name}-{node}"),
            node,
            suffix,
            app: name.to_owned(),
        };
        let pods = |node| [pod("shop", node, 10), pod("client", node, 20)];
        region.pods = region.node_numbers().flat_map(pods).collect();
    }
    plan
}

/// Has the routers lead pods' packets to the other region, so that what is not held back arrives.
fn open_the_way(lab: &Lab) {
    for (region, other) in pairs(lab) {
        let prefix = other.pod_range().to_string();
        let route = ["route", "add", &*prefix, "dev", "wan0"];
        run(lab, &region.router(), "ip", &route).unwrap();
        // The agents make their own routes to each other's pods, and respect those of others.
        for node in region.node_numbers() {
            for neighbor in region.node_numbers().filter(|it| *it != node) {
                let prefix = region.pod_cidr(neighbor).to_string();
                run(lab, &region.node(node), "ip", &["route", "del", &*prefix]).unwrap();
            }
        }
    }
    let eu = lab.plan().region("eu");
    let router = eu.router_address().to_string();
    let route = ["route", "add", LED_AROUND, "via", &*router, "dev", "eth0"];
    run(lab, &eu.node(1), "ip", &route).unwrap();
}

/// The same traffic on the same links, with nobody who encrypts or guards.
fn without_encryption_everything_is_seen(lab: &Lab) {
    let wires = Wires::tap(lab).unwrap();
    let mut around = ask_around(lab);
    around.wait_for(1, false).unwrap();
    traffic::stop(lab, vec![around], &[]).unwrap();
    let heard = wires.end().unwrap();
    assert!(0 < heard.leaks_on("eu node-1"), "the way around is open");

    let wires = Wires::tap(lab).unwrap();
    let mut clients: Vec<Client> = CONVERSATIONS
        .into_iter()
        .flat_map(|it| converse(lab, it))
        .collect();
    for client in &mut clients {
        client.wait_for(SOME, true).unwrap();
    }
    let servers: Vec<_> = CONVERSATIONS
        .into_iter()
        .flat_map(|it| ends(lab, it))
        .map(traffic::shop)
        .collect();
    traffic::stop(lab, clients, &servers).unwrap();
    let heard = wires.end().unwrap();
    assert_eq!(heard.wireguard(), 0);
    // A request takes some ten packets, and each client's cross four links.
    for link in [
        "eu node-1",
        "eu node-2",
        "eu node-3",
        "us node-1",
        "us node-2",
        "eu wan0",
        "us wan0",
    ] {
        let seen = heard.leaks_on(link);
        assert!(2 * 5 * SOME <= seen, "{seen} on {link}");
    }
}

/// Starts to ask in both directions.
fn converse(lab: &Lab, conversation: (u8, u8)) -> [Client; 2] {
    let [eu, us] = ends(lab, conversation);
    [(eu, us), (us, eu)].map(|(from, to)| Client::start(lab, from, to).unwrap())
}

fn ends(lab: &Lab, (eu, us): (u8, u8)) -> [traffic::Node<'_>; 2] {
    [(lab.plan().region("eu"), eu), (lab.plan().region("us"), us)]
}

/// Asks what only a route past the tunnel leads to.
fn ask_around(lab: &Lab) -> Client {
    Client::ask(lab, (lab.plan().region("eu"), 1), LED_AROUND).unwrap()
}

/// Each region with the other one.
fn pairs(lab: &Lab) -> [(&Region, &Region); 2] {
    let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
    [(eu, us), (us, eu)]
}
