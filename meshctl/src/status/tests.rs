use std::collections::BTreeMap;

use topology::health::Health;
use topology::report::{CheckReport, ClusterState, Problem, StoreReport, TunnelReport, ZoneReport};

use super::*;

#[test]
fn shows_a_mesh_that_is_well() {
    let status = MeshStatus::new("eu".to_owned(), well());

    assert!(status.well);
    assert_eq!(
        status.text(NOW, false),
        "\
Mesh as cluster eu sees it: all is well

Clusters
NAME  ID  STATE      SINCE  SYNCED  NODES  SERVICES  IDENTITIES  ENDPOINTS
eu    1   own        -      yes     2      1         4           6
us    2   connected  2m     yes     2      1         4           6

API servers
ADDRESS                 CLUSTER  READY  OBJECTS  RECORDS  VERSION
http://192.0.2.10:9962  eu       yes    17       42       0.1.0

Agents
ADDRESS                 NODE       READY  ETCD       TUNNELS  SERVICES  BACKENDS  VERSION
http://192.0.2.11:9962  eu-node-1  yes    connected  1/1      3         9         0.1.0

DNS authorities
ADDRESS                 READY  ETCD       ZONES  NAMES  CHECKS  VERSION
http://192.0.2.10:9963  yes    connected  2      5      1/1     0.1.0
"
    );
}

#[test]
fn ends_with_every_problem_and_its_remedy() {
    let mut answers = well();
    agent_mut(&mut answers).tunnels[0].up = false;
    lose(&mut agent_mut(&mut answers).clusters[1]);
    lose(&mut apiserver_mut(&mut answers).clusters[1]);
    answers.dns = vec![unanswered("http://192.0.2.10:9963")];

    let status = MeshStatus::new("eu".to_owned(), answers);

    assert!(!status.well);
    let text = status.text(NOW, false);
    assert!(text.contains("us    2   lost   12s    yes "), "{text}");
    assert!(text.contains("  0/1  "), "{text}");
    assert_eq!(
        text.split_once("DNS authorities\n").unwrap().1,
        "\
ADDRESS                 READY  ETCD  ZONES  NAMES  CHECKS  VERSION
http://192.0.2.10:9963  unreachable: connection refused; is it running?

Problems
- apiserver of eu, eu-node-1: cluster us is lost: no answer to a ping
  remedy: check the way to us and that its clustermesh-apiserver runs
- eu-node-1: the tunnel to us/us-node-1 is down
  remedy: ask `meshctl explain peer us/us-node-1`; \
check that UDP 51871 passes between the nodes
- dns http://192.0.2.10:9963: unreachable: connection refused; is it running?
  remedy: start it, or correct its address in the context file
"
    );
    assert_eq!(
        status.summary(),
        "apiserver of eu, eu-node-1: cluster us is lost: no answer to a ping; and 2 more"
    );
}

#[test]
fn is_not_well_for_any_single_reason() {
    check("cluster us is not synced", |it| {
        agent_mut(it).clusters[1].synced = false;
    });
    check("not ready", |it| agent_mut(it).ready = false);
    check("not ready", |it| apiserver_mut(it).ready = false);
    check("not ready", |it| dns_mut(it).ready = false);
    check("the disk is full", |it| {
        apiserver_mut(it).problems.push(problem("the disk is full"));
    });
    check("does not know cluster us, which others know", |it| {
        agent_mut(it).clusters.pop();
    });
}

#[test]
fn tells_once_what_a_daemon_says_itself() {
    check("no connection to etcd: connection refused", |it| {
        let agent = agent_mut(it);
        agent.store = StoreReport::default();
        let what = "no connection to etcd: connection refused";
        agent.problems.push(problem(what));
    });
    check("tcp 192.0.2.11:80 is unhealthy: refused", |it| {
        let dns = dns_mut(it);
        dns.checks[0].health = Health::Unhealthy;
        let what = "tcp 192.0.2.11:80 is unhealthy: refused";
        dns.problems.push(problem(what));
    });
}

