//! The one place where the mesh reads the time; everything else is told it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. Doors read it and pass it on, so that the pure parts can be shown any time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the rest of the mesh is given"
)]
impl Clock {
    /// For durations and deadlines: never goes back, means nothing to another process.
    pub fn now(self) -> Instant {
        Instant::now()
    }

    /// For records and logs: milliseconds since 1970-01-01 UTC, which may jump when the machine's
    /// clock is set. A clock before 1970 reads as 0.
    pub fn unix_milliseconds(self) -> u64 {
        self.unix_microseconds() / 1_000
    }

    /// For latencies between machines: microseconds since 1970-01-01 UTC, which may jump likewise.
    pub fn unix_microseconds(self) -> u64 {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_unix_time_in_milliseconds() {
        let year_2020 = 1_577_836_800_000;
        let year_2100 = 4_102_444_800_000;

        assert!((year_2020..year_2100).contains(&Clock.unix_milliseconds()));
    }
}
