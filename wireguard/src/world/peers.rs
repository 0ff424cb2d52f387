//! What devices do to each other's datagrams.

use boringtun::noise::{Tunn, TunnResult};

use super::{World, packet};
use crate::congestion::Ecn;
use crate::uapi::{AllowedIpChange, PeerUpdate, Setting};
use crate::{PresharedKey, PrivateKey};

const INITIATION: u8 = 1;
const COOKIE_REPLY: u8 = 3;
const DATA: u8 = 4;

#[test]
fn the_first_packet_starts_a_handshake_and_arrives_after_it() {
    let mut world = World::pair();
    world.send(0, 1);

    assert_eq!(world.ends[1].delivered, [packet(1, 2, 40)]);
    for end in &world.ends {
        let state = end.peer_state();
        assert_eq!(state.last_handshake, Some(world.now().unix));
        assert!(
            0 < state.sent_bytes && 0 < state.received_bytes,
            "{state:?}"
        );
    }
}

#[test]
fn packets_that_waited_follow_a_handshake_that_the_other_end_began() {
    let mut world = World::pair();
    let lost = world.seal(1, &packet(2, 1, 40));
    assert_eq!(lost[0].payload[0], INITIATION);

    world.send(0, 1);

    assert_eq!(world.ends[0].delivered, [packet(2, 1, 40)]);
    assert_eq!(world.ends[1].delivered, [packet(1, 2, 40)]);
}

#[test]
fn a_large_packet_is_padded_to_the_mtu_and_arrives_whole() {
    let mut world = World::connected_pair();
    for length in [20, 21, 1_409, 1_420] {
        let packet = packet(1, 2, length);
        let datagrams = world.seal(0, &packet);
        let padded = usize::from(length).next_multiple_of(16).min(1_420);
        assert_eq!(datagrams[0].payload.len(), padded + 32);

        world.carry(datagrams);
        assert_eq!(world.ends[1].delivered.pop(), Some(packet));
    }
}

#[test]
fn changing_a_live_peer_keeps_its_session() {
    let mut world = World::connected_pair();
    let other = world.ends[1].introduction();
    world.ends[0].update(PeerUpdate {
        persistent_keepalive_seconds: Some(7),
        preshared_key: Some(Setting::Clear),
        replace_allowed_ips: true,
        ..other
    });
    let own_key = world.ends[0].private_key.clone();
    world.ends[0].set_private_key(own_key);

    let datagrams = world.seal(0, &packet(1, 2, 40));
    assert_eq!(datagrams[0].payload[0], DATA);
    assert_eq!(world.ends[0].peer_state().persistent_keepalive_seconds, 7);
}

#[test]
fn a_new_preshared_key_costs_no_packet() {
    let mut world = World::connected_pair();
    let before = world.ends[0].peer_state().last_handshake;
    let preshared_key = PresharedKey::generate();
    for (knower, other) in [(0, 1), (1, 0)] {
        let mut update = PeerUpdate::new(world.ends[other].public_key());
        update.preshared_key = Some(Setting::To(preshared_key.clone()));
        world.ends[knower].update(update);
        // In between, only one end has it.
        world.pass(3_000);
        world.send(0, 1);
    }
    world.pass(10_000);
    world.send(0, 1);

    assert_eq!(world.ends[1].delivered.len(), 3);
    assert!(
        before < world.ends[0].peer_state().last_handshake,
        "a session with the new key"
    );
}

#[test]
fn a_new_private_key_costs_no_packet_once_the_other_end_knows_it() {
    let mut world = World::connected_pair();
    let former = world.ends[0].public_key();
    let on_its_way = world.seal(0, &packet(1, 2, 40));
    world.ends[0].set_private_key(PrivateKey::generate());
    // Waits, as the other end does not know the key yet; what is on its way still counts.
    world.send(0, 1);
    world.carry(on_its_way);
    assert_eq!(world.ends[1].delivered.len(), 1);

    world.introduce(1, 0);
    world.ends[1].update(PeerUpdate::removal(former));
    world.pass(10_000);

    assert_eq!(world.ends[1].delivered.len(), 2);
}

