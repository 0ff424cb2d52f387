//! Decides when a copy of a zone is compared with its primary's, and until when it may be served (RFC 1034
//! section 4.3.5, RFC 1996).
//!
//! Times are seconds of a clock that never goes back; they may be negative, before the process began.

use crate::store::Set;

/// The clocks of one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    intervals: Intervals,
    /// When the primary vouched for the copy last; `None` if there is no copy.
    confirmed: Option<i64>,
    due: i64,
    failures: u32,
}

/// What the SOA record says, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
}

/// Primaries are asked no more often than this, whatever they say, and no less.
const PAUSE_MIN: u32 = 2;
const PAUSE_MAX: u32 = 86_400;
/// Without a copy there is nothing to lose, and much to gain.
const FIRST_PAUSE_MAX: u32 = 300;

impl Intervals {
    /// What an SOA record says.
    pub fn of(soa: Set<'_>) -> Self {
        let data = soa.data().next().unwrap_or_default();
        let numbers = data.last_chunk::<20>().copied().unwrap_or_default();
        let (numbers, _) = numbers.as_chunks::<4>();
        let number = |at: usize| u32::from_be_bytes(numbers[at]);
        Self {
            refresh: number(1),
            retry: number(2),
            expire: number(3),
        }
    }
}

impl Timers {
    /// For a copy that was confirmed then, or none. The primary is asked at once.
    pub fn new(copy: Option<(Intervals, i64)>, now: i64) -> Self {
        let none = Intervals {
            refresh: PAUSE_MAX,
            retry: PAUSE_MIN,
            expire: 0,
        };
        Self {
            intervals: copy.map_or(none, |it| it.0),
            confirmed: copy.map(|it| it.1),
            due: now,
            failures: 0,
        }
    }

    /// When the primary is to be asked.
    pub fn due(&self) -> i64 {
        self.due
    }

    /// When the copy may not be served any more; `None` if there is none.
    pub fn expires(&self) -> Option<i64> {
        self.confirmed
            .map(|it| it + i64::from(self.intervals.expire))
    }

    /// The primary vouched for what there is now. `chance` spreads secondaries over the last tenth of the
    /// interval.
    pub fn handle_success(&mut self, intervals: Intervals, now: i64, chance: u32) {
        self.intervals = intervals;
        self.confirmed = Some(now);
        self.failures = 0;
        let pause = intervals.refresh.clamp(PAUSE_MIN, PAUSE_MAX);
        self.due = now + i64::from(pause - chance % (pause / 10 + 1));
    }

    pub fn handle_failure(&mut self, now: i64) {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.confirmed {
            Some(_) => self.intervals.retry.clamp(PAUSE_MIN, PAUSE_MAX),
            None => PAUSE_MIN
                .saturating_pow(self.failures.min(10))
                .min(FIRST_PAUSE_MAX),
        };
        self.due = now + i64::from(pause);
    }

    /// The primary says that there is something new.
    pub fn handle_notify(&mut self, now: i64) {
        self.due = self.due.min(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVALS: Intervals = Intervals {
        refresh: 3600,
        retry: 600,
        expire: 86_400,
    };

    #[test]
    fn asks_as_often_as_the_zone_says() {
        let mut timers = Timers::new(None, 5);
        assert_eq!((timers.due(), timers.expires()), (5, None));
        let mut pauses = Vec::new();
        let mut now = 5;
        for _ in 0..10 {
            timers.handle_failure(now);
            pauses.push(timers.due() - now);
            now = timers.due();
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);

        timers.handle_success(INTERVALS, 1000, 0);
        assert_eq!((timers.due(), timers.expires()), (4600, Some(87_400)));
        timers.handle_failure(4600);
        assert_eq!((timers.due(), timers.expires()), (5200, Some(87_400)));
        timers.handle_notify(4700);
        timers.handle_notify(4800);
        assert_eq!(timers.due(), 4700);
        timers.handle_success(INTERVALS, 4700, 7);
        assert_eq!(timers.due(), 4700 + 3600 - 7);
    }

    #[test]
    fn a_copy_of_an_earlier_life_may_have_expired() {
        let timers = Timers::new(Some((INTERVALS, -86_400)), 0);
        assert_eq!((timers.due(), timers.expires()), (0, Some(0)));
    }

    proptest! {
        #[test]
        fn never_storms_and_never_sleeps_for_ever(refresh: u32, retry: u32, expire: u32, chance: u32, fails: bool) {
            let mut timers = Timers::new(None, 0);
            timers.handle_success(Intervals { refresh, retry, expire }, 0, chance);
            if fails { timers.handle_failure(0); }
            prop_assert!((2..=86_400).contains(&timers.due()));
        }
    }
}
