//! Counts what went no further on its way from or to one peer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dropped::DropCause;

/// Nothing is counted, and so nothing is touched, where nothing is dropped.
#[derive(Debug, Default)]
pub(super) struct Drops([AtomicU64; DropCause::ALL.len()]);

impl Drops {
    pub(super) fn count(&self, cause: DropCause, packets: u64) {
        if packets == 0 {
            return;
        }
        for (_, counter) in self.iter().filter(|(it, _)| *it == cause) {
            counter.fetch_add(packets, Ordering::Relaxed);
        }
    }

    /// What was counted since the peer is known; causes of nothing are left out.
    pub(super) fn by_cause(&self) -> BTreeMap<DropCause, u64> {
        let all = self.iter();
        let all = all.map(|(cause, counter)| (cause, counter.load(Ordering::Relaxed)));
        all.filter(|(_, packets)| *packets != 0).collect()
    }

    fn iter(&self) -> impl Iterator<Item = (DropCause, &AtomicU64)> {
        DropCause::ALL.into_iter().zip(&self.0)
    }
}
