//! Decides which keys a request means.

use std::ops::Bound;

/// One key, the keys from one to another, or all keys from one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The range is its start alone.
    Only,
    /// Excluded; not above the start means an empty range.
    Before(Vec<u8>),
    Open,
}

impl KeyRange {
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: End::Open,
        }
    }

    pub fn key(key: &str) -> Self {
        Self::of_request(key.as_bytes(), &[])
    }

    pub fn prefix(prefix: &str) -> Self {
        Self {
            start: prefix.into(),
            end: end_of_prefix(prefix.as_bytes()).map_or(End::Open, End::Before),
        }
    }

    /// etcd's convention: no end means one key, an end of one zero byte means no bound.
    pub fn of_request(key: &[u8], range_end: &[u8]) -> Self {
        Self {
            start: key.to_vec(),
            end: match range_end {
                [] => End::Only,
                [0] => End::Open,
                end => End::Before(end.to_vec()),
            },
        }
    }

    /// As [`of_request`](Self::of_request), where no key at all means the lowest.
    pub fn of_watch(key: &[u8], range_end: &[u8]) -> Self {
        Self::of_request(if key.is_empty() { &[0] } else { key }, range_end)
    }

    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Only => key == self.start,
            End::Before(end) => self.start.as_slice() <= key && key < end.as_slice(),
            End::Open => self.start.as_slice() <= key,
        }
    }

    /// The first key, and the first that is not contained unless there is no bound. An empty range
    /// counts as its start alone.
    pub(crate) fn interval(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let end = match &self.end {
            End::Before(end) if !self.is_empty() => Some(end.clone()),
            End::Before(_) | End::Only => Some([self.start.as_slice(), &[0]].concat()),
            End::Open => None,
        };
        (self.start.clone(), end)
    }

    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = self.start.as_slice();
        let end = match &self.end {
            End::Only => Bound::Included(start),
            // A tree refuses a range whose end is below its start.
            End::Before(end) => Bound::Excluded(end.as_slice().max(start)),
            End::Open => Bound::Unbounded,
        };
        (Bound::Included(start), end)
    }
}

/// The lowest key above all that start with `prefix`, or `None` if there is no such key.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|it| *it < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_etcds_conventions() {
        check(b"b", b"", "b");
        check(b"b", b"d", "b bb c");
        check(b"b", b"\0", "b bb c d");
        check(b"\0", b"\0", "a b bb c d");
        check(b"c", b"b", "");
        check(b"c", b"c", "");
    }

    #[track_caller]
    fn check(key: &[u8], range_end: &[u8], expected: &str) {
        let keys = ["a", "b", "bb", "c", "d"];
        let range = KeyRange::of_request(key, range_end);

        let contained: Vec<_> = keys
            .into_iter()
            .filter(|it| range.contains(it.as_bytes()))
            .collect();
        assert_eq!(contained.join(" "), expected);

        let tree: std::collections::BTreeSet<Vec<u8>> =
            keys.iter().map(|it| it.as_bytes().to_vec()).collect();
        let bounded: Vec<_> = tree
            .range::<[u8], _>(range.bounds())
            .map(|it| std::str::from_utf8(it).unwrap())
            .collect();
        assert_eq!(bounded.join(" "), expected);
    }
}
