//! What devices do as time passes.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{World, packet};
use crate::configuration::Configuration;
use crate::session::REJECT_AFTER_MILLISECONDS;
use crate::stamper::Stamper;
use crate::uapi::{PeerUpdate, Update};

const INITIATION: u8 = 1;
const DATA: u8 = 4;
const KEEPALIVE_BYTES: usize = 32;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

#[test]
fn a_lost_initiation_is_repeated_within_moments_and_then_more_seldom() {
    let mut world = World::pair();
    world.loss_percent = 100;
    world.send(0, 1);

    let mut times = Vec::new();
    let start = world.milliseconds;
    while world.milliseconds < start + 120 * SECOND {
        world.milliseconds += 100;
        times.extend(world.tick(0).iter().map(|it| {
            assert_eq!(it.payload[0], INITIATION);
            world.milliseconds - start
        }));
    }
    assert!(times[0] <= 1_400, "{times:?}");
    assert!((17..=20).contains(&times.len()), "{times:?}");
    assert!(times.last() < Some(&(91 * SECOND)), "gives up: {times:?}");

    world.loss_percent = 0;
    world.send(0, 1);
    assert_eq!(world.ends[1].delivered.len(), 1, "traffic begins anew");
}

#[test]
fn who_receives_and_has_nothing_to_say_says_so_after_ten_seconds() {
    let mut world = World::connected_pair();
    world.pass(11 * SECOND);
    world.send(0, 1);
    for _ in 0..99 {
        world.milliseconds += 100;
        assert!(world.tick(1).is_empty());
    }
    world.milliseconds += 100;

    let datagrams = world.tick(1);
    assert_eq!(datagrams.len(), 1);
    assert_eq!(datagrams[0].payload[0], DATA);
    assert_eq!(datagrams[0].payload.len(), KEEPALIVE_BYTES);
    world.carry(datagrams);
    world.pass(60 * SECOND);
    assert_eq!(world.ends[0].delivered.len(), 0);
}

#[test]
fn who_sends_and_hears_nothing_asks_for_another_session_after_fifteen_seconds() {
    let mut world = World::connected_pair();
    world.pass(11 * SECOND);
    world.loss_percent = 100;
    world.send(0, 1);
    for _ in 0..149 {
        world.milliseconds += 100;
        assert!(world.tick(0).is_empty());
    }
    world.milliseconds += 100;

    assert_eq!(world.tick(0)[0].payload[0], INITIATION);
}

#[test]
fn an_idle_tunnel_is_silent() {
    let mut world = World::connected_pair();
    world.pass(20 * SECOND);
    let sent = world.ends[0].peer_state().sent_bytes;

    world.pass(HOUR);

    assert_eq!(world.ends[0].peer_state().sent_bytes, sent);
    let datagrams = world.seal(0, &packet(1, 2, 40));
    assert_eq!(datagrams[0].payload[0], INITIATION, "the session is over");
}

#[test]
fn a_persistent_keepalive_connects_and_keeps_the_interval() {
    let mut world = World::pair();
    let mut update = PeerUpdate::new(world.ends[1].public_key());
    update.persistent_keepalive_seconds = Some(25);
    world.ends[0].update(update);

    world.pass(SECOND);
    assert!(world.ends[0].peer_state().last_handshake.is_some());
    let before = world.ends[0].peer_state().sent_bytes;
    world.pass(100 * SECOND);
    let keepalives = (world.ends[0].peer_state().sent_bytes - before) / KEEPALIVE_BYTES as u64;
    assert!((3..=4).contains(&keepalives), "{keepalives}");
}

#[test]
fn a_session_in_use_is_renewed_and_no_packet_is_lost() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = World::connected_pair();
        for _ in 0..400 {
            world.pass(SECOND);
            world.send(from, to);
        }

        assert_eq!(world.ends[to].delivered.len(), 400, "from {from}");
        assert_eq!(world.ends[to].dropped, crate::dropped::Dropped::default());
    }
}

#[test]
fn nothing_is_sealed_or_opened_under_a_session_beyond_its_time() {
    let mut world = World::connected_pair();
    let old = world.seal(0, &packet(1, 2, 40));
    world.milliseconds += REJECT_AFTER_MILLISECONDS;

    world.carry(old);
    assert_eq!(world.ends[1].delivered.len(), 0);
    assert_eq!(world.ends[1].dropped.not_authentic, 1);
    assert_eq!(world.seal(0, &packet(1, 2, 40))[0].payload[0], INITIATION);
}

