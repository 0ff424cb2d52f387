//! One version of a key, and all versions of a key that can still be read.

use std::sync::Arc;

use etcd_client::proto::PbKeyValue;

/// A key as one revision left it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Arc<[u8]>,
    pub(super) value: Box<[u8]>,
    pub(super) create_revision: i64,
    pub(super) mod_revision: i64,
    /// Writes since the key's creation; 0 marks a deletion.
    pub(super) version: i64,
    /// 0 without one.
    pub(super) lease: i64,
}

impl Entry {
    pub(super) fn tombstone(key: Arc<[u8]>, mod_revision: i64) -> Self {
        Self {
            key,
            value: Box::default(),
            create_revision: 0,
            mod_revision,
            version: 0,
            lease: 0,
        }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
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

/// The versions of one key, oldest first; at most one per revision.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Arc<Entry>>);

impl Versions {
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.0.push(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key as it is now, if it exists.
    pub(super) fn current(&self) -> Option<&Arc<Entry>> {
        self.0.last().filter(|it| !it.is_tombstone())
    }

    /// The key as it was at `revision`, if it existed.
    pub(super) fn at(&self, revision: i64) -> Option<&Arc<Entry>> {
        let newest = self.0.last()?;
        if newest.mod_revision <= revision {
            return self.current();
        }
        let count = self.0.partition_point(|it| it.mod_revision <= revision);
        self.0[..count].last().filter(|it| !it.is_tombstone())
    }

    /// Keeps what is needed to read at `revision` and later.
    pub(super) fn forget_before(&mut self, revision: i64) {
        let count = self.0.partition_point(|it| it.mod_revision <= revision);
        let Some(last) = count.checked_sub(1) else {
            return;
        };
        let kept_from = if self.0[last].is_tombstone() {
            count
        } else {
            last
        };
        self.0.drain(..kept_from);
    }
}
