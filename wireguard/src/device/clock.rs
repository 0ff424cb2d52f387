//! A door: the device's only look at the clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::tunnel::Now;
use crate::uapi::UnixTime;

#[expect(
    clippy::disallowed_methods,
    reason = "this is where time enters the device, which has no runtime to bring a clock"
)]
pub(super) fn now() -> Now {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Goes on while the machine sleeps, as the peers' clocks do: keys are as old as they think.
    let since_boot = clock_gettime(ClockId::Boottime);
    let seconds = since_boot.tv_sec.unsigned_abs();
    let milliseconds = since_boot.tv_nsec.unsigned_abs() / 1_000_000;
    Now {
        milliseconds: (seconds * 1_000 + milliseconds).max(1),
        unix: UnixTime {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        },
    }
}
