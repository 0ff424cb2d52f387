//! Keeps a target that comes and goes away for longer, so that answers do not come and go with it.
//!
//! ```text
//!  health  ▔▔╲▁╱▔╲▁╱▔▔╲▁▁╱▔▔▔▔▔▔▔▔▔▔▔╲▁▁▁╱▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔
//!  shown   ▔▔╲▁╱▔╲▁╱▔▔╲▁▁▁▁▁▁▁▁╱▔▔▔▔▔╲▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁╱▔▔▔
//!                     │◀─ 30 s ─▶│    │◀──── 60 s ──────▶│
//! ```

use std::time::{Duration, Instant};

use super::Health;

/// Decides how long a target that fell stays down after it is healthy again.
///
/// Never shows a target as healthy that is not, and hides one that is for five minutes at most.
#[derive(Clone, Debug)]
pub struct Damper {
    seen: Health,
    /// When the target fell lately, in order. More are forgotten, oldest first.
    falls: [Option<Instant>; FALLS_MAX],
    held_until: Option<Instant>,
}

/// Falls that are older no longer count.
const WINDOW: Duration = Duration::from_secs(5 * 60);
/// So many falls within the window are bad luck; with the next, a target is held.
const FALLS_FREE: usize = 2;
/// How long a target is held after the first fall too many; each further one doubles it.
const HOLD_MIN: Duration = Duration::from_secs(30);
/// Nobody is punished for longer: a target that has mended is worth having.
const HOLD_MAX: Duration = WINDOW;

/// More falls than these change nothing: the hold has reached its most.
const FALLS_MAX: usize = 8;

impl Damper {
    /// A target that is believed to be so, and has not fallen yet.
    pub fn new(health: Health) -> Self {
        Self {
            seen: health,
            falls: [None; FALLS_MAX],
            held_until: None,
        }
    }

    /// Takes in the health of the target, after every probe, and returns what to show of it.
    pub fn judge(&mut self, health: Health, now: Instant) -> Health {
        if health == Health::Unhealthy && self.seen == Health::Healthy {
            self.falls.rotate_left(1);
            self.falls[FALLS_MAX - 1] = Some(now);
            self.held_until = self.hold(now).map(|it| now + it);
        }
        self.seen = health;
        self.shown(now)
    }

    /// Until when the target is shown as down although it is healthy, if it is.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        let until = self.held_until.filter(|it| now < *it);
        until.filter(|_| self.seen == Health::Healthy)
    }

    fn shown(&self, now: Instant) -> Health {
        match self.held_until(now) {
            Some(_) => Health::Unhealthy,
            None => self.seen,
        }
    }

    fn hold(&self, now: Instant) -> Option<Duration> {
        let is_recent = |it: &&Instant| now.saturating_duration_since(**it) < WINDOW;
        let count = self.falls.iter().flatten().filter(is_recent).count();
        let excess = u32::try_from(count.checked_sub(FALLS_FREE + 1)?).ok()?;
        Some(HOLD_MIN.saturating_mul(1 << excess).min(HOLD_MAX))
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lets_a_target_fall_twice_and_holds_it_then() {
        let start = Instant::now();
        let mut damper = Damper::new(Health::Healthy);
        let mut at = |seconds: u64, health| {
            let now = start + Duration::from_secs(seconds);
            (damper.judge(health, now), damper.held_until(now).is_some())
        };
        let (up, down) = (Health::Healthy, Health::Unhealthy);

        for seconds in [0, 10] {
            assert_eq!(at(seconds, down), (down, false));
            assert_eq!(at(seconds + 5, up), (up, false));
        }
        assert_eq!(at(20, down), (down, false));
        assert_eq!(at(25, up), (down, true));
        assert_eq!(at(49, up), (down, true));
        assert_eq!(at(50, up), (up, false));
        // Again, and for twice as long.
        assert_eq!(at(60, down), (down, false));
        assert_eq!(at(65, up), (down, true));
        assert_eq!(at(119, up), (down, true));
        assert_eq!(at(120, up), (up, false));
        // Long ago is forgotten.
        assert_eq!(at(1_000, down), (down, false));
        assert_eq!(at(1_005, up), (up, false));
    }

    #[test]
    fn a_target_that_is_not_known_has_not_fallen() {
        let now = Instant::now();
        let mut damper = Damper::new(Health::Unknown);
        for _ in 0..10 {
            assert_eq!(damper.judge(Health::Unhealthy, now), Health::Unhealthy);
            assert_eq!(damper.judge(Health::Unknown, now), Health::Unknown);
        }
    }

    proptest! {
        #[test]
        fn hides_health_for_a_bounded_time_and_never_shows_what_is_not_there(
            steps in vec((0_u64..120, any::<bool>()), 1..200)
        ) {
            let mut now = Instant::now();
            let mut damper = Damper::new(Health::Healthy);
            let mut healthy_since = Some(now);
            let mut changes = Vec::new();
            let mut before = Health::Healthy;
            for (seconds, is_healthy) in steps {
                now += Duration::from_secs(seconds);
                let health = if is_healthy { Health::Healthy } else { Health::Unhealthy };
                healthy_since = is_healthy.then(|| healthy_since.unwrap_or(now));
                let shown = damper.judge(health, now);

                prop_assert!(health <= shown, "shown better than it is");
                if healthy_since.is_some_and(|it| HOLD_MAX <= now - it) {
                    prop_assert_eq!(shown, Health::Healthy);
                }
                if shown != before {
                    changes.push(now);
                }
                before = shown;
            }
            // Two free falls, and then one for each hold, which doubles: 30 + 60 + 120 s fit.
            for window in changes.windows(14) {
                prop_assert!(WINDOW <= window[13] - window[0], "shown flapping");
            }
        }
    }
}
