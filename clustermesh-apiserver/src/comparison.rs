//! Decides how what is held of a remote cluster differs from what it publishes.

use std::collections::BTreeSet;
use std::sync::Arc;

use topology::report::{DiffReport, Keys, ViolationReport};

use crate::publish::Table;

/// As many keys as somebody reads; the rest is a number.
const KEYS_SHOWN_MAX: usize = 20;

/// The keys that differ, by how.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Differences {
    missing: BTreeSet<Arc<str>>,
    stale: BTreeSet<Arc<str>>,
    different: BTreeSet<Arc<str>>,
}

impl Differences {
    pub fn between(published: &Table, held: &Table) -> Self {
        let lacks = |table: &Table, key: &Arc<str>| !table.contains_key(key);
        let missing = published.keys().filter(|it| lacks(held, it));
        let stale = held.keys().filter(|it| lacks(published, it));
        let different = published
            .iter()
            .filter(|(key, value)| held.get(*key).is_some_and(|it| it != *value));
        Self {
            missing: missing.cloned().collect(),
            stale: stale.cloned().collect(),
            different: different.map(|(key, _)| Arc::clone(key)).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.stale.is_empty() && self.different.is_empty()
    }

    /// What differed before and still does: a change on its way is no difference.
    pub fn lasting(&self, before: &Self) -> Self {
        let both =
            |a: &BTreeSet<Arc<str>>, b: &BTreeSet<Arc<str>>| a.intersection(b).cloned().collect();
        Self {
            missing: both(&self.missing, &before.missing),
            stale: both(&self.stale, &before.stale),
            different: both(&self.different, &before.different),
        }
    }

    pub fn report(&self, published: usize, held: usize, refused: ViolationReport) -> DiffReport {
        DiffReport {
            published,
            held,
            missing: shown(&self.missing),
            stale: shown(&self.stale),
            different: shown(&self.different),
            refused,
        }
    }
}

fn shown(keys: &BTreeSet<Arc<str>>) -> Keys {
    let first = keys.iter().take(KEYS_SHOWN_MAX);
    Keys {
        count: keys.len(),
        first: first.map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tells_what_is_missing_stale_and_different() {
        let published = table(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let held = table(&[("b", "2"), ("c", "1"), ("d", "1")]);

        let found = Differences::between(&published, &held);

        let report = found.report(3, 3, ViolationReport::default());
        assert_eq!(report.missing.first, ["a"]);
        assert_eq!(report.different.first, ["b"]);
        assert_eq!(report.stale.first, ["d"]);
        assert!(!report.is_equal());
    }

    #[test]
    fn passes_over_what_settles() {
        let before = Differences::between(&table(&[("a", "1"), ("b", "1")]), &Table::new());
        let after = Differences::between(&table(&[("b", "1"), ("c", "1")]), &Table::new());

        let lasting = after.lasting(&before);

        assert_eq!(lasting.missing, BTreeSet::from(["b".into()]));
    }

    #[test]
    fn shows_the_first_keys_and_counts_all() {
        let many: Table = (0..50)
            .map(|it| (format!("{it:02}").into(), [].into()))
            .collect();

        let report =
            Differences::between(&many, &Table::new()).report(50, 0, ViolationReport::default());

        assert_eq!(report.missing.count, 50);
        assert_eq!(report.missing.first.len(), KEYS_SHOWN_MAX);
        assert_eq!(report.missing.first[19], "19");
    }

    proptest! {
        #[test]
        fn finds_nothing_exactly_between_equals(
            a in prop::collection::btree_map("[ab]{1,2}", "[01]", 0..4),
            b in prop::collection::btree_map("[ab]{1,2}", "[01]", 0..4),
        ) {
            let [a, b] = [a, b].map(|it| {
                let entries: Vec<(&str, &str)> = it.iter().map(|(k, v)| (&**k, &**v)).collect();
                table(&entries)
            });
            prop_assert_eq!(Differences::between(&a, &b).is_empty(), a == b);
        }
    }

    fn table(entries: &[(&str, &str)]) -> Table {
        let entries = entries.iter();
        entries
            .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
            .collect()
    }
}
