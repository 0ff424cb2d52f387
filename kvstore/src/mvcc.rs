//! The store as a value: revisions, history, transactions and leases, without clock or IO.
//!
//! Speaks etcd's own messages, and answers as etcd does, down to the texts of its refusals. Headers
//! carry the revision only: who answers is not decided here.

mod change;
mod check;
mod compaction;
mod entry;
mod history;
mod image;
mod key_range;
mod key_set;
mod lease;
mod range;
mod refusal;
mod space;
mod txn;
mod writing;

#[cfg(test)]
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use etcd_client::proto::{
    PbDeleteRequest, PbDeleteResponse, PbPutRequest, PbPutResponse, PbRangeRequest,
    PbRangeResponse, PbResponseHeader, PbTxnRequest, PbTxnResponse,
};

pub use change::Change;
pub use check::{REQUEST_BYTES_MAX, TXN_OPERATIONS_MAX};
pub use entry::Entry;
pub use history::{Batch, Compacted, EventFilter};
pub use image::{Contradiction, Image};
pub use key_range::KeyRange;
pub(crate) use key_range::end_of_prefix;
pub use key_set::KeySet;
pub use lease::{LEASE_TTL_SECONDS_MAX, LEASE_TTL_SECONDS_MIN, LeaseView};
pub use refusal::Refusal;
pub use space::{Alarms, QUOTA_BYTES_DEFAULT};
pub use writing::BatchOperation;

use change::Journal;
use entry::Versions;
use history::History;
use lease::Leases;
use space::Space;
use writing::Writing;

/// Keys, their versions since the last compaction, and leases.
///
/// The first write makes revision 2, as in etcd.
#[derive(Debug)]
pub struct Store {
    keys: BTreeMap<Arc<[u8]>, Versions>,
    history: History,
    leases: Leases,
    space: Space,
    auth_state: Option<Arc<[u8]>>,
    journal: Journal,
    revision: i64,
    /// Revisions below it are gone; −1 until the first compaction.
    compacted_revision: i64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            history: History::default(),
            leases: Leases::default(),
            space: Space::default(),
            auth_state: None,
            journal: Journal::default(),
            revision: 1,
            compacted_revision: -1,
        }
    }
}

impl Store {
    pub fn put(&mut self, request: PbPutRequest) -> Result<PbPutResponse, Refusal> {
        check::put(&request)?;
        self.raise(self.space.check_put(&request))?;
        self.check_lease(&request)?;
        self.check_previous(&request)?;

        let mut writing = self.write();
        let response = writing.put(request);
        writing.finish();
        Ok(response)
    }

    pub fn delete_range(&mut self, request: &PbDeleteRequest) -> Result<PbDeleteResponse, Refusal> {
        check::delete(request)?;
        self.space.check_sound()?;

        let mut writing = self.write();
        let response = writing.delete_range(request);
        writing.finish();
        Ok(response)
    }

    pub fn range(&self, request: &PbRangeRequest) -> Result<PbRangeResponse, Refusal> {
        check::range(request)?;
        self.space.check_sound()?;
        self.check_revision(request.revision)?;
        Ok(self.range_at(request, self.revision))
    }

    /// Applies all of the chosen branch in one revision, or nothing.
    pub fn txn(&mut self, request: PbTxnRequest) -> Result<PbTxnResponse, Refusal> {
        check::txn(&request)?;
        self.raise(self.space.check_txn(&request))?;
        txn::apply(self, request)
    }

    /// Events from revision `from` to `through`, both included, that pass `filter`.
    pub fn events(
        &self,
        filter: &EventFilter,
        from: i64,
        through: i64,
    ) -> Result<Batch, Compacted> {
        if from < self.compacted_revision {
            return Err(Compacted {
                compact_revision: self.compacted_revision,
            });
        }
        Ok(self.history.batch(filter, from, through, &self.keys))
    }

    /// How far a reader at revision `from` may go in one step, so that a step stays small.
    pub fn horizon(&self, from: i64) -> i64 {
        self.history.horizon(from).unwrap_or(self.revision)
    }

    /// Grants lease `id` for at least [`LEASE_TTL_SECONDS_MIN`] and returns the granted seconds.
    pub fn lease_grant(&mut self, id: i64, ttl_seconds: i64, now: Instant) -> Result<i64, Refusal> {
        self.raise(self.space.check_lease())?;
        let ttl_seconds = self.leases.grant(id, ttl_seconds, now)?;
        self.space.hold_lease();
        self.journal
            .add(|| Change::LeaseGranted { id, ttl_seconds });
        Ok(ttl_seconds)
    }

    /// Ends a lease and deletes its keys in one revision.
    pub fn lease_revoke(&mut self, id: i64) -> Result<(), Refusal> {
        self.space.check_sound()?;
        let keys = self.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
        self.space.forget_lease();

        let mut writing = self.write();
        for key in keys {
            writing.delete(&key);
        }
        writing.finish();
        // After its keys, so that no key ever names a lease that is gone.
        self.journal.add(|| Change::LeaseEnded(id));
        Ok(())
    }

    /// Starts the lease's time anew and returns its seconds, or `None` if there is no such lease.
    pub fn lease_keep_alive(&mut self, id: i64, now: Instant) -> Option<i64> {
        self.leases.keep_alive(id, now)
    }

    pub fn lease(&self, id: i64, now: Instant) -> Option<LeaseView> {
        self.leases.view(id, now)
    }

