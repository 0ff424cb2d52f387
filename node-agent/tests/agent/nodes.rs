//! What nodes send each other themselves, watched on the wire between two of them.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::near_node::{NearNode, V4, V6};
use crate::plaintext::{Capture, MARKER};
use crate::probes::loss_per_mille;
use crate::publish;
use crate::world::{World, inside};

#[test]
fn encrypts_what_nodes_send_each_other() {
    let mut world = World::new();
    let mut node = NearNode::new(&world);
    let capture = Capture::start(&world);
    publish(&world, &["10.1.1.2"]);
    world.agent_arguments = ALL.map(str::to_owned).into();
    seen(&world, &node, &capture, "nobody encrypts yet");

    start(&mut world, &mut node);
    wait_until_led(&world, &node, LABELS_NONE);
    sealed(&world, &node, &capture, "both ends take part");
    asks_for_neighbors(&world, &node, &capture);
    carries_what_pods_send_to_nodes(&world, &node, &capture);
    loses_nothing_while_an_agent_restarts(&mut world, &node, &capture);
    leaves_out_who_is_opted_out(&world, &node, &capture);
    goes_on_without_a_tunnel(&world, &mut node, &capture);
    leaves_nothing_behind(&mut world);
    holds_what_it_cannot_encrypt(&mut world, &node, &capture);
}

#[test]
fn probes_nodes_whose_pods_have_ipv6_only() {
    let mut world = World::new();
    let mut node = NearNode::new(&world);
    publish(&world, &["10.1.1.2"]);
    world.agent_arguments = ["--encrypt", "nodes"].map(str::to_owned).into();
    announce(&world, LABELS_NONE, pods_v6);
    world.start_device();
    world.start_agent();
    node.start_device();
    node.start_agent(&["--encrypt", "nodes"]);

    let is_well = |status: &str| {
        status.contains(r#""health":"healthy""#) && status.contains(r#""pathMtu":1420"#)
    };
    world.wait_until("both see each other", || {
        announce(&world, LABELS_NONE, pods_v6);
        is_well(&world.admin("/v1/status"))
            && node.admin("/v1/status").is_some_and(|it| is_well(&it))
    });

    node.kill_agent();
    world.wait_until("probes are lost", || {
        let status = world.admin("/v1/status");
        loss_per_mille(&status).is_some_and(|it| 200 < it)
    });
    let status = world.admin("/v1/status");
    assert!(is_well(&status), "its kernel answers: {status}");

    node.kill_device();
    world.wait_until("the other node is out of reach", || {
        !world.admin("/v1/status").contains(r#""health":"healthy""#)
    });
}

const ALL: [&str; 2] = ["--encrypt", "all"];

const LABELS_NONE: &str = "{}";
const LABELS_CONTROL_PLANE: &str = r#"{"node-role.kubernetes.io/control-plane":""}"#;

fn start(world: &mut World, node: &mut NearNode) {
    announce(world, LABELS_NONE, pods);
    world.start_device();
    world.start_agent();
    node.start_device();
    node.start_agent(&ALL);
}

/// With a strict check of where packets come from: a request must find its sender on the wire, although
/// what is sent there goes into the tunnel.
fn asks_for_neighbors(world: &World, node: &NearNode, capture: &Capture) {
    for namespace in [world.namespace(), node.namespace()] {
        let strict = inside(namespace, || {
            let output = std::process::Command::new("sysctl")
                .args(["-n", "net.ipv4.conf.all.rp_filter"])
                .output();
            output.unwrap().stdout
        });
        assert_eq!(strict, b"1\n");
    }
    world.ip("neighbor flush dev under0");
    node.ip("neighbor flush dev under0");
    sealed(world, node, capture, "neighbors have forgotten each other");
}

/// A pod's address takes the place of the pod.
fn carries_what_pods_send_to_nodes(world: &World, node: &NearNode, capture: &Capture) {
    let there = inside(node.namespace(), || UdpSocket::bind((V4[1], 0))).unwrap();
    let here = world.inside(|| UdpSocket::bind("10.1.1.2:0")).unwrap();
    let mut received = [0; MARKER.len()];
    for socket in [&here, &there] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    here.send_to(MARKER, there.local_addr().unwrap()).unwrap();
    let (_, from) = there.recv_from(&mut received).unwrap();
    there.send_to(MARKER, from).unwrap();
    here.recv_from(&mut received).unwrap();

    assert_eq!(from, here.local_addr().unwrap());
    thread::sleep(SETTLE);
    assert_eq!(capture.count().marked, 0, "between a pod and a node");
}

fn loses_nothing_while_an_agent_restarts(world: &mut World, node: &NearNode, capture: &Capture) {
    capture.count();
    let ended = AtomicBool::new(false);
    let from = world.namespace().to_owned();
    let (failed, marked) = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let mut failed = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                failed.extend(talk(&from, node.namespace(), V4[1]).err());
                failed.extend(talk(node.namespace(), &from, V6[0]).err());
            }
            failed
        });
        let streaming = scope.spawn(|| stream(&from, capture, &ended));
        world.kill_agent();
        world.start_agent();
        ended.store(true, Ordering::Relaxed);
        (talking.join().unwrap(), streaming.join().unwrap())
    });
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(marked, 0, "while the agent restarted");
    sealed(world, node, capture, "the agent is back");
}

