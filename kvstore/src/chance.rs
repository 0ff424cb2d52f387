//! Draws what is left to chance: in one place, so that a simulation can have it from a seed.

use std::cell::RefCell;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

thread_local! {
    static REPEATED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// From now on, what this thread leaves to chance follows from `seed`. For simulations alone: ids
/// that others can foretell may collide with theirs.
pub fn repeat(seed: u64) {
    REPEATED.set(Some(SmallRng::seed_from_u64(seed)));
}

/// From 0 up to and without 1.
pub(crate) fn fraction() -> f64 {
    REPEATED.with_borrow_mut(|it| match it {
        Some(rng) => rng.random(),
        None => rand::random(),
    })
}

/// A number that nobody else has, in all likelihood; at least 1.
pub(crate) fn id() -> i64 {
    REPEATED.with_borrow_mut(|it| match it {
        Some(rng) => rng.random_range(1..=i64::MAX),
        None => rand::random_range(1..=i64::MAX),
    })
}
