//! One version of a key, and all versions of a key that can still be read.

use std::sync::Arc;

use etcd_client::proto::PbKeyValue;

use super::lease::{Leases, Place};

/// What a version costs beside its key and value: its place in the index and in history, its numbers,
/// and what the allocator adds. Measured, and rounded up.
const OVERHEAD_BYTES: u64 = 250;

/// A key as one revision left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<[u8]>,
    pub value: Arc<[u8]>,
    pub create_revision: i64,
    pub mod_revision: i64,
    /// Writes since the key's creation; 0 marks a deletion.
    pub version: i64,
    /// 0 without one.
    pub lease: i64,
}

impl Entry {
    pub(super) fn tombstone(key: Arc<[u8]>, mod_revision: i64) -> Self {
        Self {
            key,
            value: Arc::default(),
            create_revision: 0,
            mod_revision,
            version: 0,
            lease: 0,
        }
    }

    /// Whether it says that the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// Bytes of the key and the value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// Bytes that holding it takes.
    pub(super) fn cost_bytes(&self) -> u64 {
        entry_cost_bytes(self.bytes())
    }

    pub(super) fn to_message(&self) -> PbKeyValue {
        PbKeyValue {
            key: self.key.to_vec(),
            value: self.value.to_vec(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    /// FNV-1a over everything a reader can see.
    pub(super) fn hash(&self, start: u32) -> u32 {
        let numbers = [
            self.create_revision,
            self.mod_revision,
            self.version,
            self.lease,
        ];
        let numbers = numbers.iter().flat_map(|it| it.to_be_bytes());
        let bytes = self.key.iter().chain(&*self.value).copied().chain(numbers);
        bytes.fold(start, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
    }
}

pub(super) const HASH_START: u32 = 0x811c_9dc5;

/// Bytes that holding a key and a value of `bytes` together takes.
pub(super) fn entry_cost_bytes(bytes: usize) -> u64 {
    OVERHEAD_BYTES.saturating_add(bytes as u64)
}

/// The versions of one key; at most one per revision. Most keys have one, so that costs no list.
#[derive(Debug)]
pub(super) struct Versions {
    newest: Arc<Entry>,
    older: Option<Box<Older>>,
    /// Under the newest version's lease, if that has one.
    place: Option<Place>,
}

/// Oldest first.
#[derive(Debug, Default)]
struct Older(Vec<Arc<Entry>>);

impl Versions {
    pub(super) fn new(entry: Arc<Entry>, leases: &mut Leases) -> Self {
        Self {
            place: leases.attach(entry.lease, &entry.key),
            newest: entry,
            older: None,
        }
    }

    /// Moves the key from the lease of its former version to that of `entry`, if that is another.
    pub(super) fn push(&mut self, entry: Arc<Entry>, leases: &mut Leases) {
        if self.newest.lease != entry.lease {
            if let Some(place) = self.place {
                leases.detach(self.newest.lease, place);
            }
            self.place = leases.attach(entry.lease, &entry.key);
        }
        let older = std::mem::replace(&mut self.newest, entry);
        self.older.get_or_insert_default().0.push(older);
    }

    /// As every version of the key shares it.
    pub(super) fn key(&self) -> &Arc<[u8]> {
        &self.newest.key
    }

    /// The key as it is now, if it exists.
    pub(super) fn current(&self) -> Option<&Arc<Entry>> {
        Some(&self.newest).filter(|it| !it.is_tombstone())
    }

    /// The key as it was at `revision`, if it existed.
    pub(super) fn at(&self, revision: i64) -> Option<&Arc<Entry>> {
        if self.newest.mod_revision <= revision {
            return self.current();
        }
        let older = &self.older.as_ref()?.0;
        let count = older.partition_point(|it| it.mod_revision <= revision);
        older[..count].last().filter(|it| !it.is_tombstone())
    }

    /// Oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let older = self.older.iter().flat_map(|it| &it.0);
        older.chain(std::iter::once(&self.newest))
    }

    /// Keeps what is needed to read at `revision` and later, and gives away the rest; false if nothing
    /// is left.
    pub(super) fn forget_before(
        &mut self,
        revision: i64,
        mut forget: impl FnMut(&Arc<Entry>),
    ) -> bool {
        let newest_is_last = self.newest.mod_revision <= revision;
        if let Some(older) = &mut self.older {
            let count = older.0.partition_point(|it| it.mod_revision <= revision);
            let kept_from = match count.checked_sub(1) {
                Some(last) if !newest_is_last && !older.0[last].is_tombstone() => last,
                Some(_) | None => count,
            };
            older.0.drain(..kept_from).for_each(|it| forget(&it));
            if older.0.is_empty() {
                self.older = None;
            }
        }

        let is_left = !(newest_is_last && self.newest.is_tombstone());
        if !is_left {
            forget(&self.newest);
        }
        is_left
    }
}
