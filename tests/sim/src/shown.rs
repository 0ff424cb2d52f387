//! What a store shows, put together from the events that a watch tells of it.

use std::collections::BTreeMap;

use crate::Millis;

/// Keys to values.
pub(crate) type Table = BTreeMap<String, Vec<u8>>;

/// One revision of a store.
#[derive(Debug, Hash)]
pub(crate) struct Seen {
    pub(crate) site: usize,
    /// Which life of the store it is of; what was seen in another says nothing of it.
    pub(crate) life: u64,
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
    pub(crate) at: Millis,
    /// Values, or none where a key went.
    pub(crate) changes: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) life: u64,
    /// What followers know the store by.
    pub(crate) cluster_id: u64,
    pub(crate) revision: i64,
    table: Table,
    /// When each revision of this life was new.
    times: BTreeMap<i64, Millis>,
}

impl Shown {
    pub(crate) fn new(life: u64) -> Self {
        Self {
            life,
            ..Self::default()
        }
    }

    pub(crate) fn take_in(&mut self, seen: Seen) {
        self.cluster_id = seen.cluster_id;
        self.revision = seen.revision;
        self.times.insert(seen.revision, seen.at);
        for (key, value) in seen.changes {
            match value {
                Some(value) => self.table.insert(key, value),
                None => self.table.remove(&key),
            };
        }
    }

    /// Everything under `prefix`, which may be a key itself.
    pub(crate) fn table(&self, prefix: &str) -> Table {
        let from_prefix = self.table.range(prefix.to_owned()..);
        let covered = from_prefix.take_while(|(key, _)| key.starts_with(prefix));
        let pairs = covered.map(|(key, value)| (key.clone(), value.clone()));
        pairs.collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// When `revision` was new, in the life of the store that `cluster_id` names.
    pub(crate) fn time_of(&self, cluster_id: u64, revision: i64) -> Option<Millis> {
        let times = Some(&self.times).filter(|_| self.cluster_id == cluster_id);
        times.and_then(|it| it.get(&revision).copied())
    }
}
