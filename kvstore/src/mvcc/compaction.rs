//! Decides what can be forgotten, and forgets it.

use std::collections::btree_map::Entry as Slot;
use std::sync::Arc;

use super::Store;
use super::change::{Change, Journal};
use super::entry::Entry;
use super::refusal::Refusal;
use super::space::Space;

impl Store {
    /// Forgets what was superseded before `revision`. Reading at `revision` itself still works.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        self.space.check_sound()?;
        if revision <= self.compacted_revision {
            return Err(Refusal::Compacted);
        }
        if self.revision < revision {
            return Err(Refusal::FutureRevision);
        }

        self.compact_to(revision);
        Ok(())
    }

    /// Compacts, oldest revisions first, as long as history is larger than it may be.
    pub(super) fn bound_history(&mut self) {
        while self.history.is_full() || self.space.is_history_full() {
            let Some(revision) = self.history.second_revision() else {
                return;
            };
            self.compact_to(revision);
        }
    }

    fn compact_to(&mut self, revision: i64) {
        self.compacted_revision = revision;
        self.journal.add(|| Change::Compacted(revision));
        let (space, journal) = (&mut self.space, &mut self.journal);
        // Only keys with an event up to `revision` can have something to forget.
        for entry in self.history.through(revision) {
            if let Slot::Occupied(mut slot) = self.keys.entry(Arc::clone(&entry.key)) {
                let is_left = slot.get_mut().forget_before(revision, |it| {
                    // Until history forgets a deletion, it can still be watched.
                    if !it.is_tombstone() {
                        forget(it, space, journal);
                    }
                });
                if !is_left {
                    slot.remove();
                }
            }
        }
        let unwatched = self.history.forget_before(revision);
        unwatched
            .filter(|it| it.is_tombstone())
            .for_each(|it| forget(&it, space, journal));
        self.history.shrink();
    }
}

fn forget(entry: &Arc<Entry>, space: &mut Space, journal: &mut Journal) {
    space.forget(entry);
    journal.add(|| Change::Forgotten(Arc::clone(entry)));
}
