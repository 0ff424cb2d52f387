//! A door: the device's only look at the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
    Now {
        monotonic: Instant::now(),
        unix: UnixTime {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        },
    }
}
