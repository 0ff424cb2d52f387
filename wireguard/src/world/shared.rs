//! What becomes of packets for a prefix that several peers share.

use std::collections::BTreeMap;

use super::{World, packet};
use crate::uapi::{AllowedIpChange, PeerUpdate, Setting};
use crate::{PrivateKey, PublicKey};

const SECOND: u64 = 1_000;

/// Flows that are told apart by their ports.
const FLOWS: u16 = 64;

const PREFIX: &str = "10.1.0.0/16";
const BEHIND: [u8; 4] = [10, 1, 0, 7];

/// Number 0 knows three others. The first two share what is behind them.
const SHARING: [usize; 2] = [1, 2];
const THIRD: usize = 3;

#[test]
fn flows_are_spread_and_each_stays_where_it_is() {
    let mut world = connected();
    let before = talk(&mut world);

    let counts = SHARING.map(|end| before.values().filter(|it| **it == end).count());
    assert!(counts.iter().all(|it| 16 <= *it), "{counts:?}");
    for _ in 0..3 {
        world.pass(50 * SECOND);
        assert_eq!(talk(&mut world), before);
    }
    assert_eq!(world.ends[0].dropped, crate::dropped::Dropped::default());
}

#[test]
fn a_packet_comes_from_any_of_them_and_from_nobody_else() {
    let mut world = connected();
    let accepted = allow(&world, THIRD, AllowedIpChange::Accept);
    let refused = allow(&world, THIRD, AllowedIpChange::Remove);

    for (change, expected) in [(None, 2), (Some(accepted), 3), (Some(refused), 2)] {
        world.ends[0].delivered.clear();
        let spoofed = world.ends[0].dropped.spoofed;
        if let Some(change) = change {
            world.ends[0].update(change);
        }
        for end in [1, 2, THIRD] {
            let mut answer = packet(9, 1, 40);
            answer[12..16].copy_from_slice(&BEHIND);
            let datagrams = world.seal(end, &answer);
            world.carry(datagrams);
        }
        assert_eq!(world.ends[0].delivered.len(), expected);
        let spoofed = world.ends[0].dropped.spoofed - spoofed;
        assert_eq!(spoofed, 3 - expected as u64);
    }
}

#[test]
fn flows_of_a_peer_without_a_session_move_and_come_back_with_it() {
    let mut world = connected();
    let before = talk(&mut world);
    // From now on it answers nothing.
    let known = world.ends[0].public_key();
    world.ends[1].update(PeerUpdate::removal(known));
    for _ in 0..200 {
        world.pass(SECOND);
        let datagrams = world.seal(0, &flow(0));
        world.carry(datagrams);
        world.send(0, 2);
    }
    world.ends[2].delivered.clear();
    assert!(talk(&mut world).values().all(|it| *it == 2));

    world.introduce(1, 0);
    // It is asked for a session as long as there are flows that prefer it.
    for _ in 0..10 {
        world.pass(SECOND);
        talk(&mut world);
    }
    assert_eq!(talk(&mut world), before);
}

#[test]
fn without_a_session_a_flow_waits_for_the_peer_that_it_prefers() {
    for number in 0..8 {
        let mut world = unconnected();
        let datagrams = world.seal(0, &flow(number));
        assert_eq!(datagrams.len(), 1, "one is asked");
        world.carry(datagrams);
        let chosen = arrived(&mut world);

        let mut world = reintroduced(world, chosen);
        let datagrams = world.seal(0, &flow(number));
        world.carry(datagrams);
        let other = arrived(&mut world);
        assert_ne!(chosen, other, "nobody knows where the first is");
    }
}

#[test]
fn who_only_sends_is_sent_nothing() {
    let mut world = connected();
    let update = allow(&world, 1, AllowedIpChange::Accept);
    world.ends[0].update(update);
    assert!(talk(&mut world).values().all(|it| *it == 2));

    let update = allow(&world, 2, AllowedIpChange::Accept);
    world.ends[0].update(update);
    assert!(world.seal(0, &flow(1)).is_empty());
    assert_eq!(world.ends[0].dropped.no_peer, 1);
}

#[test]
fn a_successor_has_the_flows_of_its_predecessor() {
    let mut world = connected();
    let before = talk(&mut world);
    let former = world.ends[1].public_key();
    let next = PrivateKey::generate();
    world.ends[0].update(PeerUpdate {
        successor_of: Some(Setting::To(former)),
        ..PeerUpdate::new(next.public_key())
    });
    assert_eq!(talk(&mut world), before);

    world.ends[1].set_private_key(next.clone());
    world.pass(20 * SECOND);
    assert_eq!(talk(&mut world), before);
    assert!(is_connected(&world, next.public_key()));

    world.ends[0].update(PeerUpdate::removal(former));
    assert_eq!(talk(&mut world), before);
}

/// The first knows where the others are, and two of them share a prefix.
fn unconnected() -> World {
    let mut world = World::of(4);
    for end in 1..=THIRD {
        world.introduce(0, end);
        world.introduce(end, 0);
    }
    for end in SHARING {
        let update = allow(&world, end, AllowedIpChange::Share);
        world.ends[0].update(update);
    }
    world
}

fn connected() -> World {
    let mut world = unconnected();
    for end in 1..=THIRD {
        world.send(0, end);
        world.ends[end].delivered.clear();
    }
    world
}

/// The same ends, none of which has a session; of one nobody knows where it is.
fn reintroduced(mut world: World, lost: usize) -> World {
    for end in SHARING {
        let known = world.ends[end].public_key();
        world.ends[0].update(PeerUpdate::removal(known));
        let update = PeerUpdate {
            endpoint: (end != lost).then_some(world.ends[end].outside),
            ..allow(&world, end, AllowedIpChange::Share)
        };
        world.ends[0].update(update);
    }
    world.pass(SECOND);
    world
}

fn allow(world: &World, end: usize, change: fn(ipnet::IpNet) -> AllowedIpChange) -> PeerUpdate {
    PeerUpdate {
        allowed_ips: vec![change(PREFIX.parse().unwrap())],
        ..PeerUpdate::new(world.ends[end].public_key())
    }
}

fn is_connected(world: &World, key: PublicKey) -> bool {
    let state = world.ends[0].configuration.state(0);
    state.peers[&key].last_handshake.is_some()
}

/// A packet of every flow, each of which arrives; where.
fn talk(world: &mut World) -> BTreeMap<u16, usize> {
    let arrivals = (0..FLOWS).map(|number| {
        let datagrams = world.seal(0, &flow(number));
        world.carry(datagrams);
        (number, arrived(world))
    });
    arrivals.collect()
}

/// Where the one packet of late arrived.
fn arrived(world: &mut World) -> usize {
    let delivered = (1..=THIRD).flat_map(|end| vec![end; world.ends[end].delivered.len()]);
    let delivered: Vec<usize> = delivered.collect();
    for end in &mut world.ends {
        end.delivered.clear();
    }
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    delivered[0]
}

fn flow(number: u16) -> Vec<u8> {
    let mut packet = packet(1, 9, 40);
    packet[9] = 17;
    packet[16..20].copy_from_slice(&BEHIND);
    packet[20..22].copy_from_slice(&number.to_be_bytes());
    packet
}
