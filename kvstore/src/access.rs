//! Decides which requests may be made: by the ranges of keys that a user may read and write.
//!
//! As in etcd, with what its advisories of 2026 corrected. Stricter in one place: who may only read has
//! no business with leases.

mod request;

use crate::auth::Refusal;
use crate::mvcc::KeyRange;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq)]
pub enum Permission {
    /// An administrator's, and everybody's as long as authentication is disabled.
    Everything,
    /// Nothing, and why.
    Nothing(Refusal),
    /// A known user's.
    Ranges(Ranges),
}

/// The keys that a user may read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    read: Keys,
    write: Keys,
}

/// A set of keys: ranges in order, with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq)]
struct Keys(Vec<Interval>);

/// From `start` on, up to and without `end`, or without a bound.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Interval {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Permission {
    pub fn ranges(
        read: impl IntoIterator<Item = KeyRange>,
        write: impl IntoIterator<Item = KeyRange>,
    ) -> Self {
        Self::Ranges(Ranges {
            read: Keys::new(read),
            write: Keys::new(write),
        })
    }

    /// Whether the user is anybody: for what tells nothing of the keys.
    pub fn check_known(&self) -> Result<(), Refusal> {
        self.check(|_| true)
    }

    /// For what concerns the whole store.
    pub fn check_everything(&self) -> Result<(), Refusal> {
        self.check(|_| false)
    }

    /// For leases: whoever writes nothing needs none.
    pub fn check_writer(&self) -> Result<(), Refusal> {
        self.check(|it| !it.write.0.is_empty())
    }

    pub fn check_read(&self, range: &KeyRange) -> Result<(), Refusal> {
        self.check(|it| it.read.contain(range))
    }

    pub fn check_write(&self, range: &KeyRange) -> Result<(), Refusal> {
        self.check(|it| it.write.contain(range))
    }

    fn check(&self, permitted: impl FnOnce(&Ranges) -> bool) -> Result<(), Refusal> {
        match self {
            Self::Everything => Ok(()),
            Self::Nothing(refusal) => Err(*refusal),
            Self::Ranges(ranges) if permitted(ranges) => Ok(()),
            Self::Ranges(_) => Err(Refusal::PermissionDenied),
        }
    }
}

impl Keys {
    fn new(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        let mut intervals: Vec<Interval> = ranges.into_iter().map(|it| interval(&it)).collect();
        intervals.sort();
        let mut keys: Vec<Interval> = Vec::new();
        for interval in intervals {
            match keys.last_mut() {
                Some(last) if last.reaches(&interval.start) => {
                    if !last.ends_no_earlier(&interval) {
                        last.end = interval.end;
                    }
                }
                Some(_) | None => keys.push(interval),
            }
        }
        Self(keys)
    }

    fn contain(&self, range: &KeyRange) -> bool {
        let wanted = interval(range);
        let mut intervals = self.0.iter();
        intervals.any(|it| it.start <= wanted.start && it.ends_no_earlier(&wanted))
    }
}

impl Interval {
    /// Whether nothing lies between this interval, which starts no later, and `key`.
    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key <= end.as_slice())
    }

    fn ends_no_earlier(&self, other: &Self) -> bool {
        match (&self.end, &other.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(other)) => other <= end,
        }
    }
}

fn interval(range: &KeyRange) -> Interval {
    let (start, end) = range.interval();
    Interval { start, end }
}

#[cfg(test)]
mod tests;
