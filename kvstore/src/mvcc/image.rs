//! A store as a list of what it holds: to write down, and to begin with again.

use std::sync::Arc;
use std::time::Instant;

use super::Store;
use super::change::Change;
use super::entry::{Entry, Versions};
use super::space::Alarms;

/// Everything that a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub alarms: Alarms,
    pub auth_state: Option<Arc<[u8]>>,
    pub compacted_revision: i64,
    /// In the order of history; what is older than it, first.
    pub entries: Vec<Arc<Entry>>,
    /// Ids and granted seconds.
    pub leases: Vec<(i64, i64)>,
    pub revision: i64,
}

/// The parts of an image contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("a revision is out of order: {0}")]
    Order(i64),
    #[error("a key names lease {0}, which does not exist")]
    Lease(i64),
    #[error("lease {0} has no valid time")]
    LeaseTime(i64),
    #[error("revision {revision} cannot follow compacted revision {compacted_revision}")]
    Revisions {
        revision: i64,
        compacted_revision: i64,
    },
}

impl Store {
    pub fn image(&self) -> Image {
        let compacted_revision = self.compacted_revision;
        let is_older = |it: &&Arc<Entry>| it.mod_revision < compacted_revision;
        let mut entries: Vec<Arc<Entry>> = self
            .keys
            .values()
            .flat_map(Versions::all)
            .filter(is_older)
            .cloned()
            .collect();
        entries.sort_by_key(|it| it.mod_revision);
        entries.extend(self.history.iter().cloned());
        Image {
            alarms: self.space.alarms,
            auth_state: self.auth_state.clone(),
            compacted_revision,
            entries,
            leases: self.leases.granted(),
            revision: self.revision,
        }
    }

    /// A store that holds what `image` says. Every lease has its whole time again: its owner could not
    /// renew it while there was no store.
    pub fn from_image(image: Image, now: Instant) -> Result<Self, Contradiction> {
        let Image {
            alarms,
            auth_state,
            compacted_revision,
            entries,
            leases,
            revision,
        } = image;
        if revision < 1 || compacted_revision < -1 || revision < compacted_revision {
            return Err(Contradiction::Revisions {
                revision,
                compacted_revision,
            });
        }

        let mut store = Self {
            auth_state,
            revision,
            compacted_revision,
            ..Self::default()
        };
        store.space.alarms = alarms;
        for (id, ttl_seconds) in leases {
            let granted = store.leases.grant(id, ttl_seconds, now);
            if granted != Ok(ttl_seconds) {
                return Err(Contradiction::LeaseTime(id));
            }
            store.space.hold_lease();
        }
        let mut last = 0;
        for entry in entries {
            if !(last.max(2)..=revision).contains(&entry.mod_revision) {
                return Err(Contradiction::Order(entry.mod_revision));
            }
            last = entry.mod_revision;
            store.recall(entry);
        }
        store.check_leases()?;
        Ok(store)
    }

    /// Changes that make an empty store one that holds `image`.
    pub fn changes_to(image: Image) -> impl Iterator<Item = Change> {
        let leases = image.leases.into_iter();
        let granted = leases.map(|(id, ttl_seconds)| Change::LeaseGranted { id, ttl_seconds });
        let written = image.entries.into_iter().map(Change::Written);
        let ends = [
            Change::Compacted(image.compacted_revision),
            Change::Alarms(image.alarms),
        ];
        let auth_state = image.auth_state.map(Change::AuthState);
        granted.chain(written).chain(auth_state).chain(ends)
    }

    fn recall(&mut self, entry: Arc<Entry>) {
        let entry = self.sharing_key(entry);
        let is_readable = !entry.is_tombstone() || self.compacted_revision < entry.mod_revision;
        if self.compacted_revision <= entry.mod_revision {
            self.history.push(Arc::clone(&entry));
        }
        if is_readable {
            self.index(Arc::clone(&entry.key), |_, _| Some(entry));
        } else {
            self.space.hold(&entry);
            self.space.supersede(&entry);
        }
    }

    /// All versions of a key share it.
    fn sharing_key(&self, entry: Arc<Entry>) -> Arc<Entry> {
        match self.keys.get(&entry.key) {
            Some(versions) if !Arc::ptr_eq(versions.key(), &entry.key) => Arc::new(Entry {
                key: Arc::clone(versions.key()),
                ..(*entry).clone()
            }),
            Some(_) | None => entry,
        }
    }

    fn check_leases(&self) -> Result<(), Contradiction> {
        let mut leases = self
            .keys
            .values()
            .filter_map(Versions::current)
            .map(|it| it.lease);
        match leases.find(|it| *it != 0 && !self.leases.contains(*it)) {
            Some(missing) => Err(Contradiction::Lease(missing)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
