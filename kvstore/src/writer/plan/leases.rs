//! Decides which of our leases a key gets.

use std::collections::{BTreeMap, BTreeSet};

/// Our living leases, and how many keys each has.
#[derive(Debug)]
pub(super) struct Leases {
    keys_max: usize,
    counts: BTreeMap<i64, usize>,
    roomy: BTreeSet<i64>,
}

impl Leases {
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            keys_max: keys_max.max(1),
            counts: BTreeMap::new(),
            roomy: BTreeSet::new(),
        }
    }

    /// Forgets all, and starts with those that are alive, as if they had no keys.
    pub(super) fn restart(&mut self, alive: &BTreeSet<i64>) {
        self.counts = alive.iter().map(|lease| (*lease, 0)).collect();
        self.roomy.clone_from(alive);
    }

    pub(super) fn add(&mut self, lease: i64) {
        self.counts.insert(lease, 0);
        self.roomy.insert(lease);
    }

    pub(super) fn contains(&self, lease: i64) -> bool {
        self.counts.contains_key(&lease)
    }

    /// The lease to write a key under that has `lease` now, which may be none of ours: its own, or
    /// one with room. `None` if a new one is needed.
    pub(super) fn take(&mut self, lease: i64) -> Option<i64> {
        if self.contains(lease) {
            return Some(lease);
        }
        let roomy = *self.roomy.first()?;
        self.count(roomy);
        Some(roomy)
    }

    /// One more key has `lease`.
    pub(super) fn count(&mut self, lease: i64) {
        if let Some(count) = self.counts.get_mut(&lease) {
            *count += 1;
            if self.keys_max <= *count {
                self.roomy.remove(&lease);
            }
        }
    }

    /// One key less has `lease`.
    pub(super) fn release(&mut self, lease: i64) {
        if let Some(count) = self.counts.get_mut(&lease) {
            *count = count.saturating_sub(1);
            if *count < self.keys_max {
                self.roomy.insert(lease);
            }
        }
    }

    pub(super) fn counts(&self) -> &BTreeMap<i64, usize> {
        &self.counts
    }
}
