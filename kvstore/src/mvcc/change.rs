//! What a store that must outlive its process writes down: each change, in order.

use std::sync::Arc;

use super::Store;
use super::entry::Entry;
use super::space::Alarms;

/// One thing that is different from before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Alarms(Alarms),
    /// As of [`Store::set_auth_state`].
    AuthState(Arc<[u8]>),
    /// Revisions below cannot be read any more.
    Compacted(i64),
    /// Nobody can read this version any more.
    Forgotten(Arc<Entry>),
    LeaseEnded(i64),
    LeaseGranted {
        id: i64,
        ttl_seconds: i64,
    },
    /// A put or a deletion. Those of one revision follow each other.
    Written(Arc<Entry>),
}

/// The changes that nobody has taken yet, if somebody wants them.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<Vec<Change>>);

impl Journal {
    pub(super) fn add(&mut self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &mut self.0 {
            changes.push(change());
        }
    }
}

impl Store {
    /// From here on, every change is kept until [`take_changes`](Self::take_changes).
    pub fn record_changes(&mut self) {
        self.journal.0.get_or_insert_default();
    }

    /// What changed since the last time; nothing unless changes are recorded.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.journal
            .0
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}
