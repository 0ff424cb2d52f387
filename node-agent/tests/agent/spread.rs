//! Spreads flows over the gateways of a cluster, and takes one of them away.

use std::net::UdpSocket;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wireguard::PublicKey;
use wireguard::uapi::Interface;

use crate::far_node::{self, FarNode};
use crate::gateways::{
    BEHIND, POD_BEHIND, announce_far_gateway, announce_near_gateway, near_key, socket_in,
};
use crate::plaintext::{Capture, MARKER};
use crate::probes::{now, tell};
use crate::world::World;
use crate::{PEER_KEY, node, publish};

const FLOWS: usize = 32;

/// A packet of every flow each so often.
const BEAT: Duration = Duration::from_millis(20);

/// What probes, which are small or rare, do not send while flows send this.
const SHARE_BYTES: u64 = 100_000;

#[test]
fn spreads_flows_over_gateways_and_serves_all_when_one_dies() {
    let mut world = World::new();
    world.agent_arguments = ["--gateway-spread", "flow"].map(str::to_owned).into();
    publish(&world, &["10.1.1.2"]);
    let mut gateways = [FarNode::start(&world, 1), FarNode::start(&world, 2)];
    far_node::ip(&world, &format!("address add {POD_BEHIND}/32 dev lo"));
    for (number, gateway) in [1, 2].into_iter().zip(&gateways) {
        announce_far_gateway(&world, number, gateway);
    }
    let behind = node("us", 2, "node-9", "192.0.2.29", "10.2.9.0", PEER_KEY);
    world.store.put("cilium/cache/nodes/v1/us/node-9", &behind);
    let capture = Capture::start(&world);
    sees_plaintext(&world, &capture);
    world.start_device();
    world.start_agent();
    world.wait_until("both gateways answer", || {
        let status = world.admin("/v1/status");
        status.matches(r#""health":"healthy""#).count() == 2
    });
    let keys = gateways.each_ref().map(|it| it.key.public_key());
    world.wait_until("both are sent flows", || {
        keys.iter().all(|it| is_sent(&world, it))
    });

    let flows = Flows::start(&world);
    let begun = now();
    world.wait_until("every flow comes and goes", || flows.all_go_on_from(begun));
    let before = sent_bytes(&world, &keys);
    world.wait_until("both gateways carry some", || {
        let sent = sent_bytes(&world, &keys);
        before
            .iter()
            .zip(sent)
            .all(|(before, sent)| before + SHARE_BYTES < sent)
    });

    let death = now();
    gateways[0].die();
    world.wait_until("the other gateway carries all flows", || {
        !is_sent(&world, &keys[0]) && is_sent(&world, &keys[1])
    });
    tell("all flows through the other gateway", death.elapsed());
    let moved = now();
    world.wait_until("every flow comes and goes again", || {
        flows.all_go_on_from(moved)
    });
    tell("longest pause of any flow", flows.longest_pause());

    gateways[0].revive(&world);
    world.wait_until("both are sent flows again", || {
        keys.iter().all(|it| is_sent(&world, it))
    });
    let back = now();
    world.wait_until("and every flow goes on", || flows.all_go_on_from(back));
    assert_eq!(capture.count().marked, 0, "all of it was encrypted");
}

#[test]
fn stays_with_one_gateway_over_a_device_that_shares_no_prefix() {
    let mut world = World::new();
    world.agent_arguments = ["--gateway-spread", "flow"].map(str::to_owned).into();
    publish(&world, &["10.1.1.2"]);
    for number in [2, 3] {
        announce_near_gateway(&world, number, true);
    }
    world.start_plain_device();
    world.start_agent();
    let prefixes = ["10.1.2.0/24", "10.1.3.0/24", "10.2.1.0/24"];
    let interface = Interface::open(world.interface());
    let carriers = || prefixes.map(|it| carriers(&interface, it));
    world.wait_until("every prefix has one peer", || {
        carriers().iter().all(|it| it.len() == 1)
    });
    let [own, other, beyond] = carriers();
    assert_eq!([own, other], [[near_key(2)], [near_key(3)]]);
    assert!(beyond == [near_key(2)] || beyond == [near_key(3)]);

    world.kill_device();
    world.start_device();
    world.wait_until("a device that shares prefixes has both", || {
        carriers()[2].len() == 2
    });
}

/// To whom a device sends what goes to `prefix`.
fn carriers(interface: &Interface, prefix: &str) -> Vec<PublicKey> {
    let prefix = prefix.parse().unwrap();
    let state = interface.get().unwrap_or_default();
    let peers = state.peers.iter();
    let carriers = peers.filter(|(_, it)| it.allowed_ips.contains(&prefix));
    carriers.map(|(key, _)| *key).collect()
}

fn sees_plaintext(world: &World, capture: &Capture) {
    let socket = socket_in(world.namespace(), "0.0.0.0:0");
    socket.send_to(MARKER, "203.0.113.9:9").unwrap();
    world.wait_until("the capture sees plaintext", || capture.count().marked == 1);
}

fn is_sent(world: &World, gateway: &PublicKey) -> bool {
    let state = Interface::open(world.interface()).get().unwrap();
    let peer = state.peers.get(gateway);
    peer.is_some_and(|it| it.allowed_ips.contains(&BEHIND.parse().unwrap()))
}

fn sent_bytes(world: &World, gateways: &[PublicKey; 2]) -> [u64; 2] {
    let state = Interface::open(world.interface()).get().unwrap();
    gateways.map(|it| state.peers[&it].sent_bytes)
}

/// Packets to a pod behind the gateways and back, each flow from a port of its own.
struct Flows {
    seen: Arc<Mutex<[Option<Seen>; FLOWS]>>,
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What has come back of a flow.
#[derive(Clone, Copy)]
struct Seen {
    last: Instant,
    longest_pause: Duration,
}

impl Flows {
    fn start(world: &World) -> Self {
        let pod = socket_in(&world.far(), &format!("{POD_BEHIND}:9"));
        let senders = [(); FLOWS].map(|()| socket_in(world.namespace(), "10.1.1.2:0"));
        for socket in senders.iter().chain([&pod]) {
            socket.set_nonblocking(true).unwrap();
        }
        let seen = Arc::new(Mutex::new([None; FLOWS]));
        let (end, ended) = sync_channel(1);
        let told = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let payload = MARKER.repeat(30);
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                for sender in &senders {
                    // There may be no way for a moment.
                    let _sent = sender.send_to(&payload, format!("{POD_BEHIND}:9"));
                }
                answer_all(&pod);
                for (sender, seen) in senders.iter().zip(told.lock().unwrap().iter_mut()) {
                    take_all(sender, seen);
                }
            }
        });
        Self {
            seen,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Whether something of every flow has come back since a moment.
    fn all_go_on_from(&self, moment: Instant) -> bool {
        let is_young = |it: &Option<Seen>| it.is_some_and(|it| moment < it.last);
        self.seen.lock().unwrap().iter().all(is_young)
    }

    fn longest_pause(&self) -> Duration {
        let seen = self.seen.lock().unwrap();
        let pauses = seen.iter().flatten().map(|it| it.longest_pause);
        pauses.max().unwrap_or_default()
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.end = None;
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn answer_all(pod: &UdpSocket) {
    let mut packet = [0; 2048];
    while let Ok((length, from)) = pod.recv_from(&mut packet) {
        let _sent = pod.send_to(&packet[..length], from);
    }
}

fn take_all(sender: &UdpSocket, seen: &mut Option<Seen>) {
    while sender.recv(&mut [0; 2048]).is_ok() {
        let pause = seen.map(|it| (it.last.elapsed(), it.longest_pause));
        *seen = Some(Seen {
            last: now(),
            longest_pause: pause
                .map(|(now, before)| now.max(before))
                .unwrap_or_default(),
        });
    }
}
