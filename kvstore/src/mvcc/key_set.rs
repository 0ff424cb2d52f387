//! Decides whether some ranges of keys together have a key, or all keys of another range.

use super::key_range::KeyRange;

/// A set of keys: ranges in order, with a gap between any two.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySet(Vec<Interval>);

/// From `start` on, up to and without `end`, or without a bound.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Interval {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl KeySet {
    pub fn new(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        let mut intervals = self.0.iter();
        intervals.any(|it| {
            it.start.as_slice() <= key && it.end.as_ref().is_none_or(|end| key < end.as_slice())
        })
    }

    /// Whether every key of `range` is in the set. An empty range counts as its start alone.
    pub fn covers(&self, range: &KeyRange) -> bool {
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
