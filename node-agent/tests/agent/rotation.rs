//! Another key takes the place of a node's, while packets go through its tunnel: none is lost, none
//! is in the clear, and no kill of the agent stands in its way.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use node_agent::preshared;
use serde_json::Value;
use wireguard::uapi::{AllowedIpChange, PeerUpdate, Setting, Update};
use wireguard::{PresharedKey, PrivateKey, PublicKey};

use crate::plaintext::{Capture, MARKER};
use crate::world::{self, FarDevice, World};
use crate::{node, publish};

const TUNNEL_END: &str = "causeway/agents/tunnel/v1/eu/node-1";
const OWN_NODE: &str = "cilium/state/nodes/v1/eu/node-1";

#[test]
fn changes_the_key_without_a_lost_packet() {
    let mut world = World::new();
    let capture = Capture::start(&world);
    let far_key = PrivateKey::generate();
    publish(&world, &["10.1.1.2"]);
    announce_own(&world, "", None);
    let far_public = far_key.public_key().to_base64();
    let peer = node("us", 2, "node-1", "192.0.2.21", "10.2.1.0", &far_public);
    world.store.put("cilium/cache/nodes/v1/us/node-1", &peer);

    let secret = share_a_secret(&mut world);
    let far_secret = |near: PublicKey| preshared::pair(&secret, [near, far_key.public_key()]);

    world.start_agent();
    world.start_device_without_key();
    world.wait_until("the agent makes a key", || world.public_key().is_some());
    let old = world.public_key().unwrap();
    world.wait_until("the key is announced", || {
        announced(&world) == Some((old, None))
    });
    announce_own(&world, &old.to_base64(), None);
    let far = world.start_far_device("192.0.2.21/24", "10.2.1.1/24");
    configure(&far, &far_key, old, far_secret(old));

    let running = AtomicBool::new(true);
    let (near_namespace, far_namespace) = (world.namespace().to_owned(), world.pod());
    let (lost, marked) = thread::scope(|scope| {
        scope.spawn(|| {
            world::enter(&far_namespace);
            echo(&running);
        });
        let traffic = scope.spawn(|| {
            world::enter(&near_namespace);
            exchange(&running, &capture)
        });
        let ended = Ended(&running);
        rotate(&mut world, &far, old, far_secret);
        // What is on its way arrives, or is lost, under the new key.
        thread::sleep(Duration::from_secs(1));
        drop(ended);
        traffic.join().unwrap()
    });

    assert_eq!(
        lost,
        BTreeSet::new(),
        "numbers of datagrams without an echo"
    );
    assert_eq!(marked, 0, "in the clear");
    let socket = world.inside(|| UdpSocket::bind("192.0.2.11:0").unwrap());
    socket.send_to(MARKER, "203.0.113.9:9").unwrap();
    world.wait_until("what is in the clear would be seen", || {
        0 < capture.count().marked
    });
}

