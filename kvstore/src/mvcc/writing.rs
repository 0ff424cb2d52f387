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
        let previous = self.store.current(&request.key).cloned();
        let key = match &previous {
            Some(previous) => Arc::clone(&previous.key),
            None => Arc::from(request.key),
        };
        let value = match &previous {
            Some(previous) if request.ignore_value => Arc::clone(&previous.value),
            _ => request.value.into(),
        };
        let lease = match &previous {
            Some(previous) if request.ignore_lease => previous.lease,
            _ => request.lease,
        };

        self.supersede(previous.as_deref(), key, value, lease);
        PbPutResponse {
            header: self.header(),
            prev_kv: previous
                .filter(|_| request.prev_kv)
                .map(|it| it.to_message()),
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
        let Some(current) = self.store.current(key) else {
            return;
        };
        let lease = current.lease;
        self.store.leases.detach(lease, key);
        self.append(Entry::tombstone(Arc::clone(key), self.revision));
    }

    /// Writes the version of `key` after `previous`.
    fn supersede(
        &mut self,
        previous: Option<&Entry>,
        key: Arc<[u8]>,
        value: Arc<[u8]>,
        lease: i64,
    ) {
        if let Some(previous) = previous
            && previous.lease != lease
        {
            self.store.leases.detach(previous.lease, &key);
        }
        self.append(Entry {
            key,
            value,
            create_revision: previous.map_or(self.revision, |it| it.create_revision),
            mod_revision: self.revision,
            version: previous.map_or(0, |it| it.version) + 1,
            lease,
        });
    }

    fn append(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        self.changed = true;
        let store = &mut *self.store;
        store.journal.add(|| Change::Written(Arc::clone(&entry)));
        store.history.push(Arc::clone(&entry));
        store.leases.attach(&entry);
        store.index(entry);
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
