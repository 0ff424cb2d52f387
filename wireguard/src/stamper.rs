//! Decides which timestamps initiations carry: each later than all before, whatever the clock does.

use std::sync::{Mutex, PoisonError};

use crate::noise::Timestamp;
use crate::uapi::UnixTime;

/// TAI64's label of 1970-01-01, with the ten seconds that TAI was ahead then.
const TAI64_OF_UNIX_EPOCH: u64 = (1 << 62) + 10;

/// Finer times are cut off, so that a timestamp tells an observer little about the machine's clock:
/// about 16 ms, as the kernel does.
const NANOSECONDS_MASK: u32 = !((1 << 24) - 1);

const SECOND_NANOSECONDS: u32 = 1_000_000_000;

/// Gives out timestamps. One for all peers of a key.
#[derive(Debug, Default)]
pub(crate) struct Stamper {
    last: Mutex<UnixTime>,
}

impl Stamper {
    /// The time now, or a moment after the last timestamp if the clock went back.
    pub(crate) fn stamp(&self, now: UnixTime) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = UnixTime {
            nanoseconds: now.nanoseconds & NANOSECONDS_MASK,
            ..now
        };
        let next = now.max(following(*last));
        *last = next;
        let mut bytes = [0; Timestamp::BYTES];
        let seconds = TAI64_OF_UNIX_EPOCH.saturating_add(next.seconds);
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&next.nanoseconds.to_be_bytes());
        Timestamp(bytes)
    }
}

/// The next time that is not cut off.
fn following(time: UnixTime) -> UnixTime {
    let step = !NANOSECONDS_MASK + 1;
    let nanoseconds = (time.nanoseconds & NANOSECONDS_MASK) + step;
    if SECOND_NANOSECONDS <= nanoseconds {
        UnixTime {
            seconds: time.seconds.saturating_add(1),
            nanoseconds: 0,
        }
    } else {
        UnixTime {
            seconds: time.seconds,
            nanoseconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_a_time_as_tai64n() {
        let stamp = Stamper::default().stamp(time(1, 500_000_000));

        let expected = [0x40, 0, 0, 0, 0, 0, 0, 11, 0x1d, 0, 0, 0];
        assert_eq!(stamp, Timestamp(expected));
    }

    #[test]
    fn rises_whatever_the_clock_does() {
        let stamper = Stamper::default();
        let times = [
            time(100, 0),
            time(100, 0),
            time(100, 999_999_999),
            time(100, 999_999_999),
            time(3, 0),
            time(200, 7),
        ];
        let stamps: Vec<Timestamp> = times.into_iter().map(|it| stamper.stamp(it)).collect();

        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    }

    fn time(seconds: u64, nanoseconds: u32) -> UnixTime {
        UnixTime {
            seconds,
            nanoseconds,
        }
    }
}
