//! Days in the lives of several devices that all know each other, two of which travel.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{End, World, packet};

/// The travellers come first. Who stays learns from them alone where they are.
const ENDS: usize = 4;
const TRAVELLERS: usize = 2;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAYS: u64 = 48 * HOUR;

/// How far a wall clock may be ahead.
const AHEAD_MAX_SECONDS: u64 = 100_000;

/// A cookie or a lost answer may cost a retry or two; then a packet arrives.
const RECOVERY: u64 = 25 * SECOND;

#[test]
fn in_two_days_of_loss_moves_restarts_and_wrong_clocks_nobody_is_lost() {
    let mut world = acquainted();
    let mut random = SmallRng::seed_from_u64(5);
    let end = world.milliseconds + DAYS;
    let mut rounds = 0;
    while world.milliseconds < end {
        world.loss_percent = [0, 2, 10, 40, 100][random.random_range(0..5)];
        for _ in 0..random.random_range(0..4) {
            disturb(&mut world, &mut random);
        }
        talk(&mut world, &mut random);
        world.loss_percent = 0;
        check(&mut world, rounds);
        rounds += 1;
        // Often long enough for every session to end.
        world.pass([0, 60 * SECOND, 170 * SECOND, HOUR][random.random_range(0..4)]);
    }
    assert!(40 < rounds, "{rounds}");
}

fn acquainted() -> World {
    let mut world = World::of(u8::try_from(ENDS).unwrap());
    for (knower, other) in pairs() {
        world.introduce(knower, other);
    }
    world
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let all = (0..ENDS).flat_map(|it| (0..ENDS).map(move |other| (it, other)));
    all.filter(|(one, other)| one != other)
}

/// Something happens to one of the ends, and the others are not told.
fn disturb(world: &mut World, random: &mut SmallRng) {
    let end = random.random_range(0..ENDS);
    match random.random_range(0..4) {
        0 => {
            let traveller = end % TRAVELLERS;
            let last = random.random_range(100..200);
            let port = random.random_range(1_024..60_000);
            world.ends[traveller].outside = ([198, 51, 100, last], port).into();
            // Two who both travel could never find each other again.
            world.introduce(1 - traveller, traveller);
        }
        1 => restart(world, end),
        2 => world.ends[end].unix_ahead_seconds = random.random_range(0..=AHEAD_MAX_SECONDS),
        _ => {
            let other = (end + 1) % ENDS;
            world.introduce(end, other);
        }
    }
}

/// A device begins anew with its configuration. Of all it knew, only the last timestamp is left, which
/// is not after the fastest clock.
fn restart(world: &mut World, end: usize) {
    let former = &world.ends[end];
    let mut reborn = End::new(former.number);
    reborn.outside = former.outside;
    reborn.set_private_key(former.private_key.clone());
    reborn.unix_ahead_seconds = AHEAD_MAX_SECONDS;
    world.ends[end] = reborn;
    let now = world.now_of(end);
    world.ends[end].configuration.stamper().stamp(now.unix);
    for other in (0..ENDS).filter(|it| *it != end) {
        world.introduce(end, other);
    }
}

fn talk(world: &mut World, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..60) {
        let from = random.random_range(0..ENDS);
        let to = (from + random.random_range(1..ENDS)) % ENDS;
        world.send(from, to);
        world.pass(random.random_range(0..8 * SECOND));
    }
}

/// Whenever the network works, packets arrive from everybody at everybody.
fn check(world: &mut World, round: u32) {
    // Who travels speaks first. A peer that started again knows nothing of the session; that it is
    // silent must be enough to begin another.
    for (from, to) in pairs().filter(|(from, to)| from < to) {
        world.send(from, to);
    }
    world.pass(RECOVERY);
    for (from, to) in pairs() {
        world.ends[to].delivered.clear();
        world.send(from, to);
        let numbers = [from, to].map(|it| world.ends[it].number);
        let expected = packet(numbers[0], numbers[1], 40);
        let delivered = &world.ends[to].delivered;
        assert_eq!(
            delivered.last(),
            Some(&expected),
            "round {round}: {numbers:?}"
        );
    }
}
