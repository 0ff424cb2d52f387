//! Reads the clock, for a lab that measures real processes on a real network.

use std::time::{Instant, SystemTime};

/// The monotonic time.
#[expect(
    clippy::disallowed_methods,
    reason = "the lab's one reader of the monotonic clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day in microseconds since 1970, to put records of several processes in order.
#[expect(
    clippy::disallowed_methods,
    reason = "the lab's one reader of the time of day"
)]
pub fn unix_microseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
