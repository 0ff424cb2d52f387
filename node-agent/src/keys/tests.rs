#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]

use std::collections::BTreeMap;

use wireguard::uapi::{PeerState, UnixTime};

use crate::desired::Peer;

use super::*;

#[test]
fn adopts_the_key_that_the_device_has() {
    let mut world = World::new(Kept::default());
    world.device.private_key = Some(key(7));

    world.step();

    assert_eq!(world.keys.current(), Some(&key(7)));
    assert_eq!(world.kept, ["keep 7"]);
}

#[test]
fn makes_a_key_when_the_node_announces_none() {
    let mut world = World::new(Kept::default());
    world.own = None;
    world.pass(PATIENCE * 10);
    assert_eq!(world.keys.current(), None, "the mesh is not known yet");

    world.own = Some(own(None, None));
    world.step();

    assert_eq!(world.keys.announced(), Some((key(1).public_key(), None)));
}

#[test]
fn waits_some_time_for_a_key_that_the_node_announces() {
    let mut world = World::new(Kept::default());
    world.own = Some(own(Some(9), None));
    world.step();
    assert_eq!(world.keys.current(), None);
    assert!(world.keys.problem(world.own.as_ref()).is_some());

    world.pass(PATIENCE);

    assert_eq!(world.keys.current(), Some(&key(1)));
}

#[test]
fn replaces_a_key_only_when_everybody_knows_the_next() {
    let mut world = World::steady();
    assert_eq!(world.keys.ask(), Asked::Begun);
    assert_eq!(world.keys.ask(), Asked::UnderWay);
    world.step();
    let both = Some((key(7).public_key(), Some(key(1).public_key())));
    assert_eq!(world.keys.announced(), both);
    world.pass(OVERLAP * 10);
    assert_eq!(
        world.keys.current(),
        Some(&key(7)),
        "the mesh does not say it yet"
    );

    world.own = Some(own(Some(7), Some(1)));
    world.pass(OVERLAP / 2);
    world.is_heard_everywhere = false;
    world.pass(OVERLAP * 10);
    assert_eq!(
        world.keys.current(),
        Some(&key(7)),
        "a cluster is out of reach"
    );

    world.is_heard_everywhere = true;
    world.is_in_turn = false;
    world.pass(OVERLAP);
    assert_eq!(world.keys.current(), Some(&key(7)), "another goes first");

    world.is_in_turn = true;
    world.step();

    assert_eq!(world.keys.current(), Some(&key(1)));
    assert_eq!(
        world.keys.announced(),
        both,
        "the old one may still be called"
    );
    assert_eq!(world.kept, ["prepare 1", "switch"]);
}

#[test]
fn forgets_the_old_key_once_every_session_is_of_the_new_one() {
    let mut world = World::switched();
    world.handshake(3, world.unix_seconds() - 1);
    world.step();
    assert!(world.keys.announced().unwrap().1.is_some());

    world.handshake(3, world.unix_seconds() + 1);
    world.step();

    assert_eq!(world.keys.announced(), Some((key(1).public_key(), None)));
    assert_eq!(world.keys.ask(), Asked::Begun, "and again");
}

#[test]
fn does_not_wait_for_ever_for_a_peer_that_is_away() {
    let mut world = World::switched();
    world.handshake(3, world.unix_seconds() - 1);

    world.pass(DRAIN);

    assert_eq!(world.keys.announced(), Some((key(1).public_key(), None)));
}

#[test]
fn goes_on_from_disk_after_a_kill_at_every_step() {
    let mut world = World::steady();
    world.keys.ask();
    world.step();
    world.kill();
    let both = Some((key(7).public_key(), Some(key(1).public_key())));
    assert_eq!(world.keys.announced(), both);

    world.own = Some(own(Some(7), Some(1)));
    world.pass(OVERLAP);
    assert_eq!(world.keys.current(), Some(&key(1)));
    world.kill();
    assert_eq!(world.keys.announced(), Some((key(1).public_key(), None)));
}

#[test]
fn replaces_a_key_that_is_old_enough() {
    let day = Duration::from_secs(24 * 3_600);
    let mut world = World::steady();
    world.keys.rekey_after = Some(30 * day);

    world.pass(29 * day);
    assert_eq!(world.kept, [""; 0]);
    world.pass(day);

    assert_eq!(world.kept, ["prepare 1"]);
}

#[test]
fn stays_with_a_key_that_somebody_else_announces() {
    let mut world = World::steady();
    world.keys.ask();
    world.step();
    world.own = Some(own(Some(9), Some(1)));

    world.pass(OVERLAP * 10);

    assert_eq!(world.keys.current(), Some(&key(7)));
    let problem = world.keys.problem(world.own.as_ref()).unwrap();
    assert!(problem.remedy.contains("wg-pub-key"), "{problem:?}");
}

