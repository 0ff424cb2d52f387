//! Decides which sizes of packets to try on a path, and which is the largest that comes through.
//!
//! ```text
//!              every size below is known           nothing that large comes through any more
//!  Searching ───────────────────────────▶ Settled ────────────────────────────────▶ Searching
//!      ▲                                     │                                     below it
//!      └─────────────────────────────────────┘
//!            now and then, above what is known
//! ```
//!
//! A black hole tells nothing: a size fails when [`ATTEMPTS`] packets of it stay away while small
//! ones, sent in the same moments, come back.

use std::time::{Duration, Instant};

/// What every path of IPv6 must carry, and so the smallest that is worth a search.
pub const FLOOR_BYTES: u16 = 1_280;

/// Chance alone takes so many packets in a row from a path that loses a tenth once in 10,000 times.
pub const ATTEMPTS: u8 = 4;

/// How often what is known is confirmed: so long may a path that shrank swallow large packets.
pub const CONFIRM: Duration = Duration::from_secs(5);

/// How often a path that carries less than the tunnel's own MTU is asked for more (RFC 8899).
pub const RAISE: Duration = Duration::from_secs(600);

/// More than any interface carries, and less than the largest packet of IPv4.
const CEILING_MAX: u16 = 65_000;

/// The search on one path.
#[derive(Clone, Debug)]
pub struct PathMtu {
    /// The interface's own MTU: nothing larger is ever sent.
    ceiling: u16,
    /// Comes through, as far as is known; the floor is taken to.
    passes: u16,
    /// The smallest size that does not, or is not to be tried.
    fails: u16,
    /// Packets of the present size that stayed away.
    missed: u8,
    /// Whether any size has got a verdict.
    decided: bool,
    next: Instant,
    raise_at: Instant,
}

impl PathMtu {
    /// Knows nothing yet. With a `ceiling` of at most the floor there is nothing to find.
    pub fn new(ceiling: u16, now: Instant) -> Self {
        let ceiling = ceiling.min(CEILING_MAX);
        Self {
            ceiling,
            passes: FLOOR_BYTES.min(ceiling),
            fails: ceiling + 1,
            missed: 0,
            decided: false,
            next: now,
            raise_at: now + RAISE,
        }
    }

    pub fn ceiling(&self) -> u16 {
        self.ceiling
    }

    /// The size that should be tried, if it is time for one.
    pub fn wanted(&self, now: Instant) -> Option<u16> {
        (self.next <= now).then(|| self.candidate())
    }

    /// The largest packet that comes through, in bytes; `None` before that is known. While a search
    /// goes on, what is safe.
    pub fn found(&self) -> Option<u16> {
        self.decided.then_some(self.passes)
    }

    /// A packet of `size` came through.
    pub fn handle_success(&mut self, size: u16, now: Instant) {
        if size != self.candidate() {
            return;
        }
        self.missed = 0;
        self.decided = true;
        self.passes = size;
        self.rest_if_settled(now);
    }

    /// A packet of `size` stayed away, and a small one did not.
    pub fn handle_loss(&mut self, size: u16, now: Instant) {
        if size != self.candidate() {
            return;
        }
        self.missed += 1;
        if self.missed < ATTEMPTS {
            return;
        }
        self.missed = 0;
        self.decided = true;
        if self.is_settled() {
            self.passes = FLOOR_BYTES.min(self.ceiling);
        }
        self.fails = size.max(self.passes + 1);
        self.rest_if_settled(now);
    }

    fn candidate(&self) -> u16 {
        if self.is_settled() {
            self.passes
        } else if self.ceiling < self.fails {
            // Mostly nothing is in the way.
            self.ceiling
        } else {
            self.passes + (self.fails - self.passes) / 2
        }
    }

    fn is_settled(&self) -> bool {
        self.passes + 1 == self.fails
    }