#[test]
fn does_not_call_lost_what_was_not_reached_yet() {
    let begin = |answers: &mut Answers| {
        let us = &mut apiserver_mut(answers).clusters[1];
        us.state = ClusterState::Undecided;
        us.since = None;
    };
    check("cluster us is not connected yet", begin);

    let mut answers = well();
    begin(&mut answers);
    let status = MeshStatus::new("eu".to_owned(), answers);

    let text = status.text(NOW, false);
    assert!(text.contains("us    2   not yet  -      yes "), "{text}");
}

#[test]
fn counts_each_silent_daemon() {
    let mut answers = well();
    answers.dns = ["http://192.0.2.10:9963", "http://192.0.2.20:9963"]
        .map(unanswered)
        .into();

    let status = MeshStatus::new("eu".to_owned(), answers);

    assert_eq!(status.problems.len(), 2);
}

#[test]
fn is_well_without_a_mesh_behind_the_dns() {
    let mut answers = well();
    dns_mut(&mut answers).store = None;

    assert!(MeshStatus::new("eu".to_owned(), answers).well);
}

#[test]
fn names_a_few_witnesses_and_counts_the_rest() {
    let names: Vec<String> = (1..=6).map(|it| format!("n{it}")).collect();

    assert_eq!(witnesses(&names[..1]), "n1");
    assert_eq!(witnesses(&names[..4]), "n1, n2, n3, n4");
    assert_eq!(witnesses(&names), "n1, n2, n3 and 3 more");
}

#[test]
fn gives_programs_the_answers_by_endpoint() {
    let mut answers = well();
    answers.dns = vec![unanswered("http://192.0.2.10:9963")];

    let value = serde_json::to_value(MeshStatus::new("eu".to_owned(), answers)).unwrap();

    assert_eq!(value["well"], false);
    assert_eq!(value["agents"][0]["endpoint"], "http://192.0.2.11:9962");
    assert_eq!(value["agents"][0]["answer"]["node"], "eu-node-1");
    let error = "unreachable: connection refused; is it running?";
    assert_eq!(value["dns"][0]["error"], error);
    assert_eq!(value["problems"][0]["what"], error);
    assert_eq!(
        value["problems"][0]["seenBy"][0],
        "dns http://192.0.2.10:9963"
    );
}

const NOW: u64 = 1_700_000_000_000;

/// Breaks a mesh that is well, and expects the one problem `what`.
#[track_caller]
fn check(what: &str, damage: impl FnOnce(&mut Answers)) {
    let mut answers = well();
    damage(&mut answers);

    let status = MeshStatus::new("eu".to_owned(), answers);

    let problems: Vec<&str> = status.problems.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(problems, [what]);
    assert!(!status.well);
}

fn problem(what: &str) -> Problem {
    Problem {
        what: what.to_owned(),
        remedy: "make it right".to_owned(),
    }
}

fn well() -> Answers {
    let clusters = vec![
        cluster("eu", 1, ClusterState::Own, None),
        cluster("us", 2, ClusterState::Connected, Some(NOW - 125_000)),
    ];
    Answers {
        apiservers: vec![answered(
            "http://192.0.2.10:9962",
            ApiserverStatus {
                cluster: "eu".parse().unwrap(),
                id: 1.try_into().unwrap(),
                version: "0.1.0".to_owned(),
                ready: true,
                objects: 17,
                records: 42,
                clusters: clusters.clone(),
                peers: Vec::new(),
                certificate: None,
                problems: Vec::new(),
            },
        )],
        agents: vec![answered("http://192.0.2.11:9962", agent(clusters))],
        dns: vec![answered("http://192.0.2.10:9963", dns())],
    }
}

