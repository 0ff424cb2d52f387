use topology::geo::{Kilometers, Location};
use topology::select::{Backend, Because, PassedOver, Reason, Selection};
use topology::service::{Affinity, L4Port, Protocol};

use super::*;
use crate::status::tests::{answered, cluster, tunnel, unanswered};

#[test]
fn says_which_backends_serve_and_which_do_not() {
    assert_eq!(
        service(&shop(), false),
        "\
Service shop/shop on node eu-node-1 of cluster eu
global, affinity local; served at 10.111.0.10

Port http 80/TCP: preferred by affinity local
CLUSTER  BACKEND        VERDICT
eu       10.1.1.2:8080  chosen
eu       10.1.2.2:8080  chosen
us       2 backends     passed over: affinity is local
ap       1 backend      passed over: the cluster does not answer
The kernel holds the same.
"
    );
}

#[test]
fn says_where_the_kernel_differs() {
    let mut shop = shop();
    shop.ports[0].programmed = sockets(["10.1.1.2:8080", "10.2.1.2:8080"]);
    let text = service(&shop, false);
    let expected = "The kernel lacks 10.1.2.2:8080 and still holds 10.2.1.2:8080.\n";
    assert!(text.ends_with(expected), "{text}");

    shop.ports[0].programmed = sockets([]);
    let text = service(&shop, false);
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
    let backend = |address: &str| Backend {
        cluster: "eu".parse().unwrap(),
        address: address.parse().unwrap(),
    };
    let passed_over = |cluster: &str, backends, because| PassedOver {
        cluster: cluster.parse().unwrap(),
        backends,
        because,
    };
    ServiceExplanation {
        service: topology::id::ServiceName::new("shop", "shop").unwrap(),
        cluster: "eu".parse().unwrap(),
        node: "eu-node-1".parse().unwrap(),
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
                backends: [backend("10.1.1.2:8080"), backend("10.1.2.2:8080")].into(),
                reason: Reason::Preferred(Affinity::Local),
                passed_over: vec![
                    passed_over("us", 2, Because::Affinity(Affinity::Local)),
                    passed_over("ap", 1, Because::Lost),
                ],
            },
            programmed: sockets(["10.1.1.2:8080", "10.1.2.2:8080"]),
        }],
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
