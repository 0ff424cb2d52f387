//! Decides which timestamps initiations carry: each later than all before, whatever the clock does.
//!
//! Peers remember the latest for longer than a process lives. So that one that starts again begins
//! after it, a mark is written down ahead of the stamps: none is given out beyond the mark, and the
//! next process begins there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::noise::Timestamp;
use crate::uapi::UnixTime;

/// TAI64's label of 1970-01-01, with the ten seconds that TAI was ahead then.
const TAI64_OF_UNIX_EPOCH: u64 = (1 << 62) + 10;

/// Finer times are cut off, so that a timestamp tells an observer little about the machine's clock:
/// about 16 ms, as the kernel does.
const NANOSECONDS_MASK: u32 = !((1 << 24) - 1);

const SECOND_NANOSECONDS: u32 = 1_000_000_000;

/// How far ahead of the clock a mark is, and how long before it is reached the next is due.
const AHEAD_SECONDS: u64 = 60;
const DUE_SECONDS: u64 = 20;

/// Gives out timestamps. One for all peers, whatever keys the device has had.
#[derive(Debug)]
pub(crate) struct Stamper {
    stamps: Mutex<Stamps>,
}

#[derive(Debug)]
struct Stamps {
    last: UnixTime,
    /// In seconds of Unix time; no stamp is later. `None` if nothing is written down.
    mark: Option<u64>,
}

impl Default for Stamper {
    /// Writes nothing down.
    fn default() -> Self {
        Self::from(Stamps {
            last: UnixTime::default(),
            mark: None,
        })
    }
}

impl Stamper {
    /// Goes on after the mark that a former process left, in seconds of Unix time. Gives nothing out
    /// beyond it before [`allow`](Self::allow).
    pub(crate) fn after(mark: u64) -> Self {
        Self::from(Stamps {
            last: UnixTime {
                seconds: mark,
                nanoseconds: 0,
            },
            mark: Some(mark),
        })
    }

    /// The mark to write down now, if it is time for another.
    pub(crate) fn due(&self, now: UnixTime) -> Option<u64> {
        let stamps = self.stamps();
        let mark = stamps.mark?;
        // What is idle needs no mark: its next stamp may be of the past, if only it is later.
        let is_due = mark < stamps.last.seconds.saturating_add(DUE_SECONDS);
        let from = stamps.last.seconds.max(now.seconds);
        is_due.then(|| from.saturating_add(AHEAD_SECONDS))
    }

    /// The mark that leaves no gap: there are no more stamps after this.
    pub(crate) fn last_mark(&self) -> Option<u64> {
        let stamps = self.stamps();
        stamps.mark?;
        Some(following(stamps.last).seconds.saturating_add(1))
    }

    /// Takes a mark into use that is written down; `None` if it cannot be.
    pub(crate) fn allow(&self, mark: Option<u64>) {
        self.stamps().mark = mark;
    }

    /// The time now, or a moment after the last timestamp if the clock went back.
    pub(crate) fn stamp(&self, now: UnixTime) -> Timestamp {
        let mut stamps = self.stamps();
        let mark = UnixTime {
            seconds: stamps.mark.unwrap_or(u64::MAX),
            nanoseconds: 0,
        };
        let now = now.min(mark);
        let now = UnixTime {
            nanoseconds: now.nanoseconds & NANOSECONDS_MASK,
            ..now
        };
        let next = now.max(following(stamps.last));
        stamps.last = next;
        let mut bytes = [0; Timestamp::BYTES];
        let seconds = TAI64_OF_UNIX_EPOCH.saturating_add(next.seconds);
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&next.nanoseconds.to_be_bytes());
        Timestamp(bytes)
    }

    fn stamps(&self) -> MutexGuard<'_, Stamps> {
        // Whole between any two calls, so a panic elsewhere does not spoil it.
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Stamps> for Stamper {
    fn from(stamps: Stamps) -> Self {
        Self {
            stamps: Mutex::new(stamps),
        }
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
    use proptest::prelude::*;

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

    #[test]
    fn goes_on_after_a_mark_and_not_beyond_the_next() {
        let stamper = Stamper::after(1_000);
        let mark = stamper.due(time(100, 0));
        assert_eq!(mark, Some(1_060), "ahead of what may have been given out");
        stamper.allow(mark);
        assert_eq!(stamper.due(time(5_000, 0)), None, "no stamp, no need");

        let first = stamper.stamp(time(100, 0));
        assert!(stamp_of(1_000, 0) < first && first < stamp_of(1_001, 0));
        // The clock leaps ahead, and nobody has written that down yet.
        assert_eq!(stamper.stamp(time(5_000, 0)), stamp_of(1_060, 0));
        assert_eq!(stamper.due(time(5_000, 0)), Some(5_060));
        stamper.allow(Some(5_060));
        assert_eq!(stamper.stamp(time(5_000, 0)), stamp_of(5_000, 0));
        assert_eq!(stamper.last_mark(), Some(5_001));
    }

    proptest! {
        #[test]
        fn rises_from_one_life_to_the_next(
            lives in prop::collection::vec(
                prop::collection::vec((0..500_u64, any::<bool>()), 1..20),
                1..5,
            ),
        ) {
            let mut mark = 0;
            let mut last = Timestamp::default();
            for life in lives {
                let stamper = Stamper::after(mark);
                for (seconds, is_late) in life {
                    // Whoever writes marks down is late now and then.
                    if let Some(next) = stamper.due(time(seconds, 0)).filter(|_| !is_late) {
                        mark = next;
                        stamper.allow(Some(mark));
                    }
                    if stamper.due(time(seconds, 0)).is_none() {
                        let stamp = stamper.stamp(time(seconds, 0));
                        prop_assert!(last < stamp, "{last:?} {stamp:?}");
                        last = stamp;
                    }
                }
            }
        }
    }

    fn stamp_of(seconds: u64, nanoseconds: u32) -> Timestamp {
        Stamper::default().stamp(time(seconds, nanoseconds))
    }

    fn time(seconds: u64, nanoseconds: u32) -> UnixTime {
        UnixTime {
            seconds,
            nanoseconds,
        }
    }
}
