//! Two agents agree on post-quantum secrets through their tunnel, and nothing is reached without one:
//! before the first, and while it is renewed and agents are killed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wireguard::uapi::{Interface, PeerState};
use wireguard::{PresharedKey, PublicKey};

use crate::store::StoreThread;
use crate::world::{self, FarAgent, World};
use crate::{far_node, node};

/// Where a pod of the far node echoes, and a pod of the near one asks.
const ECHO: &str = "10.2.1.7:7007";
const POD: &str = "10.1.1.2:0";

#[test]
fn reaches_no_pod_without_a_secret_and_loses_nothing_with_one() {
    let mut world = World::new();
    far_node::ip(&world, "link set lo up");
    far_node::ip(&world, "address add 192.0.2.21/24 dev far0");
    far_node::ip(&world, "address add 10.2.1.7/32 dev lo");
    let mut far = FarAgent::new(&world);
    world.start_device_without_key();
    fill(&world.store, "eu", "us");
    fill(&far.store, "us", "eu");
    world.agent_arguments = ["--wireguard-post-quantum", "require"]
        .map(str::to_owned)
        .into();
    // So often that a test sees it.
    let renewal = [
        "--wireguard-post-quantum-renewal".to_owned(),
        "8s".to_owned(),
    ];
    world.agent_arguments.extend(renewal);

    world.start_agent();
    far.start(&[]);
    introduce(&world, &far);
    waits_for_the_other_end(&world, &far);
    far.kill();
    far.start(&world.agent_arguments);

    let running = AtomicBool::new(true);
    let echoed = AtomicU64::new(0);
    let (near_namespace, far_namespace) = (world.namespace().to_owned(), world.far());
    let lost = thread::scope(|scope| {
        scope.spawn(|| {
            world::enter(&far_namespace);
            echo(&running);
        });
        let ended = Ended(&running);
        both_have_one(&world, &far, None);
        let traffic = scope.spawn(|| {
            world::enter(&near_namespace);
            exchange(&running, &echoed)
        });
        lasts(&mut world, &mut far, &echoed);
        drop(ended);
        traffic.join().unwrap()
    });
    assert_eq!(lost, BTreeSet::new(), "datagrams without an echo");
}