/// Both begin at once and are answered: each sends with the session that it began itself.
#[test]
fn what_is_under_way_under_either_of_two_sessions_outlives_a_new_key() {
    let mut world = World::pair();
    let initiations = [(0, 1), (1, 0)].map(|(from, to)| {
        let number = |it: usize| world.ends[it].number;
        let packet = packet(number(from), number(to), 40);
        world.seal(from, &packet).remove(0)
    });
    let responses = [1, 0].map(|to| world.receive(to, &initiations[1 - to]).remove(0));
    let [one, other] = [0, 1].map(|to| world.receive(to, &responses[to]));
    world.carry([one, other].concat());
    for end in &mut world.ends {
        assert_eq!(end.delivered.len(), 1);
        end.delivered.clear();
    }

    let on_its_way = world.seal(1, &packet(2, 1, 40));
    world.ends[0].set_private_key(PrivateKey::generate());
    world.carry(on_its_way);

    assert_eq!(world.ends[0].delivered, [packet(2, 1, 40)]);
}

#[test]
fn different_preshared_keys_never_meet() {
    let mut world = World::pair();
    let mut update = PeerUpdate::new(world.ends[1].public_key());
    update.preshared_key = Some(Setting::To(PresharedKey::generate()));
    world.ends[0].update(update);

    world.send(0, 1);
    world.pass(20_000);

    assert!(world.ends[1].delivered.is_empty());
    assert!(0 < world.ends[0].dropped.not_authentic);
}

#[test]
fn a_stranger_is_not_answered() {
    let mut world = World::pair();
    let known = world.ends[0].public_key();
    world.ends[1].update(PeerUpdate::removal(known));

    world.send(0, 1);

    assert_eq!(world.ends[1].dropped.no_peer, 1);
    assert_eq!(world.ends[0].peer_state().received_bytes, 0);
}

#[test]
fn a_source_address_that_is_not_the_senders_is_dropped() {
    let mut world = World::connected_pair();

    let datagrams = world.seal(0, &packet(3, 2, 40));
    world.carry(datagrams);

    assert_eq!(world.ends[1].dropped.spoofed, 1);
    assert!(world.ends[1].delivered.is_empty());
}

#[test]
fn a_more_specific_prefix_of_another_peer_takes_the_source_away() {
    let mut world = World::connected_pair();
    let wide = PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Add("10.0.0.0/24".parse().unwrap())],
        ..PeerUpdate::new(world.ends[0].public_key())
    };
    let narrow = PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Add("10.0.0.1/32".parse().unwrap())],
        ..PeerUpdate::new(PrivateKey::generate().public_key())
    };
    world.ends[1].update(wide);
    world.ends[1].update(narrow);

    world.send(0, 1);

    assert_eq!(world.ends[1].dropped.spoofed, 1);
}

#[test]
fn marks_of_congestion_go_in_and_come_out() {
    let mut world = World::connected_pair();
    let mut marked = packet(1, 2, 40);
    marked[1] = 0b1010_1010;
    let mut datagram = world.seal(0, &marked).remove(0);
    assert_eq!(datagram.ecn, Ecn::Capable0);

    datagram.ecn = Ecn::Congested;
    world.carry(vec![datagram]);
    assert_eq!(world.ends[1].delivered[0][1], 0b1010_1011);

    let mut datagram = world.seal(0, &packet(1, 2, 40)).remove(0);
    assert_eq!(datagram.ecn, Ecn::Unaware);
    datagram.ecn = Ecn::Congested;
    world.carry(vec![datagram]);
    assert_eq!(world.ends[1].delivered.len(), 1);
    assert_eq!(world.ends[1].dropped.congested, 1);
}

#[test]
fn a_datagram_is_taken_once() {
    let mut world = World::connected_pair();
    let datagrams = world.seal(0, &packet(1, 2, 40));

    world.carry(datagrams.clone());
    world.carry(datagrams);

    assert_eq!(world.ends[1].delivered.len(), 1);
    assert_eq!(world.ends[1].dropped.replayed, 1);
}

#[test]
fn datagrams_may_overtake_each_other_within_the_window() {
    let mut world = World::connected_pair();
    let late = world.seal(0, &packet(1, 2, 40));
    let very_late = world.seal(0, &packet(1, 2, 40));
    for _ in 0..8_190 {
        let datagrams = world.seal(0, &packet(1, 2, 40));
        world.carry(datagrams);
    }

    world.carry(very_late);
    assert_eq!(world.ends[1].delivered.len(), 8_191);
    world.send(0, 1);
    world.carry(late);
    assert_eq!(world.ends[1].delivered.len(), 8_192, "beyond the window");
    assert_eq!(world.ends[1].dropped.replayed, 1);
}