#[test]
fn lets_one_end_of_a_tunnel_change_its_key_after_the_other() {
    let identity = |node: &str| Identity {
        node: node.parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        cluster_id: 1.try_into().unwrap(),
    };
    let endpoint = "192.0.2.1:51871".parse().unwrap();
    let peer = Peer {
        cluster: "eu".parse().unwrap(),
        node: "node-2".parse().unwrap(),
        endpoint,
        endpoints: vec![endpoint],
        successor_of: Some(key(2).public_key()),
    };
    let desired = Desired {
        peers: BTreeMap::from([(key(3).public_key(), peer)]),
        ..Desired::default()
    };
    let mut world = World::steady();

    assert!(is_in_turn(
        &identity("node-1"),
        &desired,
        Some(&world.device)
    ));
    assert!(!is_in_turn(
        &identity("node-3"),
        &desired,
        Some(&world.device)
    ));
    assert!(is_in_turn(&identity("node-3"), &Desired::default(), None));

    world.handshake(3, world.unix_seconds());
    assert!(
        !is_in_turn(&identity("node-1"), &desired, Some(&world.device)),
        "it has begun"
    );
}

/// A node's disk, device and mesh, with time that a test moves.
struct World {
    keys: Keys,
    device: DeviceState,
    own: Option<OwnNode>,
    is_heard_everywhere: bool,
    is_in_turn: bool,
    now: Instant,
    unix_milliseconds: u64,
    /// What was done to the disk.
    kept: Vec<String>,
    disk: (Option<PrivateKey>, Option<PrivateKey>),
    fresh: u8,
}

impl World {
    fn new(kept: Kept) -> Self {
        let now = Instant::now();
        let disk = (kept.current.clone(), kept.next.clone());
        Self {
            keys: Keys::new(kept, None, now),
            device: DeviceState::default(),
            own: Some(own(None, None)),
            is_heard_everywhere: true,
            is_in_turn: true,
            now,
            unix_milliseconds: 1_700_000_000_000,
            kept: Vec::new(),
            disk,
            fresh: 0,
        }
    }

    /// With the key 7.
    fn steady() -> Self {
        let mut world = Self::new(Kept {
            current: Some(key(7)),
            made_unix_milliseconds: 1_700_000_000_000,
            next: None,
        });
        world.own = Some(own(Some(7), None));
        world
    }

    /// From key 7 to key 1.
    fn switched() -> Self {
        let mut world = Self::steady();
        world.handshake(3, world.unix_seconds());
        world.keys.ask();
        world.step();
        world.own = Some(own(Some(7), Some(1)));
        world.pass(OVERLAP);
        assert_eq!(world.keys.current(), Some(&key(1)));
        world
    }

    fn handshake(&mut self, peer: u8, seconds: u64) {
        let state = PeerState {
            last_handshake: Some(UnixTime {
                seconds,
                nanoseconds: 0,
            }),
            ..PeerState::default()
        };
        self.device.peers = BTreeMap::from([(key(peer).public_key(), state)]);
    }

    fn unix_seconds(&self) -> u64 {
        self.unix_milliseconds / 1_000
    }

    fn step(&mut self) {
        let sight = Sight {
            device: Some(&self.device),
            own: self.own.as_ref(),
            is_heard_everywhere: self.is_heard_everywhere,
            is_in_turn: self.is_in_turn,
            now: self.now,
            now_unix_milliseconds: self.unix_milliseconds,
        };
        let fresh = || {
            self.fresh += 1;
            key(self.fresh)
        };
        let Some(step) = self.keys.next_step(sight, fresh) else {
            return;
        };
        match &step {
            Step::Keep(it) => {
                self.kept.push(format!("keep {}", number(it)));
                self.disk = (Some(it.clone()), None);
            }
            Step::Prepare(it) => {
                self.kept.push(format!("prepare {}", number(it)));
                self.disk.1 = Some(it.clone());
            }
            Step::Switch => {
                self.kept.push("switch".to_owned());
                self.disk.0 = self.disk.1.take();
            }
            Step::Settle => (),
        }
        self.keys.take(step, self.now, self.unix_milliseconds);
    }

    /// In ten steps.
    fn pass(&mut self, time: Duration) {
        self.step();
        for _ in 0..10 {
            self.now += time / 10;
            self.unix_milliseconds += u64::try_from(time.as_millis() / 10).unwrap();
            self.step();
        }
    }

    fn kill(&mut self) {
        let (current, next) = self.disk.clone();
        let kept = Kept {
            current,
            made_unix_milliseconds: self.unix_milliseconds,
            next,
        };
        self.keys = Keys::new(kept, None, self.now);
    }
}

fn own(public_key: Option<u8>, next: Option<u8>) -> OwnNode {
    OwnNode {
        public_key: public_key.map(|it| key(it).public_key()),
        next_public_key: next.map(|it| key(it).public_key()),
        ..OwnNode::default()
    }
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from([number; 32])
}

fn number(wanted: &PrivateKey) -> u8 {
    (0..=u8::MAX).find(|it| key(*it) == *wanted).unwrap()
}