/// The tunnel is up, and carries the far node's own addresses alone.
fn waits_for_the_other_end(world: &World, far: &FarAgent) {
    world.wait_until("the tunnel is up, and has no such secret", || {
        let status = world.admin("/v1/status");
        status.contains(r#""up":true"#) && status.contains(r#""postQuantum":"pending""#)
    });
    let own = Interface::open(world.interface());
    let carried = peer(&own).unwrap().allowed_ips;
    let expected = ["10.2.1.1/32", "fd00:10:2:1::1/128"];
    assert_eq!(carried, expected.map(|it| it.parse().unwrap()).into());
    let answer = world.inside(|| {
        let socket = UdpSocket::bind(POD).unwrap();
        socket.connect(ECHO).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let _unreachable = socket.send(b"anybody there?");
        socket.recv(&mut [0; 16]).is_ok()
    });
    assert!(!answer, "nothing leads there");
    world.wait_until("it is said who does not agree", || {
        let status = world.admin("/v1/status");
        status.contains("no pod of us/node-1 is reached")
            && status.contains(r#""postQuantum":"unsupported""#)
    });
    assert_eq!(peer(&far.interface()).unwrap().preshared_key, None);
}

/// Renewals and kills, while packets go back and forth.
fn lasts(world: &mut World, far: &mut FarAgent, echoed: &AtomicU64) {
    world.wait_until("pods are reached", || 0 < echoed.load(Ordering::Relaxed));
    let first = both_have_one(world, far, None);
    let second = both_have_one(world, far, Some(&first));
    assert_ne!(shown(world, far), first.to_base64());

    world.kill_agent();
    world.start_agent();
    let third = both_have_one(world, far, Some(&second));
    far.kill();
    far.start(&world.agent_arguments);
    let fourth = both_have_one(world, far, Some(&third));
    world.wait_until("metrics tell", || {
        let metrics = world.admin("/metrics");
        metrics.contains(r#"mesh_node_agent_post_quantum{state="established"} 1"#)
    });
    changes_its_key(world, far, &fourth);
    let before = echoed.load(Ordering::Relaxed);
    world.wait_until("packets go on", || {
        before + 50 < echoed.load(Ordering::Relaxed)
    });
}

/// Another key takes the place of the near node's; the secret goes with it, until there is another.
fn changes_its_key(world: &World, far: &FarAgent, former: &PresharedKey) {
    let announced = || ends(&world.store, "eu");
    let (old, _) = announced().unwrap();
    let answer = world.post("/v1/encrypt/rotate");
    assert!(answer.contains(r#""begun":true"#), "{answer}");
    world.wait_until("the next key is announced", || {
        announced().is_some_and(|(_, next)| next.is_some())
    });
    let (_, next) = announced().unwrap();
    let tell = |key, next| {
        let value = record("eu", Some(key), next);
        let key = "nodes/v1/eu/node-1";
        world.store.put(&format!("cilium/state/{key}"), &value);
        far.store.put(&format!("cilium/cache/{key}"), &value);
    };
    tell(old, next);
    let next = next.unwrap();
    world.wait_until("the device has the new key", || {
        world.public_key() == Some(next)
    });
    world.wait_until("the old key is announced no more", || {
        announced() == Some((next, None))
    });
    tell(next, None);
    world.wait_until("the far device has the new key alone", || {
        let peers = far.interface().get().unwrap().peers;
        peers.len() == 1 && peers.contains_key(&next)
    });
    both_have_one(world, far, Some(former));
}

/// The key that an agent announces, and the next one.
fn ends(store: &StoreThread, cluster: &str) -> Option<(PublicKey, Option<PublicKey>)> {
    let end = format!("causeway/agents/tunnel/v1/{cluster}/node-1");
    let value: Value = serde_json::from_str(&store.get(&end)?).unwrap();
    let key = |name: &str| value[name].as_str().map(|it| it.parse().unwrap());
    Some((key("publicKey")?, key("nextPublicKey")))
}

/// Waits until both devices have the same secret, another than `former`, and use it.
fn both_have_one(world: &World, far: &FarAgent, former: Option<&PresharedKey>) -> PresharedKey {
    let devices = [Interface::open(world.interface()), far.interface()];
    let common = || {
        let [near, far] = [0, 1].map(|it| peer(&devices[it]));
        let (near, far) = (near?, far?);
        let is_used = near.preshared_key_in_use && far.preshared_key_in_use;
        let secret = near.preshared_key.filter(|_| is_used)?;
        (far.preshared_key.as_ref() == Some(&secret) && Some(&secret) != former).then_some(secret)
    };
    found(world, "both use one secret", common)
}

/// What `wg show … preshared-keys` says of the only peer of both devices, once they say the same.
fn shown(world: &World, far: &FarAgent) -> String {
    let of = |namespace: &str, interface: &str| {
        let output = std::process::Command::new("ip")
            .args(["netns", "exec", namespace, "wg", "show", interface])
            .arg("preshared-keys")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    let both = || {
        [
            of(world.namespace(), world.interface()),
            of(&world.far(), far.name_of_interface()),
        ]
    };
    found(world, "wg shows one secret at both ends", || {
        let [near, far] = both();
        (near == far && near.len() == 44).then_some(near)
    })
}

/// Waits until there is what is looked for.
fn found<T>(world: &World, what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = Cell::new(None);
    world.wait_until(what, || {
        let it = look();
        let is_there = it.is_some();
        found.set(it);
        is_there
    });
    found.take().unwrap()
}

/// The only peer of a device.
fn peer(interface: &Interface) -> Option<PeerState> {
    interface.get().ok()?.peers.into_values().next()
}

/// Everything but the nodes' keys, as the API server of `own` publishes and mirrors it.
fn fill(store: &StoreThread, own: &str, other: &str) {
    store.put("cilium/cluster-config/eu", r#"{"id":1,"capabilities":{}}"#);
    store.put("cilium/cluster-config/us", r#"{"id":2,"capabilities":{}}"#);
    store.put(
        &format!("causeway/state/peers/v1/{other}"),
        r#"{"connected":true,"sinceUnixMilliseconds":1}"#,
    );
    announce(store, own, None);
    for kind in ["identities", "ip", "nodes", "services"] {
        let canary = format!("cilium/synced/{other}/cilium/cache/{kind}/v1");
        store.put(&canary, "now");
    }
    store.put(&format!("causeway/synced/{own}"), "now");
}

/// Tells each agent of both nodes, with the keys that they make.
fn introduce(world: &World, far: &FarAgent) {
    let key = |store, cluster| ends(store, cluster).map(|(key, _)| key);
    for (own, other, cluster) in [
        (&world.store, &far.store, "eu"),
        (&far.store, &world.store, "us"),
    ] {
        world.wait_until("the agent has a key", || key(own, cluster).is_some());
        let key = key(own, cluster);
        announce(own, cluster, key);
        let value = record(cluster, key, None);
        other.put(&format!("cilium/cache/nodes/v1/{cluster}/node-1"), &value);
    }
}

fn announce(store: &StoreThread, cluster: &str, key: Option<PublicKey>) {
    let value = record(cluster, key, None);
    store.put(&format!("cilium/state/nodes/v1/{cluster}/node-1"), &value);
}

fn record(cluster: &str, key: Option<PublicKey>, next: Option<PublicKey>) -> String {
    let key = key.map(PublicKey::to_base64).unwrap_or_default();
    let mut value = match cluster {
        "eu" => node("eu", 1, "node-1", "192.0.2.11", "10.1.1.0", &key),
        _ => node("us", 2, "node-1", "192.0.2.21", "10.2.1.0", &key),
    };
    if let Some(next) = next {
        value.truncate(value.len() - 1);
        value += &format!(r#","Annotations":{{"causeway.io/wg-next-pub-key":"{next}"}}}}"#);
    }
    value
}

/// The datagrams that did not come back.
fn exchange(running: &AtomicBool, echoed: &AtomicU64) -> BTreeSet<u64> {
    let socket = UdpSocket::bind(POD).unwrap();
    socket.connect(ECHO).unwrap();
    socket.set_read_timeout(Some(PAUSE)).unwrap();
    let mut waiting = BTreeSet::new();
    let mut rest = 0;
    let mut buffer = [0; 8];
    for number in 0_u64.. {
        if running.load(Ordering::Relaxed) {
            if socket.send(&number.to_be_bytes()).is_ok() && 0 < echoed.load(Ordering::Relaxed) {
                waiting.insert(number);
            }
        } else if waiting.is_empty() || rest == REST_MAX {
            break;
        } else {
            rest += 1;
        }
        if socket.recv(&mut buffer).is_ok() {
            waiting.remove(&u64::from_be_bytes(buffer));
            echoed.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(PACE);
    }
    waiting
}

fn echo(running: &AtomicBool) {
    let socket = UdpSocket::bind(ECHO).unwrap();
    socket.set_read_timeout(Some(PAUSE)).unwrap();
    let mut buffer = [0; 8];
    let mut rest = 0;
    while running.load(Ordering::Relaxed) || rest < REST_MAX {
        rest += u32::from(!running.load(Ordering::Relaxed));
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _gone = socket.send_to(&buffer[..length], from);
        }
    }
}

/// Between two datagrams at least.
const PACE: Duration = Duration::from_millis(2);

/// How long an echo is waited for before the next datagram.
const PAUSE: Duration = Duration::from_millis(10);

/// Datagrams are waited for so often after the last one was sent.
const REST_MAX: u32 = 200;

/// Ends the traffic on every path, so that nobody waits for it for ever.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
