//! Decides for how long an answer may be kept: the longer what it depends on has stayed the same, the
//! longer it is likely to.

use std::sync::Arc;

use crate::check::CheckId;

/// Between which seconds answers of health-checked records are kept.
///
/// Without either bound, the zone's TTL stands as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Kept for so long right after a change; the zone's TTL if that is not given.
    pub min: Option<u32>,
    /// Kept for so long after a long calm; the zone's TTL if that is not given.
    pub max: Option<u32>,
}

/// What the TTLs of one moment depend on.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    pub bounds: Bounds,
    /// In milliseconds since 1970.
    pub now: u64,
    /// By check: when what answers follow last changed, in milliseconds since 1970.
    pub since: Arc<[u64]>,
}

/// What has been so for ten minutes may be believed for one.
const CALM_PARTS: u64 = 10;

impl Bounds {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The TTL in seconds of an answer that the zone gives `stated`, after so much calm.
    fn ttl(&self, stated: u32, calm_milliseconds: u64) -> u32 {
        if self.is_none() {
            return stated;
        }
        let least = self.min.unwrap_or(stated);
        let most = self.max.unwrap_or(stated);
        let fitting = calm_milliseconds / 1_000 / CALM_PARTS;
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        fitting.max(least.min(most)).min(most)
    }
}

impl Lifetimes {
    /// The TTL in seconds of an answer that depends on `checks`, for which the zone says `stated`.
    /// What is on the move at this very moment `is_moving`, such as a drain.
    pub fn ttl(&self, stated: u32, checks: impl Iterator<Item = CheckId>, is_moving: bool) -> u32 {
        if self.bounds.is_none() {
            return stated;
        }
        let times = checks.filter_map(|it| self.since.get(it.index()));
        match (is_moving, times.max()) {
            (true, _) => self.bounds.ttl(stated, 0),
            // What nobody checks does not change.
            (false, None) => stated,
            // A clock that was set back finds everything just changed.
            (false, Some(since)) => self.bounds.ttl(stated, self.now.saturating_sub(*since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_zone_unless_bounds_are_given() {
        check(None, None, 300, 0, 300);
        check(None, None, 300, 86_400, 300);
    }

    #[test]
    fn is_a_tenth_of_the_calm_between_the_bounds() {
        check(Some(5), None, 300, 0, 5);
        check(Some(5), None, 300, 600, 60);
        check(Some(5), None, 300, 86_400, 300);
        check(None, Some(3_600), 300, 0, 300);
        check(None, Some(3_600), 300, 6_000, 600);
        check(None, Some(3_600), 300, 86_400, 3_600);
        check(Some(5), Some(60), 300, 0, 5);
        check(Some(5), Some(60), 300, 86_400, 60);
        // A zone that wants less than the least gets what it wants.
        check(Some(30), None, 5, 0, 5);
    }

    #[test]
    fn the_latest_change_of_any_check_counts() {
        let lifetimes = Lifetimes {
            bounds: Bounds {
                min: Some(5),
                max: None,
            },
            now: 1_000_000,
            since: Arc::new([0, 900_000, 2_000_000]),
        };
        let ttl = |ids: &[usize], is_moving| {
            let checks = ids.iter().map(|it| CheckId::from_index(*it));
            lifetimes.ttl(60, checks, is_moving)
        };

        assert_eq!(ttl(&[0], false), 60);
        assert_eq!(ttl(&[0, 1], false), 10);
        assert_eq!(ttl(&[0], true), 5);
        assert_eq!(ttl(&[], false), 60);
        assert_eq!(ttl(&[2], false), 5);
    }

    #[track_caller]
    fn check(min: Option<u32>, max: Option<u32>, stated: u32, calm: u64, expected: u32) {
        assert_eq!(Bounds { min, max }.ttl(stated, calm * 1_000), expected);
    }
}
