use std::collections::BTreeSet;
use std::net::SocketAddr;

use topology::geo::{Kilometers, Location};
use topology::report::{PortExplanation, ServiceExplanation};
use topology::select::{Backend, Because, PassedOver, Reason, Selection};
use topology::service::{Affinity, L4Port, Protocol};

use super::*;
use crate::status::tests::{answered, cluster, tunnel, unanswered};

#[test]
fn says_which_backends_serve_and_which_do_not() {
    assert_eq!(
        service(&shop(), false, false),
        "\
Service shop/shop on node eu-node-1 of cluster eu
global, affinity local; served at 10.111.0.10

Port http 80/TCP: preferred by affinity local; 2 of 5 backends serve
CLUSTER  BACKEND        ZONE  VERDICT
eu       10.1.1.2:8080  eu-a  chosen
eu       10.1.2.2:8080  eu-a  chosen
us       10.2.1.2:8080  us-a  passed over: affinity is local
us       10.2.2.2:8080  us-a  passed over: affinity is local
ap       10.3.1.2:8080  ap-a  passed over: the cluster does not answer
The kernel holds the same.
"
    );
}

#[test]
fn counts_what_would_fill_the_screen() {
    let mut shop = shop();
    let port = &mut shop.ports[0];
    let because = Because::Affinity(Affinity::Local);
    port.selection.passed_over = (1..=100)
        .map(|it| passed_over("us", &format!("10.2.1.{it}:8080"), because))
        .collect();
    shop.node = None;
    shop.ports[0].programmed = None;

    let text = service(&shop, false, false);
    assert!(
        text.ends_with(
            "\
us       10.2.1.7:8080  us-a  passed over: affinity is local
us       10.2.1.8:8080  us-a  passed over: affinity is local
us       and 92 more          passed over: affinity is local
Every backend is shown with --all.
"
        ),
        "{text}"
    );
    assert!(text.starts_with("Service shop/shop on the nodes of cluster eu\n"));

    let text = service(&shop, true, false);
    let last = "us       10.2.1.100:8080  us-a  passed over: affinity is local\n";
    assert!(text.ends_with(last), "{text}");
}

#[test]
fn gives_programs_every_backend_with_its_reason() {
    let value = serde_json::to_value(shop()).unwrap();

    let selection = &value["ports"][0]["selection"];
    assert_eq!(selection["backends"][0]["zone"], "eu-a");
    assert_eq!(
        selection["passed_over"][2],
        serde_json::json!({
            "cluster": "ap", "address": "10.3.1.2:8080", "zone": "ap-a", "because": "lost"
        })
    );
    let back: ServiceExplanation = serde_json::from_value(value).unwrap();
    assert_eq!(back, shop());
}

#[test]
fn says_where_the_kernel_differs() {
    let mut shop = shop();
    shop.ports[0].programmed = Some(sockets(["10.1.1.2:8080", "10.2.1.2:8080"]));
    let text = service(&shop, false, false);
    let expected = "The kernel lacks 10.1.2.2:8080 and still holds 10.2.1.2:8080.\n";
    assert!(text.ends_with(expected), "{text}");

    shop.ports[0].programmed = Some(sockets([]));
    let text = service(&shop, false, false);
    let expected = "The kernel lacks 10.1.1.2:8080, 10.1.2.2:8080.\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn says_why_a_name_has_its_answer() {
    let explanation = DnsExplanation {
        name: "shop.global.example".to_owned(),
        record_type: "A".to_owned(),
        response_code: "NOERROR".to_owned(),
        client: "10.1.1.2".parse().unwrap(),
        client_location: Some(Location::new(50.11, 8.68).unwrap()),
        client_found_by: "override 10.1.0.0/16".to_owned(),
        answers: vec!["198.51.100.11".to_owned()],
        reason: "it is the nearest of 1 healthy candidate".to_owned(),
        candidates: vec![
            candidate("192.0.2.11", Health::Unhealthy, 0, false, "its check fails"),
            candidate("198.51.100.11", Health::Healthy, 6_536, true, "nearest"),
        ],
    };

    assert_eq!(
        dns(&explanation, false),
        "\
shop.global.example A for 10.1.1.2, at 50.11,8.68 (override 10.1.0.0/16)
NOERROR: 198.51.100.11
because it is the nearest of 1 healthy candidate

CANDIDATE      HEALTH     DISTANCE  VERDICT
192.0.2.11     unhealthy  0 km      passed over: its check fails
198.51.100.11  healthy    6536 km   chosen: nearest
"
    );
}

