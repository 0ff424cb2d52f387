//! Attacks the promise that no plaintext leaves a node for a peered cluster, by killing whatever
//! keeps it and counting marked packets at the far ends of the underlays.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RawProtocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv,
    sendto, socket_with,
};

use wireguard::PublicKey;

use crate::world::{self, World};
use crate::{PEER_KEY, node, publish};

const PEERED: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 7);
const NEIGHBOR: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 7);
const UNPEERED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// What no far end may ever see on its way to a peer.
pub(crate) const MARKER: &[u8; 16] = b"causeway-marker!";

/// Follows them on a way that is open to it.
const LAST: &[u8; 16] = b"causeway-the-end";

/// A small packet, one with IP options, and one of three fragments; from the node and from a pod.
const PACKETS: usize = 2 * (1 + 1 + 3);

#[test]
fn never_lets_plaintext_out_whatever_dies() {
    let mut world = World::new();
    world.build_pod();
    let capture = Capture::start(&world);
    publish(&world, &["10.1.1.2"]);

    assert_eq!(
        attack(&world, &capture, UNPEERED),
        [PACKETS; 2],
        "the way is open"
    );
    assert_eq!(
        attack(&world, &capture, PEERED),
        [PACKETS; 2],
        "nobody guards yet"
    );

    world.start_agent();
    assert_eq!(
        attack(&world, &capture, UNPEERED),
        [PACKETS; 2],
        "others may pass"
    );
    sealed(&world, &capture, "there is no device yet");

    world.start_device();
    has_its_tunnel(&world);
    sealed(&world, &capture, "the peer does not answer");

    world.kill_device();
    sealed(&world, &capture, "the device was killed");

    world.start_device_without_key();
    has_its_tunnel(&world);
    sealed(&world, &capture, "the device was made anew");
    world.wait_until("the device gets the key that it had", || {
        world.public_key() == Some(world.device_key())
    });

    gives_up_what_is_peered_no_more(&world, &capture);
    filters_what_is_led_around(&world, &capture);

    goes_through_a_gateway_and_back(&world, &capture);
    encrypts_between_nodes_and_not_any_more(&mut world, &capture);

    world.kill_agent();
    sealed(&world, &capture, "the agent was killed");
    world.kill_device();
    sealed(&world, &capture, "both were killed");
    world.start_device_without_key();
    sealed(&world, &capture, "nobody configures the device");

    world.store.stop();
    world.start_agent_unready();
    sealed(&world, &capture, "the agent cannot read the mesh");
    world.kill_device();
    sealed(&world, &capture, "and has no device either");
    let ready = world.admin("/ready");
    assert!(ready.contains(r#""ready":false"#), "{ready}");

    assert!(world.terminate_agent().success());
    let remembered = fs::read(world.state().join("prefixes.json")).unwrap();
    let (status, stderr) = world.run_agent(&["--cleanup"]);
    assert!(status.success(), "{stderr}");
    assert_eq!(
        attack(&world, &capture, PEERED),
        [PACKETS; 2],
        "nobody guards any more"
    );

    // As after a reboot: the kernel knows nothing, and the disk knows everything.
    fs::write(world.state().join("prefixes.json"), remembered).unwrap();
    world.start_agent_unready();
    world.wait_until("the guard stands", || {
        world.ip("route show").contains("unreachable 10.2.1.0/24")
    });
    sealed(&world, &capture, "the mesh was not read since the reboot");
}

fn gives_up_what_is_peered_no_more(world: &World, capture: &Capture) {
    let key = "cilium/cache/nodes/v1/us/node-1";
    world.store.delete(key);
    world.wait_until("the prefix is given up", || {
        !world.ip("route show").contains("10.2.1.0/24")
    });
    world.wait_until("the filter follows", || {
        attack(world, capture, PEERED) == [PACKETS; 2]
    });

    let value = node("us", 2, "node-1", "198.51.100.11", "10.2.1.0", PEER_KEY);
    world.store.put(key, &value);
    has_its_tunnel(world);
    sealed(world, capture, "the prefix came back");
}

/// Where somebody's own route beats ours, the filter is what is left.
fn filters_what_is_led_around(world: &World, capture: &Capture) {
    for pod in [PEERED, UNPEERED] {
        world.lead_around(&pod.to_string());
    }
    assert_eq!(attack(world, capture, UNPEERED), [PACKETS; 2]);
    sealed(world, capture, "only the filter is in the way");
    for pod in [PEERED, UNPEERED] {
        world.ip(&format!("route delete {pod}/32"));
    }
}

fn goes_through_a_gateway_and_back(world: &World, capture: &Capture) {
    let peer: PublicKey = PEER_KEY.parse().unwrap();
    let gateways = [
        ("node-2", "192.0.2.12", "10.1.2.0", PublicKey::from([2; 32])),
        ("node-3", "192.0.2.13", "10.1.3.0", PublicKey::from([3; 32])),
    ];
    let announce = |it: &(&str, &str, &str, PublicKey), is_gateway: bool| {
        let (name, address, pods, key) = it;
        let mut value = node("eu", 1, name, address, pods, &key.to_base64());
        value.truncate(value.len() - 1);
        value.push_str(&format!(
            r#","Annotations":{{"causeway.io/gateway":"{is_gateway}"}}}}"#
        ));
        let key = format!("cilium/state/nodes/v1/eu/{name}");
        world.store.put(&key, &value);
    };
    let carrier = || world.carrier("10.2.1.0/24");
    assert_eq!(carrier(), Some(peer));

    announce(&gateways[0], true);
    announce(&gateways[1], true);
    world.wait_until("a gateway carries it", || {
        let carrier = carrier();
        gateways.iter().any(|it| Some(it.3) == carrier) && world.carrier("10.1.3.0/24").is_some()
    });
    sealed(world, capture, "a gateway of the own cluster carries it");

    let first = carrier();
    for gateway in &gateways {
        announce(gateway, Some(gateway.3) != first);
    }
    world.wait_until("the other gateway carries it", || {
        carrier() != first && gateways.iter().any(|it| Some(it.3) == carrier())
    });
    sealed(world, capture, "the other gateway carries it");

    for gateway in &gateways {
        announce(gateway, false);
    }
    world.wait_until("there are no gateways any more", || carrier() == Some(peer));
    sealed(world, capture, "there are no gateways any more");
}

fn encrypts_between_nodes_and_not_any_more(world: &mut World, capture: &Capture) {
    assert_eq!(
        attack(world, capture, NEIGHBOR),
        [PACKETS; 2],
        "what goes to the own cluster is as it is"
    );

    world.kill_agent();
    world.agent_arguments = ["--encrypt", "nodes"].map(str::to_owned).into();
    world.start_agent();
    world.wait_until("there is a tunnel to the neighbor", || {
        world.carrier("10.1.2.0/24") == Some(PublicKey::from([2; 32]))
            && world.ip("route show").contains("10.1.2.0/24 dev cwt")
    });
    assert_eq!(attack(world, capture, NEIGHBOR), [0; 2]);
    sealed(world, capture, "everything is encrypted");

    world.kill_agent();
    world.agent_arguments.clear();
    world.start_agent();
    world.wait_until("the neighbor is reached as it is", || {
        attack(world, capture, NEIGHBOR) == [PACKETS; 2]
    });
    sealed(world, capture, "the own cluster is not encrypted any more");
}

/// Everything that the agent restores on a device that was started anew.
fn has_its_tunnel(world: &World) {
    world.wait_until("the peer is configured", || world.device_peers() == 1);
    world.wait_until("pods of the peer are routed through the tunnel", || {
        world.ip("route show").contains("10.2.1.0/24 dev cwt")
    });
    let link = world.ip("address show");
    assert!(link.contains("10.1.1.1/32"), "{link}");
    let link = world.ip(&format!("link show {}", world.interface()));
    assert!(link.contains(",UP") && link.contains("mtu 1420"), "{link}");
}

#[track_caller]
fn sealed(world: &World, capture: &Capture, state: &str) {
    assert_eq!(attack(world, capture, PEERED), [0; 2], "{state}");
}

/// Sends all kinds of packets, with the default route over each underlay in turn, and returns how
/// many were seen in the clear for each.
fn attack(world: &World, capture: &Capture, destination: Ipv4Addr) -> [usize; 2] {
    capture.count();
    // The second underlay is not among the agent's interfaces.
    ["192.0.2.1", "192.0.3.1"].map(|gateway| {
        world.ip(&format!("route replace default via {gateway}"));
        for namespace in [world.namespace().to_owned(), world.pod()] {
            thread::scope(|scope| {
                scope.spawn(|| {
                    world::enter(&namespace);
                    send_all(destination);
                });
            });
        }
        let (marked, last) = (Cell::new(0), Cell::new(0));
        world.wait_until("what was sent last arrives", || {
            let seen = capture.count();
            marked.set(marked.get() + seen.marked);
            last.set(last.get() + seen.last);
            last.get() == 2
        });
        // What another processor took may still be on its way.
        thread::sleep(Duration::from_millis(100));
        marked.get() + capture.count().marked
    })
}

/// Whether the sender is told that nothing leaves is not the question here.
fn send_all(destination: Ipv4Addr) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let _told = socket.send_to(MARKER, (destination, 9));
    // Every fragment carries the marker: 4000 bytes in pieces of at most 1480.
    let _told = socket.send_to(&MARKER.repeat(250), (destination, 9));

    let raw = Some(Protocol::from_raw(RawProtocol::new(255).unwrap()));
    let kind = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, kind, raw).unwrap();
    let _told = sendto(
        &socket,
        &with_options(destination),
        SendFlags::empty(),
        &SocketAddrV4::new(destination, 0),
    );

    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(LAST, (UNPEERED, 9)).unwrap();
}