/// Plays the API server and the far node's agent, and kills the near one between two steps.
fn rotate(
    world: &mut World,
    far: &FarDevice,
    old: PublicKey,
    far_secret: impl Fn(PublicKey) -> PresharedKey,
) {
    let answer = world.post("/v1/encrypt/rotate");
    assert!(answer.contains(r#""begun":true"#), "{answer}");
    let next = || announced(world).and_then(|(_, next)| next);
    world.wait_until("the next key is announced", || next().is_some());
    let new = next().unwrap();
    assert_eq!(world.public_key(), Some(old), "it is not used yet");

    world.kill_agent();
    world.start_agent();
    world.wait_until("it is announced again", || {
        announced(world) == Some((old, Some(new)))
    });
    announce_own(world, &old.to_base64(), Some(new));
    let successor = PeerUpdate {
        successor_of: Some(Setting::To(old)),
        preshared_key: Some(Setting::To(far_secret(new))),
        ..PeerUpdate::new(new)
    };
    update(far, successor);

    world.wait_until("the device has the new key", || {
        world.public_key() == Some(new)
    });
    world.wait_until("the far node has a session of it", || {
        let state = far.interface.get().unwrap();
        state.peers[&new].last_handshake.is_some()
    });
    world.wait_until("the old key is announced no more", || {
        announced(world) == Some((new, None))
    });
    announce_own(world, &new.to_base64(), None);
    update(far, PeerUpdate::removal(old));
}

/// The datagrams that did not come back, and how often one was seen in the clear.
fn exchange(running: &AtomicBool, capture: &Capture) -> (BTreeSet<u64>, usize) {
    let socket = loop {
        // The agent gives the device its address.
        match UdpSocket::bind("10.1.1.1:0") {
            Ok(socket) => break socket,
            Err(_) => thread::sleep(PAUSE),
        }
    };
    socket.connect(ECHO).unwrap();
    socket.set_read_timeout(Some(PAUSE)).unwrap();
    let mut waiting = BTreeSet::new();
    let mut marked = 0;
    let mut buffer = [0; 64];
    let mut rest = 0;
    for number in 0_u64.. {
        if running.load(Ordering::Relaxed) {
            let mut datagram = MARKER.to_vec();
            datagram.extend(number.to_be_bytes());
            let is_sent = socket.send(&datagram).is_ok();
            if is_sent {
                waiting.insert(number);
            }
        } else if waiting.is_empty() || rest == REST_MAX {
            break;
        } else {
            rest += 1;
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            let number = &buffer[MARKER.len()..length];
            waiting.remove(&u64::from_be_bytes(number.try_into().unwrap()));
        }
        marked += capture.count().marked;
        thread::sleep(PACE);
    }
    (waiting, marked)
}

fn echo(running: &AtomicBool) {
    let socket = UdpSocket::bind(ECHO).unwrap();
    socket.set_read_timeout(Some(PAUSE)).unwrap();
    let mut buffer = [0; 64];
    while running.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).unwrap();
        }
    }
    // The last ones may still be on their way.
    for _ in 0..REST_MAX {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _other_end_is_done = socket.send_to(&buffer[..length], from);
        }
    }
}

const ECHO: &str = "10.2.1.1:7007";

/// Between two datagrams at least.
const PACE: Duration = Duration::from_millis(2);

/// How long an echo is waited for before the next datagram.
const PAUSE: Duration = Duration::from_millis(10);

/// Datagrams are waited for so often after the last one was sent.
const REST_MAX: usize = 100;

/// Ends the traffic on every path, so that nobody waits for it for ever.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The key that the agent announces, and the next one.
fn announced(world: &World) -> Option<(PublicKey, Option<PublicKey>)> {
    let value: Value = serde_json::from_str(&world.store.get(TUNNEL_END)?).unwrap();
    let key = |name: &str| value[name].as_str().map(|it| it.parse().unwrap());
    Some((key("publicKey")?, key("nextPublicKey")))
}

/// What the API server would make of it.
fn announce_own(world: &World, key: &str, next: Option<PublicKey>) {
    let mut value = node("eu", 1, "node-1", "192.0.2.11", "10.1.1.0", key);
    if let Some(next) = next {
        let annotation = format!(r#","Annotations":{{"causeway.io/wg-next-pub-key":"{next}"}}}}"#);
        value.truncate(value.len() - 1);
        value.push_str(&annotation);
    }
    world.store.put(OWN_NODE, &value);
}

/// Has the agent mix a secret of both clusters into every handshake.
fn share_a_secret(world: &mut World) -> PresharedKey {
    let secret = PresharedKey::generate();
    let directory = world.state().join("psk");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("us");
    fs::write(&path, secret.to_base64()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let directory = directory.display().to_string();
    world.agent_arguments = vec!["--wireguard-psk".to_owned(), directory];
    secret
}

/// What the far node's agent does at first.
fn configure(far: &FarDevice, key: &PrivateKey, near: PublicKey, secret: PresharedKey) {
    let peer = PeerUpdate {
        preshared_key: Some(Setting::To(secret)),
        endpoint: Some("192.0.2.11:51871".parse().unwrap()),
        allowed_ips: vec![AllowedIpChange::Add("10.1.1.0/24".parse().unwrap())],
        ..PeerUpdate::new(near)
    };
    let identity = Update {
        private_key: Some(Setting::To(key.clone())),
        listen_port: Some(51871),
        peers: vec![peer],
        ..Update::default()
    };
    far.interface.set(&identity).unwrap();
}

fn update(far: &FarDevice, peer: PeerUpdate) {
    let peers = vec![peer];
    far.interface
        .set(&Update {
            peers,
            ..Update::default()
        })
        .unwrap();
}
