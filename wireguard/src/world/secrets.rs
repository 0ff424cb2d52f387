//! What becomes of packets while two ends change the secret between them, one after the other.

use super::{World, packet};
use crate::PresharedKey;
use crate::uapi::{PeerState, PeerUpdate, Setting};

const SECOND: u64 = 1_000;

/// Longer than a session lives: without handshakes in between, packets stop.
const LONG: u64 = 400 * SECOND;

#[test]
fn a_change_that_ends_make_minutes_apart_loses_no_packet() {
    for former in [None, Some(PresharedKey::generate())] {
        for first in [0, 1] {
            let mut talk = Talk::new(former.clone());
            let next = PresharedKey::generate();
            for end in [first, 1 - first] {
                talk.set(end, &next);
                talk.alternate(end, former.clone().unwrap_or_else(PresharedKey::none));
                talk.go_on(LONG);
            }
            talk.check();
            for end in [0, 1] {
                assert!(talk.state(end).preshared_key_in_use, "at {end}");
            }
        }
    }
}

#[test]
fn a_change_by_way_of_the_alternate_loses_no_packet() {
    for first in [0, 1] {
        let former = PresharedKey::generate();
        let mut talk = Talk::new(Some(former.clone()));
        let next = PresharedKey::generate();
        for end in [first, 1 - first] {
            talk.alternate(end, next.clone());
            talk.go_on(LONG);
        }
        for end in [first, 1 - first] {
            talk.set(end, &next);
            talk.alternate(end, former.clone());
            talk.go_on(LONG);
        }
        for end in [0, 1] {
            let clear = PeerUpdate {
                alternate_preshared_key: Some(Setting::Clear),
                ..talk.update(end)
            };
            talk.world.ends[end].update(clear);
        }
        talk.go_on(LONG);
        talk.check();
    }
}

#[test]
fn who_is_asked_again_begins_if_another_secret_would_do() {
    let mut talk = Talk::new(None);
    let [next, other] = [PresharedKey::generate(), PresharedKey::generate()];
    talk.set(0, &next);
    talk.set(1, &other);
    talk.alternate(1, next);
    // Whoever has no alternate asks, and the answer is none to it.
    talk.world.pass(200 * SECOND);
    talk.world.ends[1].delivered.clear();
    talk.world.send(0, 1);
    talk.world.pass(5 * SECOND);

    assert_eq!(talk.world.ends[1].delivered, [packet(1, 2, 40)]);
    assert!(talk.state(0).preshared_key_in_use);
    assert!(!talk.state(1).preshared_key_in_use, "it was the alternate");
}

#[test]
fn the_alternate_is_not_what_others_are_answered_with() {
    let mut talk = Talk::new(None);
    let secrets: Vec<_> = (0..3).map(|_| PresharedKey::generate()).collect();
    for (end, at) in [(0, 0), (1, 1)] {
        talk.set(end, &secrets[at]);
        talk.alternate(end, secrets[2].clone());
    }
    talk.world.pass(200 * SECOND);
    for end in [0, 1] {
        talk.world.ends[end].delivered.clear();
    }
    talk.world.send(0, 1);
    talk.world.pass(30 * SECOND);

    assert!(talk.world.ends[1].delivered.is_empty());
}

#[test]
fn a_forged_response_spoils_no_handshake() {
    for alternate in [PresharedKey::none(), PresharedKey::generate()] {
        let mut world = World::pair();
        let mut update = PeerUpdate::new(world.ends[1].public_key());
        update.preshared_key = Some(Setting::To(PresharedKey::generate()));
        update.alternate_preshared_key = Some(Setting::To(alternate.clone()));
        world.ends[0].update(update);
        let mut update = PeerUpdate::new(world.ends[0].public_key());
        update.preshared_key = Some(Setting::To(alternate));
        world.ends[1].update(update);

        let initiation = world.seal(0, &packet(1, 2, 40)).remove(0);
        let genuine = world.receive(1, &initiation).remove(0);
        for place in [12, 43, 44, 59] {
            let mut forged = genuine.clone();
            forged.payload[place] ^= 1;
            crate::cookie::MacKeys::of(&world.ends[0].public_key()).sign(&mut forged.payload, None);
            let before = world.ends[0].dropped.not_authentic;
            assert!(world.receive(0, &forged).is_empty());
            assert_eq!(world.ends[0].dropped.not_authentic, before + 1);
        }
        world.carry(vec![genuine]);

        assert_eq!(world.ends[1].delivered, [packet(1, 2, 40)]);
    }
}

/// Packets both ways at every step, so that one that is lost is known.
struct Talk {
    world: World,
    sent: usize,
}

impl Talk {
    fn new(secret: Option<PresharedKey>) -> Self {
        let mut talk = Self {
            world: World::pair(),
            sent: 0,
        };
        for end in [0, 1] {
            if let Some(secret) = &secret {
                talk.set(end, secret);
            }
        }
        talk.world.send(0, 1);
        talk.world.ends[1].delivered.clear();
        talk
    }

    fn update(&self, end: usize) -> PeerUpdate {
        PeerUpdate::new(self.world.ends[1 - end].public_key())
    }

    fn set(&mut self, end: usize, secret: &PresharedKey) {
        let mut update = self.update(end);
        update.preshared_key = Some(Setting::To(secret.clone()));
        self.world.ends[end].update(update);
    }

    fn alternate(&mut self, end: usize, secret: PresharedKey) {
        let mut update = self.update(end);
        update.alternate_preshared_key = Some(Setting::To(secret));
        self.world.ends[end].update(update);
    }

    fn state(&self, end: usize) -> PeerState {
        self.world.ends[end].peer_state()
    }

    fn go_on(&mut self, milliseconds: u64) {
        self.sent += self.world.converse(milliseconds);
    }

    fn check(&self) {
        for end in &self.world.ends {
            assert_eq!(end.delivered.len(), self.sent, "at {}", end.number);
        }
    }
}
