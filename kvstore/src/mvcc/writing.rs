//! Makes one revision: puts and deletes that become visible together.

mod batch;

use std::sync::Arc;

use etcd_client::proto::{
    PbDeleteRequest, PbDeleteResponse, PbPutRequest, PbPutResponse, PbResponseHeader,
};

use super::change::Change;
use super::entry::Entry;
use super::key_range::KeyRange;
use super::{Store, header};

pub use batch::BatchOperation;

/// One revision being made: reads see its own writes, and nothing counts before `finish`.
pub(super) struct Writing<'a> {
    pub(super) store: &'a mut Store,
    revision: i64,
    changed: bool,
}

impl<'a> Writing<'a> {
    pub(super) fn new(store: &'a mut Store) -> Self {
        Self {
            revision: store.revision + 1,
            changed: false,
            store,
        }
    }

    /// The lease and the previous key were checked before.
    pub(super) fn put(&mut self, request: PbPutRequest) -> PbPutResponse {
        let PbPutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        } = request;
        let previous = self.write(key, |previous| {
            let value = match previous {
                Some(previous) if ignore_value => Arc::clone(&previous.value),
                Some(_) | None => value.into(),
            };
            let lease = match previous {
                Some(previous) if ignore_lease => previous.lease,
                Some(_) | None => lease,
            };
            (value, lease)
        });
        PbPutResponse {
            header: self.header(),
            prev_kv: previous.filter(|_| prev_kv).map(|it| it.to_message()),
        }
    }

    pub(super) fn delete_range(&mut self, request: &PbDeleteRequest) -> PbDeleteResponse {
        let range = KeyRange::of_request(&request.key, &request.range_end);
        let doomed: Vec<Arc<Entry>> = self
            .store
            .keys
            .range::<[u8], _>(range.bounds())
            .filter_map(|(_, versions)| versions.current().cloned())
            .collect();
        for entry in &doomed {
            self.delete(&entry.key);
        }

        PbDeleteResponse {
            header: self.header(),
            deleted: i64::try_from(doomed.len()).expect("fewer keys than bytes of memory"),
            prev_kvs: if request.prev_kv {
                doomed.iter().map(|it| it.to_message()).collect()
            } else {
                Vec::new()
            },
        }
    }

    pub(super) fn delete(&mut self, key: &Arc<[u8]>) {
        let revision = self.revision;
        let indexed = self.store.index(Arc::clone(key), |key, current| {
            current.map(|_| Arc::new(Entry::tombstone(key, revision)))
        });
        if let Some((entry, _)) = indexed {
            self.record(entry);
        }
    }

    /// Writes the version of `key` with the value and the lease that `content` makes of the version
    /// before, and returns that one.
    fn write(
        &mut self,
        key: impl AsRef<[u8]> + Into<Arc<[u8]>>,
        content: impl FnOnce(Option<&Entry>) -> (Arc<[u8]>, i64),
    ) -> Option<Arc<Entry>> {
        let revision = self.revision;
        let indexed = self.store.index(key, |key, previous| {
            let (value, lease) = content(previous);
            Some(Arc::new(Entry {
                key,
                value,
                create_revision: previous.map_or(revision, |it| it.create_revision),
                mod_revision: revision,
                version: previous.map_or(0, |it| it.version) + 1,
                lease,
            }))
        });
        let (entry, previous) = indexed?;
        self.record(entry);
        previous
    }

    fn record(&mut self, entry: Arc<Entry>) {
        self.changed = true;
        let store = &mut *self.store;
        store.journal.add(|| Change::Written(Arc::clone(&entry)));
        store.history.push(entry);
    }

    /// What a read inside this transaction sees.
    pub(super) fn visible_revision(&self) -> i64 {
        if self.changed {
            self.revision
        } else {
            self.store.revision
        }
    }

    pub(super) fn header(&self) -> Option<PbResponseHeader> {
        header(self.visible_revision())
    }

    pub(super) fn finish(self) {
        if !self.changed {
            return;
        }
        self.store.revision = self.revision;
        self.store.bound_history();
    }
}
