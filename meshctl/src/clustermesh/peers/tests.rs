use std::collections::BTreeMap;

use topology::record::{Capabilities, ClusterConfig};
use topology::report::{
    Failure, KindReport, LinkReport, LivenessReport, PulseReport, ThrottleReport, ViolationReport,
};

use super::*;
use crate::status::tests::{agent, answered, cluster, tunnel, unanswered};

const NOW: u64 = 1_700_000_000_000;

#[test]
fn shows_remote_clusters_that_are_well() {
    let peers = MeshPeers::new(vec![apiserver(vec![us()])], vec![eu_node()], NOW);

    assert!(peers.well, "{:?}", peers.problems);
    assert_eq!(
        peers.text(NOW, false),
        "\
ClusterMesh of cluster eu: 1 of 1 remote clusters well

PEER  ID  STATE      SINCE  SYNCED  PULSE         NODES  SERVICES  IDENTITIES  ENDPOINTS  SLICES  EXPORTS  FAILURES  AGENTS  TUNNELS
us    2   connected  2m     6/6     1.5ms 3s ago  2      1         4           6          1       0        1         1/1     1/1

us
  endpoints    https://192.0.2.20:2379
  decided by   etcd; 2 of 2 nodes reach its pods
  last failure 1m ago: connection refused
  config       id 2, mesh of 255, canaries on, services-and-endpointslices, service exports off
  certificate  remote-eu, 89d left (/pki/us.crt)
  violations   none

"
    );
}

