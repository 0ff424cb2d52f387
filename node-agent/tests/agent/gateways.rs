//! Takes gateways away, and looks where the traffic goes that they carried.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wireguard::PublicKey;
use wireguard::uapi::Interface;

use crate::far_node::{self, FarNode};
use crate::probes::{now, tell};
use crate::store::USER;
use crate::world::{self, World};
use crate::{PEER_KEY, node, publish};

/// The pods of a far node that is no gateway.
pub(crate) const BEHIND: &str = "10.2.9.0/24";
pub(crate) const POD_BEHIND: &str = "10.2.9.7";

#[test]
fn leaves_a_gateway_that_died_until_it_is_back_for_good() {
    let mut world = World::new();
    publish(&world, &["10.1.1.2"]);
    let mut gateways = [FarNode::start(&world, 1), FarNode::start(&world, 2)];
    far_node::ip(&world, &format!("address add {POD_BEHIND}/32 dev lo"));
    for (number, gateway) in [1, 2].into_iter().zip(&gateways) {
        announce_far_gateway(&world, number, gateway);
    }
    let behind = node("us", 2, "node-9", "192.0.2.29", "10.2.9.0", PEER_KEY);
    world.store.put("cilium/cache/nodes/v1/us/node-9", &behind);
    world.start_device();
    world.start_agent();
    world.wait_until("both gateways answer", || {
        let status = world.admin("/v1/status");
        status.matches(r#""health":"healthy""#).count() == 2
    });

    let stream = Stream::start(&world);
    world.wait_until("packets come through", || 10 < stream.arrived());
    let carriers = Carriers::watch(&world);
    let first = world.carrier(BEHIND).unwrap();
    let [one, other] = &mut gateways;
    let (dying, other) = if one.key.public_key() == first {
        (one, other)
    } else {
        (other, one)
    };
    let second = other.key.public_key();

    let death = now();
    dying.die();
    world.wait_until("the other gateway carries it", || {
        world.carrier(BEHIND) == Some(second)
    });
    tell("another gateway after a death", death.elapsed());
    let arrived = stream.arrived();
    world.wait_until("packets come through the other", || {
        arrived + 10 < stream.arrived()
    });
    tell("longest pause of the traffic", stream.longest_pause());

    let revival = now();
    dying.revive(&world);
    world.wait_until("the first one carries it again", || {
        world.carrier(BEHIND) == Some(first)
    });
    tell("the first gateway after its revival", revival.elapsed());
    let arrived = stream.arrived();
    world.wait_until("packets come through the first", || {
        arrived + 10 < stream.arrived()
    });
    assert_eq!(
        carriers.seen(),
        [first, second, first],
        "there and back, and nowhere in between"
    );
}

/// A node behind gateways probes the gateways alone; what lies beyond, they say.
#[test]
fn leaves_a_gateway_that_does_not_reach_the_other_cluster() {
    let mut world = World::new();
    publish(&world, &["10.1.1.2"]);
    announce_near_gateway(&world, 2, true);
    announce_near_gateway(&world, 3, true);
    world.start_device();
    world.start_agent();
    let interface = Interface::open(world.interface());
    let carrier = || world::carrier(&interface, "10.2.1.0/24");
    world.wait_until("a gateway carries it", || carrier().is_some());
    let first = carrier().unwrap();
    let (number, other) = if first == near_key(2) { (2, 3) } else { (3, 2) };
    assert_eq!(first, near_key(number));

    say_reach(&world, number, "unhealthy");
    world.wait_until("the other gateway carries it", || {
        carrier() == Some(near_key(other))
    });
    world.kill_agent();
    say_reach(&world, number, "healthy");
    world.start_agent();
    world.wait_until("an agent that starts hears what was said before", || {
        carrier() == Some(first)
    });

    say_reach(&world, number, "unhealthy");
    world.wait_until("the other gateway carries it", || {
        carrier() == Some(near_key(other))
    });
    world.store.delete(&reach_key(number));
    world.wait_until("of the first one nothing is said", || {
        carrier() == Some(first)
    });

    for gateway in [2, 3] {
        announce_near_gateway(&world, gateway, false);
    }
    world.wait_until("there are no gateways any more", || {
        carrier() == Some(PEER_KEY.parse().unwrap())
    });
}

/// As with a role that somebody made by hand.
#[test]
fn does_without_what_its_store_does_not_tell() {
    let mut world = World::new();
    publish(&world, &["10.1.1.2"]);
    announce_near_gateway(&world, 2, true);
    announce_near_gateway(&world, 3, true);
    world.store.restrict();
    for prefix in ["cilium/", "causeway/state/", "causeway/synced/"] {
        world.store.permit(prefix);
    }
    let config =
        format!("endpoints: ['http://127.0.0.1:2379']\nusername: {USER}\npassword: {USER}\n");
    fs::write(world.state().join("etcd.yaml"), config).unwrap();
    world.start_device();
    world.start_agent();

    let carrier = || world.carrier("10.2.1.0/24");
    world.wait_until("a gateway carries it", || carrier().is_some());
    let first = carrier().unwrap();
    let number = if first == near_key(2) { 2 } else { 3 };
    say_reach(&world, number, "unhealthy");
    world.wait_until("the agent says what it does not hear", || {
        is_deaf(&world) && world.admin("/v1/status").contains(r#""connected":true"#)
    });
    assert_eq!(carrier(), Some(first), "nobody told the agent to leave it");

    world.store.permit("causeway/agents/");
    world.wait_until("the other gateway carries it", || {
        carrier().is_some_and(|it| it != first)
    });
    world.wait_until("the problem is gone", || !is_deaf(&world));
}

fn is_deaf(world: &World) -> bool {
    let status = world.admin("/v1/status");
    status.contains("the store does not tell what this cluster's gateways or relays see")
}

pub(crate) fn announce_far_gateway(world: &World, number: u8, gateway: &FarNode) {
    let name = format!("node-{number}");
    let key = gateway.key.public_key().to_base64();
    let pods = format!("10.2.{number}.0");
    let value = node("us", 2, &name, far_node::ADDRESS, &pods, &key);
    let endpoint = format!("{}:{}", far_node::ADDRESS, gateway.port());
    let annotations =
        format!(r#""causeway.io/gateway":"true","causeway.io/wg-endpoints":"{endpoint}""#);
    let key = format!("cilium/cache/nodes/v1/us/{name}");
    world.store.put(&key, &annotated(value, &annotations));
}

/// A gateway of the own cluster that nobody has ever heard.
pub(crate) fn announce_near_gateway(world: &World, number: u8, is_gateway: bool) {
    let (name, address) = (format!("node-{number}"), format!("192.0.2.1{number}"));
    let pods = format!("10.1.{number}.0");
    let key = near_key(number).to_base64();
    let value = node("eu", 1, &name, &address, &pods, &key);
    let annotations = format!(r#""causeway.io/gateway":"{is_gateway}""#);
    let key = format!("cilium/state/nodes/v1/eu/{name}");
    world.store.put(&key, &annotated(value, &annotations));
}

pub(crate) fn annotated(mut node: String, annotations: &str) -> String {
    node.truncate(node.len() - 1);
    format!(r#"{node},"Annotations":{{{annotations}}}}}"#)
}

pub(crate) fn near_key(number: u8) -> PublicKey {
    PublicKey::from([number; 32])
}

fn say_reach(world: &World, number: u8, health: &str) {
    let reach =
        format!(r#"{{"clusters":{{"us":{{"health":"{health}","sinceUnixMilliseconds":1}}}}}}"#);
    world.store.put(&reach_key(number), &reach);
}

fn reach_key(number: u8) -> String {
    format!("causeway/agents/reach/v1/eu/node-{number}")
}

/// A packet every so often to a pod behind the gateways.
const BEAT: Duration = Duration::from_millis(10);

/// Packets that go one way, until it is dropped.
struct Stream {
    arrivals: Arc<Mutex<Arrivals>>,
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Arrivals {
    count: usize,
    last: Option<Instant>,
    longest_pause: Duration,
}

impl Stream {
    fn start(world: &World) -> Self {
        let receiver = socket_in(&world.far(), &format!("{POD_BEHIND}:9"));
        receiver.set_nonblocking(true).unwrap();
        let sender = socket_in(world.namespace(), "0.0.0.0:0");
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let (end, ended) = sync_channel(1);
        let told = Arc::clone(&arrivals);
        let thread = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                // There may be no way for a moment.
                let _sent = sender.send_to(b"beat", format!("{POD_BEHIND}:9"));
                take_arrivals(&receiver, &mut told.lock().unwrap());
            }
        });
        Self {
            arrivals,
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap().count
    }

    fn longest_pause(&self) -> Duration {
        self.arrivals.lock().unwrap().longest_pause
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end = None;
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn take_arrivals(receiver: &UdpSocket, arrivals: &mut Arrivals) {
    loop {
        match receiver.recv(&mut [0; 16]) {
            Ok(_) => {
                let pause = arrivals.last.map(|it| it.elapsed()).unwrap_or_default();
                arrivals.longest_pause = arrivals.longest_pause.max(pause);
                arrivals.last = Some(now());
                arrivals.count += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("the receiver ended: {error}"),
        }
    }
}

/// A socket stays where it was made.
pub(crate) fn socket_in(namespace: &str, address: &str) -> UdpSocket {
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            world::enter(namespace);
            UdpSocket::bind(address).unwrap()
        });
        made.join().unwrap()
    })
}

/// Writes down who carries what goes to [`BEHIND`], as often as that changes.
struct Carriers {
    end: SyncSender<()>,
    thread: JoinHandle<Vec<PublicKey>>,
}

impl Carriers {
    fn watch(world: &World) -> Self {
        let interface = Interface::open(world.interface());
        let (end, ended) = sync_channel(1);
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                let carrier = world::carrier(&interface, BEHIND);
                if let Some(carrier) = carrier.filter(|it| seen.last() != Some(it)) {
                    seen.push(carrier);
                }
            }
            seen
        });
        Self { end, thread }
    }

    fn seen(self) -> Vec<PublicKey> {
        drop(self.end);
        self.thread.join().unwrap()
    }
}