#[test]
fn a_replayed_initiation_is_not_answered() {
    let mut world = World::pair();
    let initiation = world.seal(0, &packet(1, 2, 40)).remove(0);

    assert_eq!(world.receive(1, &initiation).len(), 1);
    world.pass(1_000);
    assert_eq!(world.receive(1, &initiation).len(), 0);
}

#[test]
fn a_peer_is_where_its_last_genuine_datagram_came_from() {
    let mut world = World::connected_pair();
    world.ends[0].outside = ([198, 51, 100, 9], 1_234).into();
    world.send(0, 1);
    world.send(1, 0);

    assert_eq!(world.ends[0].delivered.len(), 1);

    // Whoever sends the same from elsewhere moves nobody.
    let mut forged = world.seal(0, &packet(1, 2, 40)).remove(0);
    forged.payload[20] ^= 1;
    forged.from = ([203, 0, 113, 1], 1).into();
    world.receive(1, &forged);
    assert_eq!(
        world.ends[1].peer_state().endpoint,
        Some(world.ends[0].outside)
    );
}

#[test]
fn under_a_flood_of_handshakes_peers_prove_where_they_are() {
    let mut world = World::pair();
    let initiation = world.seal(0, &packet(1, 2, 40)).remove(0);
    for port in 1..=600 {
        let mut forged = initiation.clone();
        forged.from.set_port(port);
        world.receive(1, &forged);
    }

    // All but the first were replays; the rate counts them nevertheless.
    let cookie = world.receive(1, &initiation).remove(0);
    assert_eq!(cookie.payload[0], COOKIE_REPLY);
    assert!(world.receive(0, &cookie).is_empty());

    world.milliseconds += 1_500;
    for port in 1..=600 {
        let mut forged = initiation.clone();
        forged.from.set_port(port);
        world.receive(1, &forged);
    }
    let datagrams = world.tick(0);
    assert_eq!(datagrams[0].payload[0], INITIATION);
    world.carry(datagrams);
    assert_eq!(world.ends[1].delivered.len(), 1);
}

#[test]
fn garbage_moves_nothing() {
    let mut world = World::connected_pair();
    let mut datagram = world.seal(0, &packet(1, 2, 40)).remove(0);
    for length in 0..80 {
        for kind in 0..6 {
            datagram.payload = vec![kind; length];
            assert!(world.receive(1, &datagram).is_empty());
        }
    }
    world.send(0, 1);
    assert_eq!(world.ends[1].delivered.len(), 1);
}

#[test]
fn speaks_the_protocol_that_boringtun_speaks() {
    let mut world = World::of(1);
    let theirs = PrivateKey::generate();
    let (our_key, their_key) = (world.ends[0].public_key(), theirs.public_key());
    let their_address = ([192, 0, 2, 9], 51_820).into();
    world.ends[0].update(PeerUpdate {
        endpoint: Some(their_address),
        allowed_ips: vec![AllowedIpChange::Add("10.0.0.9/32".parse().unwrap())],
        ..PeerUpdate::new(their_key)
    });
    let mut tunnel = Tunn::new(
        theirs.to_bytes().into(),
        (*our_key.as_bytes()).into(),
        None,
        None,
        5,
        None,
    );
    let mut buffer = vec![0; 2_000];

    let initiation = world.seal(0, &packet(1, 9, 40)).remove(0);
    let TunnResult::WriteToNetwork(response) =
        tunnel.decapsulate(None, &initiation.payload, &mut buffer)
    else {
        panic!("no response");
    };
    let response = super::Datagram {
        payload: response.to_vec(),
        from: their_address,
        to: world.ends[0].outside,
        ecn: Ecn::default(),
    };
    let data = world.receive(0, &response).remove(0);
    let TunnResult::WriteToTunnelV4(delivered, _) =
        tunnel.decapsulate(None, &data.payload, &mut buffer)
    else {
        panic!("no packet");
    };
    assert_eq!(delivered, packet(1, 9, 40));

    let TunnResult::WriteToNetwork(data) = tunnel.encapsulate(&packet(9, 1, 40), &mut buffer)
    else {
        panic!("no datagram");
    };
    let data = super::Datagram {
        payload: data.to_vec(),
        ..response
    };
    world.receive(0, &data);
    assert_eq!(world.ends[0].delivered, [packet(9, 1, 40)]);
}
