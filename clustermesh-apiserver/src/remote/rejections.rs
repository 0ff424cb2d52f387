//! Counts the records of a remote that are dropped, and decides when that is worth a line in the log.

use std::collections::BTreeMap;
use std::fmt;

use topology::record::InvalidRecord;

/// A burst is told once, and again after this time if it goes on, in milliseconds.
const QUIET: u64 = 60_000;

/// How many records were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rejections {
    pub counts: BTreeMap<&'static str, u64>,
    /// The last one's key and what was wrong with it; empty before the first.
    pub last: String,
    untold: u64,
    told_at: Option<u64>,
}

impl Rejections {
    pub(crate) fn count(&mut self, reason: &'static str, key: &str, error: &dyn fmt::Display) {
        *self.counts.entry(reason).or_default() += 1;
        self.untold += 1;
        self.last = format!("{key}: {error}");
    }

    /// A record that could not be read.
    pub(crate) fn count_invalid(&mut self, key: &str, error: &InvalidRecord) {
        self.count(reason(error), key, error);
    }

    /// How many were dropped since it was told last, if it is time to tell. `now` is uptime in
    /// milliseconds.
    pub(crate) fn take_untold(&mut self, now: u64) -> Option<u64> {
        let is_due = self.told_at.is_none_or(|it| it + QUIET <= now);
        if self.untold == 0 || !is_due {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// The reason by which a dropped record is counted.
fn reason(error: &InvalidRecord) -> &'static str {
    match error {
        InvalidRecord::ForeignIdentity { .. } => "foreign-identity",
        InvalidRecord::Json(_) => "no-json",
        InvalidRecord::Mismatch { .. } => "mismatch",
        InvalidRecord::NoClusterLabel => "no-cluster-label",
        InvalidRecord::NotANumber(_) => "no-number",
        InvalidRecord::NotText(_) => "no-text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_burst_once() {
        let mut rejections = Rejections::default();
        assert_eq!(rejections.take_untold(0), None);
        for _ in 0..3 {
            rejections.count("no-json", "a", &"bad");
        }

        assert_eq!(rejections.take_untold(0), Some(3));
        rejections.count("no-json", "b", &"bad");
        assert_eq!(rejections.take_untold(QUIET - 1), None);
        assert_eq!(rejections.take_untold(QUIET), Some(1));
        assert_eq!(rejections.last, "b: bad");
    }
}