/// Numbers are reserved as a thread that sends would reserve them.
#[test]
fn a_session_whose_numbers_run_out_is_renewed_before_and_replaced_at_the_end() {
    // Where new keys are due, and just before and at the last number.
    for used in [1 << 60, u64::MAX - (1 << 13) - 5, u64::MAX - (1 << 13)] {
        let mut world = World::connected_pair();
        world.pass(SECOND);
        let before = world.ends[0].peer_state().last_handshake;
        let peer = world.ends[0].configuration.peers().next();
        let session = peer.and_then(|it| it.tunnel.session_to_send(world.now()));
        let session = session.expect("they are connected");
        let reserved = session.reserve(1).expect("there are more");
        session.reserve(used - reserved - 1);

        for sent in 1..=20 {
            world.send(0, 1);
            assert_eq!(world.ends[1].delivered.len(), sent, "after {used}");
        }
        assert!(before < world.ends[0].peer_state().last_handshake);
        assert_eq!(world.ends[1].dropped, crate::dropped::Dropped::default());
    }
}

#[test]
fn a_clock_that_goes_back_keeps_nobody_from_connecting() {
    let mut world = World::connected_pair();
    world.unix_seconds -= 1_000_000;
    world.milliseconds += HOUR;

    world.send(0, 1);

    assert_eq!(world.ends[1].delivered.len(), 1);
}

#[test]
fn who_starts_again_with_a_clock_that_went_back_is_answered_if_it_left_a_mark() {
    for (leaves_mark, delivered) in [(true, 1), (false, 0)] {
        let mut world = World::connected_pair();
        let mark = world.now().unix.seconds + 1;
        world.milliseconds += SECOND;
        world.unix_seconds -= 24 * HOUR / SECOND;
        let key = world.ends[0].private_key.clone();
        let mut reborn = World::of(2).ends.remove(0);
        if leaves_mark {
            let stamper = Stamper::after(mark);
            stamper.allow(stamper.due(world.now().unix));
            reborn.configuration = Configuration::new(stamper);
        }
        reborn.set_private_key(key);
        world.ends[0] = reborn;
        world.introduce(0, 1);

        world.send(0, 1);

        assert_eq!(world.ends[1].delivered.len(), delivered);
    }
}

#[test]
fn a_peer_that_starts_again_is_met_anew() {
    let mut world = World::connected_pair();
    let lost = world.seal(0, &packet(1, 2, 40));
    let key = world.ends[1].private_key.clone();
    let mut reborn = World::of(2).ends.remove(1);
    reborn.set_private_key(key);
    world.ends[1] = reborn;
    world.introduce(1, 0);
    world.carry(lost);
    assert_eq!(world.ends[1].dropped.no_peer, 1);

    // Its own packets begin a session at once; ours would after fifteen seconds of silence.
    world.send(1, 0);
    world.send(0, 1);
    assert_eq!(world.ends[0].delivered.len(), 1);
    assert_eq!(world.ends[1].delivered.len(), 1);
}

/// Two days of traffic, pauses, loss, moves and changes: whenever the network works, packets arrive.
#[test]
fn two_days_leave_nothing_stuck() {
    let mut world = World::pair();
    let mut random = SmallRng::seed_from_u64(48);
    let end = world.milliseconds + 48 * HOUR;
    let mut rounds = 0;
    while world.milliseconds < end {
        world.loss_percent = [0, 0, 5, 30, 100][random.random_range(0..5)];
        for _ in 0..random.random_range(1..40) {
            world.send(random.random_range(0..2), 0);
            let from = random.random_range(0..2_usize);
            world.send(from, 1 - from);
            world.pass(random.random_range(100..5_000));
        }
        match random.random_range(0..6) {
            0 => {
                let port = random.random_range(1_024..60_000);
                let mover = random.random_range(0..2_usize);
                world.ends[mover].outside.set_port(port);
                // A move is known once the mover sends; until then the other end misses it.
                world.introduce(1 - mover, mover);
            }
            1 => world.pass(random.random_range(0..2 * HOUR)),
            2 => {
                let same = world.ends[0].introduction();
                world.ends[1].apply(&Update {
                    peers: vec![same],
                    ..Update::default()
                });
            }
            _ => (),
        }
        // The network is well again: within the time that a retry takes, packets arrive both ways.
        world.loss_percent = 0;
        world.send(0, 1);
        world.pass(25 * SECOND);
        for end in &mut world.ends {
            end.delivered.clear();
        }
        for (from, to) in [(0, 1), (1, 0)] {
            world.send(from, to);
            assert_eq!(
                world.ends[to].delivered.last(),
                Some(&packet(world.ends[from].number, world.ends[to].number, 40)),
                "round {rounds}"
            );
        }
        rounds += 1;
    }
    assert!(50 < rounds, "{rounds}");
}
