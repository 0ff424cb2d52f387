//! What is counted of packets that go no further, peer by peer.

use std::collections::BTreeMap;

use super::{Datagram, World, packet};
use crate::congestion::Ecn;
use crate::uapi::{DropCause, PeerUpdate};

const SECOND: u64 = 1_000;

#[test]
fn what_comes_from_a_peer_and_goes_no_further_is_counted_with_its_cause() {
    let mut malformed = packet(1, 2, 40);
    malformed[3] = 99;
    let spoofed = packet(3, 2, 40);
    let twice = |datagram: Datagram| vec![datagram.clone(), datagram];
    let forged = |mut datagram: Datagram| {
        datagram.payload[20] ^= 1;
        vec![datagram]
    };
    let congested = |mut datagram: Datagram| {
        datagram.ecn = Ecn::Congested;
        vec![datagram]
    };
    let plain = packet(1, 2, 40);

    check(DropCause::Congested, &plain, &congested);
    check(DropCause::Malformed, &malformed, &|it| vec![it]);
    check(DropCause::NotAuthentic, &plain, &forged);
    check(DropCause::Replayed, &plain, &twice);
    check(DropCause::Spoofed, &spoofed, &|it| vec![it]);
}

#[test]
fn what_waits_in_vain_is_counted() {
    let mut world = World::pair();
    world.loss_percent = 100;
    for _ in 0..130 {
        world.send(0, 1);
    }
    let dropped = |world: &World| world.ends[0].peer_state().dropped;
    assert_eq!(dropped(&world), [(DropCause::Overflowed, 2)].into());
    assert_eq!(world.ends[0].dropped.overflowed, 2);

    world.pass(100 * SECOND);
    let both = [(DropCause::Overflowed, 2), (DropCause::Undeliverable, 128)];
    assert_eq!(dropped(&world), both.into());
}

#[test]
fn what_is_for_a_peer_that_is_nowhere_is_counted() {
    let mut world = World::of(2);
    let update = PeerUpdate {
        endpoint: None,
        ..world.ends[1].introduction()
    };
    world.ends[0].update(update);
    world.send(0, 1);

    let dropped = world.ends[0].peer_state().dropped;
    assert_eq!(dropped, [(DropCause::Undeliverable, 1)].into());
}

#[test]
fn a_key_that_is_not_shared_is_counted_at_the_end_that_asks() {
    let mut world = World::pair();
    let mut update = PeerUpdate::new(world.ends[1].public_key());
    update.preshared_key = Some(crate::uapi::Setting::To([7; 32].into()));
    world.ends[0].update(update);
    world.send(0, 1);

    let dropped = world.ends[0].peer_state().dropped;
    assert_eq!(dropped, [(DropCause::NotAuthentic, 1)].into());
    assert_eq!(world.ends[1].peer_state().dropped, BTreeMap::new());
}

/// A packet of the first end's whose datagram becomes others on its way; one of them is dropped.
#[track_caller]
fn check(cause: DropCause, packet: &[u8], change: &dyn Fn(Datagram) -> Vec<Datagram>) {
    let mut world = World::connected_pair();
    world.send(0, 1);
    world.send(1, 0);
    assert_eq!(world.ends[1].peer_state().dropped, BTreeMap::new());

    let datagram = world.seal(0, packet).remove(0);
    world.carry(change(datagram));

    assert_eq!(world.ends[1].peer_state().dropped, [(cause, 1)].into());
}