#[test]
fn says_who_decides() {
    let text = |decided_by, nodes_reporting, nodes_reaching, nodes_not_reaching| {
        let mut us = us();
        us.liveness = LivenessReport {
            decided_by,
            nodes_reporting,
            nodes_reaching,
            nodes_not_reaching,
        };
        let peers = MeshPeers::new(vec![apiserver(vec![us])], vec![eu_node()], NOW);
        let json = serde_json::to_value(&peers).unwrap();
        let decided_by = &json["clusters"][0]["peers"][0]["liveness"]["decidedBy"];
        (
            decided_by.as_str().unwrap().to_owned(),
            peers.text(NOW, false),
        )
    };

    let (witness, shown) = text(Witness::Etcd, 0, 0, 0);
    assert_eq!(witness, "etcd");
    let expected = "  decided by   etcd; no node reports what it reaches\n";
    assert!(shown.contains(expected), "{shown}");
    let (witness, shown) = text(Witness::DataPlane, 4, 2, 1);
    assert_eq!(witness, "data plane");
    let expected = "  decided by   data plane; 2 of 4 nodes reach its pods, 1 unknown yet\n";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn says_what_keeps_a_cluster_from_being_well() {
    check("cluster us is lost: no answer", |it| {
        it.cluster.state = ClusterState::Lost;
        it.cluster.reason = "no answer".to_owned();
        it.link.connected = false;
    });
    check("cluster us is not connected yet", |it| {
        it.cluster.state = ClusterState::Undecided;
    });
    check("cluster us is not synced", |it| it.cluster.synced = false);
    check("the connection to cluster us is interrupted", |it| {
        it.link.connected = false;
    });
    check(
        "cluster us is kept, and tells nothing new: it is away",
        |it| {
            it.link.connected = false;
            it.liveness.decided_by = Witness::DataPlane;
            it.cluster.reason = "it is away".to_owned();
        },
    );
    check(
        "nothing of cluster us is believed: its id 1 is taken",
        |it| {
            it.refusal = "its id 1 is taken".to_owned();
        },
    );
    check(
        "no pulse of cluster us has arrived for more than 15 s: changes may not arrive either",
        |it| {
            it.pulse = Some(PulseReport {
                at: Some(NOW - 16_000),
                latency_microseconds: 1,
            });
        },
    );
    check(
        "no pulse of cluster us has arrived yet: changes may not arrive either",
        |it| {
            it.pulse = Some(PulseReport {
                at: None,
                latency_microseconds: 0,
            });
        },
    );
}

#[test]
fn believes_agents_more_than_connections() {
    let mut node = eu_node();
    answer_mut(&mut node).tunnels[0].up = false;

    let peers = MeshPeers::new(vec![apiserver(vec![us()])], vec![node], NOW);

    assert!(!peers.well);
    assert_eq!(
        peers.problems[0].headline(),
        "eu-node-1: cluster us is not reached: 1 of 1 agents have it connected and synced, 0 of 1 \
         tunnels to it are up"
    );
    assert_eq!(
        peers.summary(),
        format!(
            "0 of 1 remote clusters well; {}",
            peers.problems[0].headline()
        )
    );
}

#[test]
fn is_well_with_a_cluster_that_sends_no_pulse() {
    let mut us = us();
    us.pulse = None;

    assert!(MeshPeers::new(vec![apiserver(vec![us])], Vec::new(), NOW).well);
}

#[test]
fn is_not_well_without_anybody_to_ask_or_to_mirror() {
    check_problem(Vec::new(), "the context file lists no apiservers");
    check_problem(
        vec![apiserver(Vec::new())],
        "no remote cluster is configured",
    );
    let gone = "unreachable: connection refused; is it running?";
    check_problem(vec![unanswered("http://192.0.2.10:9962")], gone);
}

#[test]
fn warns_without_calling_the_cluster_unwell() {
    let mut us = us();
    us.violations = ViolationReport {
        by_reason: BTreeMap::from([("mismatch".to_owned(), 2)]),
        last: "cilium/state/nodes/v1/us/a: its name is b".to_owned(),
    };
    us.certificate.as_mut().unwrap().not_after = NOW + 30 * 24 * 60 * 60 * 1_000;

    let peers = MeshPeers::new(vec![apiserver(vec![us])], Vec::new(), NOW);

    assert!(peers.well);
    let text = peers.text(NOW, false);
    assert_eq!(
        text.split_once("\nWarnings\n").unwrap().1,
        "\
- apiserver of eu: 2 records of cluster us broke its contract since the start: mismatch 2; \
at last cilium/state/nodes/v1/us/a: its name is b
  remedy: correct what us publishes, or what us.contract.yaml allows it
- apiserver of eu: the certificate /pki/us.crt expires in 30 days
  remedy: renew it; `meshctl clustermesh connect` renews those towards peers
"
    );
}

#[test]
fn says_since_when_changes_are_held_back() {
    let mut us = us();
    us.throttle = Some(ThrottleReport {
        since: NOW - 90_000,
        changes_waiting: 512,
        changes_per_second: 100,
    });

    let peers = MeshPeers::new(vec![apiserver(vec![us])], Vec::new(), NOW);

    assert!(peers.well, "late is not wrong");
    let held =
        "for 1m: more than the 100 changes in a second that its contract permits; 512 wait here";
    let text = peers.text(NOW, false);
    assert!(text.contains(&format!("  held back    {held}\n")), "{text}");
    let warning = format!(
        "- apiserver of eu: changes of cluster us are held back {held}\n  remedy: find out why us \
         changes so much, or raise limits.changesPerSecond in us.contract.yaml\n"
    );
    assert!(text.ends_with(&warning), "{text}");
    let value = serde_json::to_value(peers).unwrap();
    let throttle = &value["clusters"][0]["peers"][0]["throttle"];
    assert_eq!(throttle["since"], NOW - 90_000);
    assert_eq!(throttle["changesWaiting"], 512);
}

#[test]
fn gives_programs_every_number() {
    let peers = MeshPeers::new(vec![apiserver(vec![us()])], vec![eu_node()], NOW);

    let value = serde_json::to_value(peers).unwrap();

    let us = &value["clusters"][0]["peers"][0];
    assert_eq!(us["well"], true);
    assert_eq!(us["cluster"]["state"], "connected");
    assert_eq!(us["kinds"]["ip"]["records"], 6);
    assert_eq!(us["config"]["capabilities"]["syncedCanaries"], true);
    assert_eq!(us["agents"]["tunnelsUp"], 1);
    assert_eq!(us["pulse"]["latencyMicroseconds"], 1_500);
}

/// Damages the view of a cluster that is well, and expects the one problem `what`.
#[track_caller]
fn check(what: &str, damage: impl FnOnce(&mut PeerReport)) {
    let mut us = us();
    damage(&mut us);
    check_problem(vec![apiserver(vec![us])], what);
}

#[track_caller]
fn check_problem(apiservers: Vec<Asked<ApiserverStatus>>, what: &str) {
    let peers = MeshPeers::new(apiservers, Vec::new(), NOW);
    let found: Vec<&str> = peers.problems.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(found, [what]);
    assert!(!peers.well);
}

fn apiserver(peers: Vec<PeerReport>) -> Asked<ApiserverStatus> {
    answered(
        "http://192.0.2.10:9962",
        ApiserverStatus {
            cluster: "eu".parse().unwrap(),
            id: 1.try_into().unwrap(),
            version: "0.1.0".to_owned(),
            ready: true,
            objects: 17,
            records: 42,
            clusters: Vec::new(),
            peers,
            certificate: None,
            problems: Vec::new(),
        },
    )
}

fn eu_node() -> Asked<AgentStatus> {
    let clusters = vec![cluster(
        "us",
        2,
        ClusterState::Connected,
        Some(NOW - 125_000),
    )];
    let mut agent = agent(clusters);
    agent.tunnels = vec![tunnel()];
    answered("http://192.0.2.11:9962", agent)
}

fn us() -> PeerReport {
    let kind = |(kind, records): (&str, usize)| {
        let synced = true;
        (kind.to_owned(), KindReport { records, synced })
    };
    let kinds = [
        ("endpointslices", 1),
        ("identities", 4),
        ("ip", 6),
        ("nodes", 2),
        ("serviceexports", 0),
        ("services", 1),
    ];
    PeerReport {
        cluster: cluster("us", 2, ClusterState::Connected, Some(NOW - 125_000)),
        liveness: LivenessReport {
            nodes_reporting: 2,
            nodes_reaching: 2,
            ..LivenessReport::default()
        },
        endpoints: vec!["https://192.0.2.20:2379".to_owned()],
        link: LinkReport {
            connected: true,
            etcd_cluster_id: "beef".to_owned(),
            failures: 1,
            last_failure: Some(Failure {
                at: NOW - 61_000,
                reason: "connection refused".to_owned(),
            }),
        },
        kinds: kinds.map(kind).into(),
        config: Some(ClusterConfig {
            id: 2.try_into().unwrap(),
            capabilities: Capabilities {
                synced_canaries: true,
                max_connected_clusters: 255,
                service_exports_enabled: Some(false),
                endpoint_slices_export_mode: "services-and-endpointslices".to_owned(),
                ..Capabilities::default()
            },
        }),
        refusal: String::new(),
        violations: ViolationReport::default(),
        certificate: Some(CertificateReport {
            file: "/pki/us.crt".to_owned(),
            common_name: "remote-eu".to_owned(),
            not_before: NOW - 1_000,
            not_after: NOW + 90 * 24 * 60 * 60 * 1_000 - 1_000,
            problem: String::new(),
        }),
        pulse: Some(PulseReport {
            at: Some(NOW - 3_500),
            latency_microseconds: 1_500,
        }),
        throttle: None,
    }
}

fn answer_mut<T>(asked: &mut Asked<T>) -> &mut T {
    match &mut asked.outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Error(error) => panic!("{error}"),
    }
}