pub(crate) fn agent(clusters: Vec<ClusterReport>) -> AgentStatus {
    AgentStatus {
        node: "eu-node-1".parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        version: "0.1.0".to_owned(),
        ready: true,
        store: connected(),
        clusters,
        tunnels: vec![tunnel()],
        encryption: None,
        services: 3,
        backends: 9,
        problems: Vec::new(),
    }
}

fn dns() -> DnsStatus {
    let zone = |source: &str, names| ZoneReport {
        origin: "global.example".to_owned(),
        source: source.to_owned(),
        names,
    };
    DnsStatus {
        version: "0.1.0".to_owned(),
        ready: true,
        listen: vec!["192.0.2.10:53".parse().unwrap()],
        zones: vec![zone("/etc/zones/global.example", 2), zone("mesh", 3)],
        checks: vec![CheckReport {
            target: "tcp 192.0.2.11:80".to_owned(),
            health: Health::Healthy,
            since: NOW,
            last_error: "connection refused".to_owned(),
        }],
        store: Some(connected()),
        problems: Vec::new(),
    }
}

fn connected() -> StoreReport {
    StoreReport {
        connected: true,
        since: NOW - 60_000,
        reason: String::new(),
    }
}

pub(crate) fn cluster(
    name: &str,
    id: u32,
    state: ClusterState,
    since: Option<u64>,
) -> ClusterReport {
    ClusterReport {
        name: name.parse().unwrap(),
        id: Some(id.try_into().unwrap()),
        state,
        since,
        reason: String::new(),
        synced: true,
        nodes: 2,
        services: 1,
        identities: 4,
        endpoints: 6,
    }
}

/// A tunnel of eu-node-1 to us-node-1, whose last handshake was at second 1,700,000,000.
pub(crate) fn tunnel() -> TunnelReport {
    TunnelReport {
        cluster: "us".parse().unwrap(),
        node: "us-node-1".parse().unwrap(),
        public_key: "bm90IGEga2V5LCBidXQgMzIgYnl0ZXMgb2YgdGV4dC4=".to_owned(),
        endpoint: Some("198.51.100.11:51871".parse().unwrap()),
        allowed_ips: ["10.2.1.0/24", "198.51.100.11/32"]
            .map(|it| it.parse().unwrap())
            .into(),
        last_handshake_unix_seconds: Some(NOW / 1_000),
        received_bytes: 1_480,
        sent_bytes: 2_960,
        dropped_packets: BTreeMap::new(),
        up: true,
        behind_nat: false,
        relayed_by: None,
        probes: None,
        post_quantum: None,
    }
}

pub(crate) fn answered<T>(endpoint: &str, answer: T) -> Asked<T> {
    Asked {
        endpoint: endpoint.to_owned().try_into().unwrap(),
        outcome: Outcome::Answer(answer),
    }
}

pub(crate) fn unanswered<T>(endpoint: &str) -> Asked<T> {
    Asked {
        endpoint: endpoint.to_owned().try_into().unwrap(),
        outcome: Outcome::Error("unreachable: connection refused; is it running?".to_owned()),
    }
}

fn lose(cluster: &mut ClusterReport) {
    cluster.state = ClusterState::Lost;
    cluster.since = Some(NOW - 12_500);
    cluster.reason = "no answer to a ping".to_owned();
}

fn apiserver_mut(answers: &mut Answers) -> &mut ApiserverStatus {
    answer_mut(&mut answers.apiservers[0])
}

fn agent_mut(answers: &mut Answers) -> &mut AgentStatus {
    answer_mut(&mut answers.agents[0])
}

fn dns_mut(answers: &mut Answers) -> &mut DnsStatus {
    answer_mut(&mut answers.dns[0])
}

fn answer_mut<T>(asked: &mut Asked<T>) -> &mut T {
    match &mut asked.outcome {
        Outcome::Answer(answer) => answer,
        Outcome::Error(error) => panic!("{error}"),
    }
}