/// Sends datagrams so fast that no gap goes unnoticed, and returns how many the wire showed.
fn stream(from: &str, capture: &Capture, ended: &AtomicBool) -> usize {
    let socket = inside(from, || UdpSocket::bind((V4[0], 0))).unwrap();
    let mut marked = 0;
    while !ended.load(Ordering::Relaxed) {
        // The other node says that nobody listens.
        let _told = socket.send_to(MARKER, (V4[1], 9));
        marked += capture.count().marked;
        thread::sleep(Duration::from_millis(1));
    }
    marked
}

fn leaves_out_who_is_opted_out(world: &World, node: &NearNode, capture: &Capture) {
    world.wait_until("nothing is led into tunnels", || {
        announce(world, LABELS_CONTROL_PLANE, pods);
        let status = node.admin("/v1/status").unwrap_or_default();
        status.contains(r#""nodeEncryption":"optedOut""#)
            && !led(&world.ip(ROUTES), V4[1])
            && !led(&world.ip(ROUTES_V6), V6[1])
            && !led(&node.ip(ROUTES), V4[0])
    });
    seen(world, node, capture, "one is opted out");

    wait_until_led(world, node, LABELS_NONE);
    sealed(world, node, capture, "nobody is opted out");
}

/// What nodes need from each other to have tunnels must not depend on them.
fn goes_on_without_a_tunnel(world: &World, node: &mut NearNode, capture: &Capture) {
    node.kill_device();
    world.wait_until("nothing leads into the dead tunnel", || {
        !led(&world.ip(ROUTES), V4[1]) && !led(&world.ip(ROUTES_V6), V6[1])
    });
    seen(world, node, capture, "there is no tunnel");

    node.start_device();
    wait_until_led(world, node, LABELS_NONE);
    sealed(world, node, capture, "the tunnel is back");
}

fn leaves_nothing_behind(world: &mut World) {
    assert!(world.terminate_agent().success());
    assert!(world.ip("rule show").contains("lookup 201"));

    let (status, stderr) = world.run_agent(&["--cleanup"]);

    assert!(status.success(), "{stderr}");
    for (rules, routes) in [("rule show", ROUTES), ("-6 rule show", ROUTES_V6)] {
        let rules = world.ip(rules);
        assert!(!rules.contains("201") && !rules.contains("nop"), "{rules}");
        assert_eq!(world.ip(routes), "");
    }
}

fn holds_what_it_cannot_encrypt(world: &mut World, node: &NearNode, capture: &Capture) {
    world
        .agent_arguments
        .push("--node-encryption-strict".to_owned());
    world.start_agent();
    wait_until_led(world, node, LABELS_NONE);

    world.kill_device();

    capture.count();
    for address in [V4[1], V6[1]] {
        let error = talk(world.namespace(), node.namespace(), address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{error}");
        let _told = say(world.namespace(), address);
    }
    thread::sleep(SETTLE);
    assert_eq!(capture.count().marked, 0, "nothing goes out as it is");
}

/// What another processor took may still be on its way.
const SETTLE: Duration = Duration::from_millis(100);

#[track_caller]
fn sealed(world: &World, node: &NearNode, capture: &Capture, state: &str) {
    assert_eq!(attack(world, node, capture), 0, "{state}");
}

#[track_caller]
fn seen(world: &World, node: &NearNode, capture: &Capture, state: &str) {
    // To and fro, for each way, over TCP alone.
    let marked = attack(world, node, capture);
    assert!(8 <= marked, "{marked} while {state}");
}

/// Lets the nodes talk over everything they have, and returns how much of it the wire showed.
#[track_caller]
fn attack(world: &World, node: &NearNode, capture: &Capture) -> usize {
    capture.count();
    let (here, there) = (world.namespace(), node.namespace());
    for family in [V4, V6] {
        talk(here, there, family[1]).unwrap();
        talk(there, here, family[0]).unwrap();
        say(here, family[1]).unwrap();
        say(there, family[0]).unwrap();
    }
    thread::sleep(SETTLE);
    capture.count().marked
}

/// Far beyond what a connection takes whose first packets are lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has one node ask the other over TCP, and waits for the answer.
fn talk(from: &str, to: &str, address: &str) -> io::Result<()> {
    let address: IpAddr = address.parse().unwrap();
    let listener = inside(to, || TcpListener::bind((address, 0)))?;
    let place = listener.local_addr()?;
    thread::scope(|scope| {
        scope.spawn(|| answer(&listener));
        let asked = inside(from, || ask(place));
        if asked.is_err() {
            // Nobody else comes.
            let _ended = inside(to, || TcpStream::connect(place));
        }
        asked
    })
}

fn answer(listener: &TcpListener) {
    let mut question = [0; MARKER.len()];
    let answered = listener.accept().and_then(|(mut connection, _)| {
        connection.read_exact(&mut question)?;
        connection.write_all(&question)
    });
    // Who asks sees what went wrong.
    drop(answered);
}

fn ask(place: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&place, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(MARKER)?;
    let mut answer = [0; MARKER.len()];
    connection.read_exact(&mut answer)?;
    assert_eq!(&answer, MARKER);
    Ok(())
}

/// Sends a datagram that nobody waits for.
fn say(from: &str, address: &str) -> io::Result<()> {
    let address: IpAddr = address.parse().unwrap();
    inside(from, || {
        let any = match address {
            IpAddr::V4(_) => "0.0.0.0:0",
            IpAddr::V6(_) => "[::]:0",
        };
        UdpSocket::bind(any)?.send_to(MARKER, (address, 9))?;
        Ok(())
    })
}

const ROUTES: &str = "route show table all proto 201";
const ROUTES_V6: &str = "-6 route show table all proto 201";

fn wait_until_led(world: &World, node: &NearNode, labels: &str) {
    world.wait_until("both lead into the tunnel", || {
        announce(world, labels, pods);
        led(&world.ip(ROUTES), V4[1])
            && led(&world.ip(ROUTES_V6), V6[1])
            && led(&node.ip(ROUTES), V4[0])
            && led(&node.ip(ROUTES_V6), V6[0])
    });
    let status = world.admin("/v1/status");
    assert!(status.contains(r#""nodeEncryption":"enabled""#), "{status}");
}

/// Whether an address is led into a tunnel.
fn led(routes: &str, address: &str) -> bool {
    let start = format!("{address} dev cw");
    routes.lines().any(|it| it.starts_with(&start))
}

/// The pod prefix of either node, as its record has it.
fn pods(index: usize) -> Value {
    let prefix = ["10.1.1.0", "10.1.3.0"][index];
    json!({"IPv4AllocCIDR": {"IP": prefix, "Mask": "////AA=="}})
}

fn pods_v6(index: usize) -> Value {
    let prefix = ["fd00:10:1:1::", "fd00:10:1:3::"][index];
    json!({"IPv6AllocCIDR": {"IP": prefix, "Mask": "//////////8AAAAAAAAAAA=="}})
}

const NODES: [&str; 2] = ["node-1", "node-3"];

/// What an API server makes of both Nodes and of what their agents say; the other one has labels.
fn announce(world: &World, labels: &str, pods: fn(usize) -> Value) {
    for (index, name) in NODES.into_iter().enumerate() {
        let said = world
            .store
            .get(&format!("causeway/agents/tunnel/v1/eu/{name}"));
        let said: Value = said.map_or(Value::Null, |it| serde_json::from_str(&it).unwrap());
        let mut node = json!({
            "Name": name, "Cluster": "eu", "ClusterID": 1,
            "IPAddresses": [
                {"Type": "InternalIP", "IP": V4[index]},
                {"Type": "InternalIP", "IP": V6[index]},
            ],
            "WireguardPubKey": said["publicKey"].as_str().unwrap_or_default(),
        });
        node.as_object_mut()
            .unwrap()
            .extend(pods(index).as_object().unwrap().clone());
        if index == 1 {
            node["Labels"] = serde_json::from_str(labels).unwrap();
        }
        let key = format!("cilium/state/nodes/v1/eu/{name}");
        let node = node.to_string();
        if world.store.get(&key).as_ref() != Some(&node) {
            world.store.put(&key, &node);
        }
    }
}