    fn rest_if_settled(&mut self, now: Instant) {
        if !self.is_settled() {
            return;
        }
        self.next = now + CONFIRM;
        if self.raise_at <= now {
            self.raise_at = now + RAISE;
            if self.passes < self.ceiling {
                self.fails = self.ceiling + 1;
                self.next = now;
            }
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn needs_one_packet_where_nothing_is_in_the_way() {
        let start = Instant::now();
        let mut path = PathMtu::new(1420, start);
        assert_eq!((path.wanted(start), path.found()), (Some(1420), None));

        path.handle_success(1420, start);

        assert_eq!((path.wanted(start), path.found()), (None, Some(1420)));
        assert_eq!(path.wanted(start + CONFIRM), Some(1420));
    }

    #[test]
    fn falls_to_what_is_safe_when_a_path_shrinks_and_rises_with_it_later() {
        let mut world = World::new(1420, 0);
        world.run(20);
        assert_eq!(world.path.found(), Some(1420));

        world.threshold = 1333;
        world.run_until(|it| it.path.found() != Some(1420));
        assert_eq!(world.path.found(), Some(FLOOR_BYTES));
        world.run(100);
        assert_eq!(world.path.found(), Some(1333));

        world.threshold = 1400;
        world.run(RAISE.as_secs() * 10 / 3 + 100);
        assert_eq!(world.path.found(), Some(1400));
    }

    #[test]
    fn stays_at_the_floor_where_not_even_that_comes_through() {
        let mut world = World::new(1420, 0);
        world.threshold = 900;
        world.run(10_000);
        assert_eq!(world.path.found(), Some(FLOOR_BYTES));
    }

    #[test]
    fn finds_nothing_above_a_small_interface() {
        for ceiling in [0, 576, 1279, 1280, 1281, 9000] {
            let mut world = World::new(ceiling, 0);
            world.threshold = u16::MAX;
            world.run(100);
            assert_eq!(world.path.found(), Some(ceiling), "{ceiling}");
        }
    }

    proptest! {
        #[test]
        fn finds_any_threshold(ceiling in 1281u16..9000, threshold in 1280u16..9000, seed: u64) {
            let mut world = World::new(ceiling, seed);
            world.threshold = threshold;
            world.run(200);
            prop_assert_eq!(world.path.found(), Some(threshold.min(ceiling)));
        }

        #[test]
        fn survives_loss(threshold in 1280u16..=1420, seed: u64) {
            let mut world = World::new(1420, seed);
            world.threshold = threshold;
            world.loss_per_cent = 15;
            world.run(400);
            let found = world.path.found().unwrap();
            prop_assert!(found <= threshold, "{} is more than {}", found, threshold);
            // Chance may have taken all packets of one size; the next search puts that right.
            world.run(4 * RAISE.as_secs());
            world.loss_per_cent = 0;
            world.run(4 * RAISE.as_secs());
            prop_assert_eq!(world.path.found(), Some(threshold));
        }
    }

    /// A path that takes one packet each 300 ms.
    struct World {
        path: PathMtu,
        now: Instant,
        threshold: u16,
        loss_per_cent: u64,
        chance: u64,
    }

    impl World {
        fn new(ceiling: u16, seed: u64) -> Self {
            let now = Instant::now();
            Self {
                path: PathMtu::new(ceiling, now),
                now,
                threshold: u16::MAX,
                loss_per_cent: 0,
                chance: seed | 1,
            }
        }

        fn run(&mut self, packets: u64) {
            (0..packets).for_each(|_| self.step());
        }

        fn run_until(&mut self, condition: impl Fn(&Self) -> bool) {
            for _ in 0..1_000 {
                if condition(self) {
                    return;
                }
                self.step();
            }
            panic!("in vain: {:?}", self.path);
        }

        fn step(&mut self) {
            self.now += Duration::from_millis(300);
            let Some(size) = self.path.wanted(self.now) else {
                return;
            };
            assert!(size <= self.path.ceiling());
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            let lost = self.chance % 100 < self.loss_per_cent;
            match self.threshold < size || lost {
                true => self.path.handle_loss(size, self.now),
                false => self.path.handle_success(size, self.now),
            }
        }
    }
}
