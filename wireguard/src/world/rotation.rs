//! What becomes of packets while an end changes its key.

use super::{World, packet};
use crate::uapi::{PeerUpdate, Setting};
use crate::{PrivateKey, PublicKey};

const SECOND: u64 = 1_000;

/// Packets both ways at every step, so that one that is lost is known.
struct Talk {
    world: World,
    sent: usize,
}

#[test]
fn a_rotation_loses_no_packet() {
    for loss_percent in [0, 20] {
        let mut talk = Talk::new();
        for round in 0..5_usize {
            let (rotating, other) = (round % 2, 1 - round % 2);
            let former = talk.world.ends[rotating].public_key();
            let next = PrivateKey::generate();
            talk.announce(other, next.public_key(), former);
            talk.go_on(3 * SECOND);

            // Data always arrives, handshakes often do not.
            talk.world.handshake_loss_percent = loss_percent;
            talk.world.ends[rotating].set_private_key(next.clone());
            talk.go_on(100 * SECOND);
            let since = talk.handshake(other, next.public_key());
            assert!(since.is_some(), "the successor has a session");

            talk.world.ends[other].update(PeerUpdate::removal(former));
            talk.go_on(150 * SECOND);
        }
        talk.check();
    }
}

#[test]
fn both_ends_may_rotate_at_once() {
    let mut talk = Talk::new();
    let former = [0, 1].map(|it| talk.world.ends[it].public_key());
    let next = [PrivateKey::generate(), PrivateKey::generate()];
    talk.announce(0, next[1].public_key(), former[1]);
    talk.announce(1, next[0].public_key(), former[0]);
    talk.go_on(SECOND);
    for end in [0, 1] {
        talk.world.ends[end].set_private_key(next[end].clone());
    }
    talk.go_on(20 * SECOND);

    for end in [0, 1] {
        talk.world.ends[end].update(PeerUpdate::removal(former[1 - end]));
    }
    talk.go_on(400 * SECOND);
    talk.check();
}

#[test]
fn a_rotation_that_is_taken_back_loses_no_packet() {
    let mut talk = Talk::new();
    let former = talk.world.ends[0].private_key.clone();
    let next = PrivateKey::generate();
    talk.announce(1, next.public_key(), former.public_key());
    talk.world.ends[0].set_private_key(next.clone());
    talk.go_on(50 * SECOND);
    talk.world.ends[0].set_private_key(former);
    talk.go_on(50 * SECOND);

    talk.world.ends[1].update(PeerUpdate::removal(next.public_key()));
    talk.go_on(300 * SECOND);
    talk.check();
}

#[test]
fn without_a_session_packets_wait_for_whichever_key_answers() {
    let mut world = World::pair();
    let former = world.ends[1].public_key();
    let next = PrivateKey::generate();
    world.ends[1].set_private_key(next.clone());
    let successor = PeerUpdate {
        successor_of: Some(Setting::To(former)),
        ..PeerUpdate::new(next.public_key())
    };
    world.ends[0].update(successor);

    world.send(0, 1);
    assert_eq!(world.ends[1].delivered, [packet(1, 2, 40)]);
    world.send(1, 0);
    assert_eq!(world.ends[0].delivered, [packet(2, 1, 40)]);
}

#[test]
fn a_successor_inherits_what_waits() {
    let mut world = World::pair();
    let former = world.ends[1].public_key();
    let next = PrivateKey::generate();
    let successor = PeerUpdate {
        successor_of: Some(Setting::To(former)),
        ..PeerUpdate::new(next.public_key())
    };
    world.ends[0].update(successor);
    world.loss_percent = 100;
    world.send(0, 1);

    world.ends[0].update(PeerUpdate::removal(former));
    world.ends[1].set_private_key(next);
    world.loss_percent = 0;
    world.pass(10 * SECOND);

    assert_eq!(world.ends[1].delivered, [packet(1, 2, 40)]);
    let state = world.ends[0].peer_state();
    assert_eq!(state.successor_of, None);
    assert_eq!(state.allowed_ips, ["10.0.0.2/32".parse().unwrap()].into());
}

impl Talk {
    fn new() -> Self {
        Self {
            world: World::connected_pair(),
            sent: 0,
        }
    }

    /// Tells `knower` which key is next.
    fn announce(&mut self, knower: usize, next: PublicKey, former: PublicKey) {
        let successor = PeerUpdate {
            successor_of: Some(Setting::To(former)),
            ..PeerUpdate::new(next)
        };
        self.world.ends[knower].update(successor);
    }

    fn handshake(&self, knower: usize, of: PublicKey) -> Option<crate::uapi::UnixTime> {
        let state = self.world.ends[knower].configuration.state(0);
        state.peers[&of].last_handshake
    }

    fn go_on(&mut self, milliseconds: u64) {
        self.sent += self.world.converse(milliseconds);
    }

    fn check(&self) {
        for end in &self.world.ends {
            assert_eq!(end.delivered.len(), self.sent, "at {}", end.number);
            assert_eq!(end.dropped.spoofed + end.dropped.undeliverable, 0);
        }
    }
}