/// UDP behind an IP header of six words: the kernel fills in checksum, length and source.
fn with_options(destination: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0];
    packet.extend(destination.octets());
    packet.extend([1, 1, 1, 0]); // Three times nothing, and the end of options.
    packet.extend([0, 9, 0, 9, 0, 24, 0, 0]);
    packet.extend(MARKER);
    packet
}

/// Sees every frame of a wire that arrives at a far end. What comes out of a tunnel there is none.
pub(crate) struct Capture(OwnedFd);

/// Where a tunnel's packets have the beginning of their source, which is 10.
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];

/// Frames by what is in them.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) marked: usize,
    last: usize,
}

impl Capture {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_in(&world.far())
    }

    pub(crate) fn start_in(namespace: &str) -> Self {
        thread::scope(|scope| {
            let opened = scope.spawn(|| {
                world::enter(namespace);
                // Every protocol, in network byte order.
                let all = u32::from(3_u16.to_be());
                let all = Some(Protocol::from_raw(RawProtocol::new(all).unwrap()));
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                socket_with(AddressFamily::PACKET, SocketType::RAW, flags, all).unwrap()
            });
            Self(opened.join().unwrap())
        })
    }

    /// How many frames have arrived since the last time.
    pub(crate) fn count(&self) -> Seen {
        let mut seen = Seen::default();
        let mut frame = [0; 2048];
        loop {
            match recv(&self.0, &mut frame, RecvFlags::empty()) {
                Ok((length, _)) => {
                    let frame = &frame[..length];
                    let is_of_wire = frame.get(12..14) == Some(&ETHERTYPE_IPV4);
                    let has = |text: &[u8]| {
                        is_of_wire && frame.windows(MARKER.len()).any(|it| it == text)
                    };
                    seen.marked += usize::from(has(MARKER));
                    seen.last += usize::from(has(LAST));
                }
                Err(Errno::AGAIN) => return seen,
                Err(error) => panic!("the capture ended: {error}"),
            }
        }
    }
}