    /// The keys that end with lease `id`, as they happen to stand; none if there is no such lease.
    pub fn lease_keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        self.leases.keys(id)
    }

    /// Whether all keys that end with lease `id` are in `set`. The answer is kept, so that asking again
    /// costs the same however many keys there are.
    pub fn lease_is_within(&mut self, id: i64, set: &Arc<KeySet>) -> bool {
        self.leases.is_within(id, set)
    }

    /// All leases, the next to expire first.
    pub fn lease_ids(&self) -> Vec<i64> {
        self.leases.ids()
    }

    pub fn lease_count(&self) -> usize {
        self.leases.count()
    }

    /// Revokes the leases whose time is over and returns how many there were.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(id) = self.leases.next_expired(now) {
            // Data that may be wrong stay as they are.
            if self.lease_revoke(id).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn compacted_revision(&self) -> i64 {
        self.compacted_revision
    }

    /// Keys that exist, and those that only history knows.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Bytes that all versions, keys and leases take.
    pub fn held_bytes(&self) -> u64 {
        self.space.held_bytes()
    }

    pub fn alarms(&self) -> Alarms {
        self.space.alarms
    }

    pub fn set_alarms(&mut self, alarms: Alarms) {
        if self.space.alarms != alarms {
            self.space.alarms = alarms;
            self.journal.add(|| Change::Alarms(alarms));
        }
    }

    /// Users, roles and whether they count, in the words of whoever decides about them. Kept with the
    /// keys, and not a revision of them.
    pub fn auth_state(&self) -> Option<&Arc<[u8]>> {
        self.auth_state.as_ref()
    }

    pub fn set_auth_state(&mut self, bytes: Arc<[u8]>) {
        self.auth_state = Some(Arc::clone(&bytes));
        self.journal.add(|| Change::AuthState(bytes));
    }

    /// Above this, writes are refused until something is deleted and compacted.
    pub fn set_quota_bytes(&mut self, bytes: u64) {
        self.space.quota_bytes = bytes;
    }

    /// What exists at `revision` (0: now), in the order of keys, and that revision.
    pub fn entries_at(&self, revision: i64) -> Result<(Vec<Arc<Entry>>, i64), Refusal> {
        self.check_revision(revision)?;
        let revision = if revision == 0 {
            self.revision
        } else {
            revision
        };
        let entries = self.keys.values().filter_map(|it| it.at(revision));
        Ok((entries.cloned().collect(), revision))
    }

    fn write(&mut self) -> Writing<'_> {
        Writing::new(self)
    }

    fn check_lease(&self, request: &PbPutRequest) -> Result<(), Refusal> {
        if request.lease == 0 || self.leases.contains(request.lease) {
            Ok(())
        } else {
            Err(Refusal::LeaseNotFound)
        }
    }

    fn check_previous(&self, request: &PbPutRequest) -> Result<(), Refusal> {
        let needed = request.ignore_value || request.ignore_lease;
        if !needed || self.current(&request.key).is_some() {
            Ok(())
        } else {
            Err(Refusal::KeyNotFound)
        }
    }

    /// 0 and less mean now.
    fn check_revision(&self, revision: i64) -> Result<(), Refusal> {
        if self.revision < revision {
            Err(Refusal::FutureRevision)
        } else if 0 < revision && revision < self.compacted_revision {
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }

    fn current(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.keys.get(key)?.current()
    }

    /// Gives `key` the version that `next` makes of it and of its current version, if it makes one, and
    /// moves the key to that version's lease: all that with one search. Returns the new version and
    /// the one before.
    fn index(
        &mut self,
        key: impl AsRef<[u8]> + Into<Arc<[u8]>>,
        next: impl FnOnce(Arc<[u8]>, Option<&Entry>) -> Option<Arc<Entry>>,
    ) -> Option<(Arc<Entry>, Option<Arc<Entry>>)> {
        let (entry, previous) = match self.keys.get_mut(key.as_ref()) {
            Some(versions) => {
                let previous = versions.current().cloned();
                let entry = next(Arc::clone(versions.key()), previous.as_deref())?;
                versions.push(Arc::clone(&entry), &mut self.leases);
                (entry, previous)
            }
            None => {
                let entry = next(key.into(), None)?;
                let versions = Versions::new(Arc::clone(&entry), &mut self.leases);
                self.keys.insert(Arc::clone(&entry.key), versions);
                (entry, None)
            }
        };
        self.space.hold(&entry);
        let is_past = entry.is_tombstone().then_some(&entry);
        for superseded in previous.iter().chain(is_past) {
            self.space.supersede(superseded);
        }
        Some((entry, previous))
    }

    /// Raises the alarm if a write was refused for want of space.
    fn raise(&mut self, check: Result<(), Refusal>) -> Result<(), Refusal> {
        if check == Err(Refusal::NoSpace) {
            self.set_alarms(Alarms {
                no_space: true,
                ..self.space.alarms
            });
        }
        check
    }
}

/// A checksum of versions of keys.
pub fn hash<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> u32 {
    let entries = entries.into_iter();
    entries.fold(entry::HASH_START, |hash, it| it.hash(hash))
}

#[expect(clippy::unnecessary_wraps, reason = "the messages' header is optional")]
fn header(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        revision,
        ..PbResponseHeader::default()
    })
}

#[cfg(test)]
mod tests;