#[test]
fn says_what_probes_see_of_a_tunnel() {
    let tunnel = TunnelReport {
        post_quantum: None,
        probes: Some(ProbeReport {
            health: Health::Healthy,
            since: 1_700_000_000_000,
            round_trip_microseconds: Some(12_345),
            round_trip_p99_microseconds: Some(112_345),
            loss_per_mille: 23,
            path_mtu: Some(1_371),
        }),
        ..tunnel()
    };

    let text = tunnel_text(&tunnel, 1_700_000_100, false);

    let line = "\n  probes    answered for 100 s, 2.3 % lost, round trip 12.3 ms, \
                of the slowest hundredth 112 ms, packets up to 1371 bytes\n  key  ";
    assert!(text.contains(line), "{text}");
}

#[test]
fn says_how_each_agent_reaches_a_peer() {
    let explanation = PeerExplanation {
        cluster: cluster("us", 2, ClusterState::Connected, Some(0)),
        node: "us-node-1".parse().unwrap(),
        tunnel: Some(tunnel()),
        reason: "the node announces a key".to_owned(),
        protected: ["10.2.1.0/24".parse().unwrap()].into(),
    };
    let asked = [
        answered("http://192.0.2.11:9962", explanation),
        unanswered("http://192.0.2.12:9962"),
    ];

    assert_eq!(
        peers(&asked, 1_700_000_031, false),
        "\
Agent http://192.0.2.11:9962
  peer      us/us-node-1, whose cluster is connected
  reason    the node announces a key
  tunnel    up to 198.51.100.11:51871, last handshake 31 s ago, 1480 bytes received, 2960 sent
  key       bm90IGEga2V5LCBidXQgMzIgYnl0ZXMgb2YgdGV4dC4=
  allowed   10.2.1.0/24, 198.51.100.11/32
  protected 10.2.1.0/24

Agent http://192.0.2.12:9962
  unreachable: connection refused; is it running?
"
    );
}

fn shop() -> ServiceExplanation {
    let affinity = Because::Affinity(Affinity::Local);
    ServiceExplanation {
        service: topology::id::ServiceName::new("shop", "shop").unwrap(),
        cluster: "eu".parse().unwrap(),
        node: Some("eu-node-1".parse().unwrap()),
        global: true,
        shared: true,
        affinity: Affinity::Local,
        frontends: ["10.111.0.10".parse().unwrap()].into(),
        ports: vec![PortExplanation {
            name: "http".to_owned(),
            port: L4Port {
                protocol: Protocol::Tcp,
                port: 80,
            },
            selection: Selection {
                backends: [
                    backend("eu", "10.1.1.2:8080"),
                    backend("eu", "10.1.2.2:8080"),
                ]
                .into(),
                reason: Reason::Preferred(Affinity::Local),
                passed_over: vec![
                    passed_over("us", "10.2.1.2:8080", affinity),
                    passed_over("us", "10.2.2.2:8080", affinity),
                    passed_over("ap", "10.3.1.2:8080", Because::Lost),
                ],
            },
            programmed: Some(sockets(["10.1.1.2:8080", "10.1.2.2:8080"])),
        }],
    }
}

fn backend(cluster: &str, address: &str) -> Backend {
    Backend {
        cluster: cluster.parse().unwrap(),
        address: address.parse().unwrap(),
        zone: Some(format!("{cluster}-a")),
    }
}

fn passed_over(cluster: &str, address: &str, because: Because) -> PassedOver {
    PassedOver {
        backend: backend(cluster, address),
        because,
    }
}

fn sockets<const N: usize>(texts: [&str; N]) -> BTreeSet<SocketAddr> {
    texts.map(|it| it.parse().unwrap()).into()
}

fn candidate(
    value: &str,
    health: Health,
    kilometers: u32,
    chosen: bool,
    because: &str,
) -> DnsCandidate {
    DnsCandidate {
        value: value.to_owned(),
        health: Some(health),
        distance: Some(Kilometers(kilometers)),
        chosen,
        because: because.to_owned(),
    }
}
