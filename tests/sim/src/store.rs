//! One cluster's store: the real one, with the identity that a restart without memory changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use etcd_client::proto::{
    PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use kvstore::mvcc::{self, EventFilter, KeyRange};

use crate::Millis;

/// Keys to values.
pub(crate) type Table = BTreeMap<String, Vec<u8>>;

#[derive(Debug)]
pub(crate) struct Store {
    /// Which life of the store this is; what was seen in another says nothing of it.
    pub(crate) instance: u64,
    inner: mvcc::Store,
    origin: Instant,
}

/// A change that a watch tells: a value, or none where a key went.
pub(crate) type Event = (String, Option<Vec<u8>>, i64);

impl Store {
    pub(crate) fn new(instance: u64, origin: Instant) -> Self {
        Self {
            instance,
            inner: mvcc::Store::default(),
            origin,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.inner.revision()
    }

    /// Everything under `prefix`, which may be a key itself.
    pub(crate) fn table(&self, prefix: &str) -> Table {
        let range = PbRangeRequest {
            key: prefix.into(),
            range_end: end(prefix),
            ..PbRangeRequest::default()
        };
        let kvs = self.inner.range(&range).map(|it| it.kvs);
        let kvs = kvs.unwrap_or_default().into_iter();
        kvs.map(|it| (text(it.key), it.value)).collect()
    }

    /// The keys under `prefix`, each with its lease.
    pub(crate) fn leases(&self, prefix: &str) -> BTreeMap<String, i64> {
        let range = PbRangeRequest {
            key: prefix.into(),
            range_end: end(prefix),
            keys_only: true,
            ..PbRangeRequest::default()
        };
        let kvs = self.inner.range(&range).map(|it| it.kvs);
        let kvs = kvs.unwrap_or_default().into_iter();
        kvs.map(|it| (text(it.key), it.lease)).collect()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        !self.table(key).is_empty()
    }

    /// The events under `prefix` from `revision` on, or `None` if they are forgotten.
    pub(crate) fn events(&self, prefix: &str, revision: i64) -> Option<Vec<Event>> {
        let filter = EventFilter {
            range: KeyRange::of_request(prefix.as_bytes(), &end(prefix)),
            deletes: true,
            prev_kv: false,
            puts: true,
        };
        let batch = self.inner.events(&filter, revision, self.revision()).ok()?;
        let events = batch.events.into_iter().filter_map(|event| {
            let is_put = event.r#type == 0;
            let kv = event.kv?;
            Some((text(kv.key), is_put.then_some(kv.value), kv.mod_revision))
        });
        Some(events.collect())
    }

    /// Writes all of `puts` and deletes all of `deletes` in one revision.
    pub(crate) fn write(&mut self, puts: Vec<(String, Vec<u8>)>, deletes: Vec<String>, lease: i64) {
        let puts = puts.into_iter().map(|(key, value)| {
            PbTxnOpRequest::RequestPut(PbPutRequest {
                key: key.into(),
                value,
                lease,
                ..PbPutRequest::default()
            })
        });
        let deletes = deletes.into_iter().map(|key| {
            PbTxnOpRequest::RequestDeleteRange(PbDeleteRequest {
                key: key.into(),
                ..PbDeleteRequest::default()
            })
        });
        let operation = |request| PbTxnRequestOp {
            request: Some(request),
        };
        let request = PbTxnRequest {
            success: puts.chain(deletes).map(operation).collect(),
            ..PbTxnRequest::default()
        };
        self.inner
            .txn(request)
            .expect("the lease lives, and the operations are few");
    }

    pub(crate) fn compact(&mut self) {
        // Twice the same revision is refused, and means nothing.
        let _ = self.inner.compact(self.revision());
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: Duration, now: Millis) -> bool {
        let seconds = i64::try_from(ttl.as_secs()).expect("a TTL is small");
        self.inner.lease_grant(id, seconds, self.at(now)).is_ok()
    }

    pub(crate) fn keep_alive(&mut self, id: i64, now: Millis) -> bool {
        self.inner.lease_keep_alive(id, self.at(now)).is_some()
    }

    /// Ends some lease, as an administrator may.
    pub(crate) fn revoke(&mut self, choice: usize) -> bool {
        let ids = self.inner.lease_ids();
        let id = ids.get(choice % ids.len().max(1)).copied();
        id.is_some_and(|it| self.inner.lease_revoke(it).is_ok())
    }

    /// Ends the leases whose time is over, and says how many there were.
    pub(crate) fn expire(&mut self, now: Millis) -> usize {
        self.inner.expire(self.at(now))
    }

    fn at(&self, now: Millis) -> Instant {
        self.origin + Duration::from_millis(now)
    }
}

/// A name that ends with `/` is a prefix, and any other a key.
fn end(name: &str) -> Vec<u8> {
    match name.strip_suffix('/') {
        Some(stem) => format!("{stem}0").into_bytes(),
        None => Vec::new(),
    }
}

fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).expect("the mesh's keys are text")
}
