//! What is fed with bytes from outside: whatever they are, nothing may panic, and what the store
//! promises must hold.

use std::path::Path;
use std::time::{Duration, Instant};

use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnRequest};
use kvstore::access::Permission;
use kvstore::auth::Auth;
use kvstore::config::EtcdConfig;
use kvstore::mvcc::{EventFilter, KeyRange, Store};
use prost::Message as _;

/// A client's configuration file, as an operator wrote it.
pub(crate) fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = EtcdConfig::parse(&text, Path::new("fuzzed")) {
        assert!(!error.to_string().is_empty());
    }
}

/// A client's certificate, which names the user.
pub(crate) fn certificate(bytes: &[u8]) {
    let _ = kvstore::server::common_name(bytes);
}

/// Stored users and roles, and what they then permit.
pub(crate) fn users(bytes: &[u8]) {
    let Ok(auth) = Auth::from_bytes(bytes) else {
        return;
    };
    let again = Auth::from_bytes(&auth.to_bytes());
    assert_eq!(again.ok().as_ref(), Some(&auth), "reads as it is written");
    let range = PbRangeRequest {
        key: "a".into(),
        range_end: "c".into(),
        ..PbRangeRequest::default()
    };
    for user in auth.users() {
        let _ = auth.permission(Some(user)).check_range(&range);
    }
}

/// Requests, each with its kind and its length before it, to a store and to a user's permission.
pub(crate) fn requests(mut bytes: &[u8], start: Instant) {
    let permission = Permission::ranges([KeyRange::prefix("a"), KeyRange::key("b")], []);
    let mut store = Store::default();
    let mut now = start;
    while let [kind, length, rest @ ..] = bytes {
        let (request, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        now += Duration::from_millis(u64::from(*length));
        let before = store.revision();
        request_to(&mut store, &permission, *kind, request, now);
        let made = store.revision() - before;
        assert!(
            (0..=1).contains(&made) || *kind % KINDS == EXPIRE,
            "one request, one revision"
        );
    }
    check(&store);
}

const KINDS: u8 = 7;
const EXPIRE: u8 = 5;

fn request_to(store: &mut Store, permission: &Permission, kind: u8, bytes: &[u8], now: Instant) {
    match kind % KINDS {
        0 => {
            if let Ok(request) = PbPutRequest::decode(bytes) {
                let _ = permission.check_put(&request, store);
                let _ = store.put(request);
            }
        }
        1 => {
            if let Ok(request) = PbDeleteRequest::decode(bytes) {
                let _ = permission.check_delete(&request);
                let _ = store.delete_range(&request);
            }
        }
        2 => {
            if let Ok(request) = PbRangeRequest::decode(bytes) {
                let _ = permission.check_range(&request);
                range(store, &request);
            }
        }
        3 => {
            if let Ok(request) = PbTxnRequest::decode(bytes) {
                let _ = permission.check_txn(&request, store);
                let _ = store.txn(request);
            }
        }
        4 => {
            let _ = store.lease_grant(number(bytes) % 8, number(bytes) % 16, now);
        }
        EXPIRE => {
            store.expire(now);
        }
        _ => {
            let _ = store.compact(number(bytes) % (store.revision() + 1));
        }
    }
}

fn range(store: &Store, request: &PbRangeRequest) {
    let Ok(response) = store.range(request) else {
        return;
    };
    let count = usize::try_from(response.count).expect("a count is no debt");
    assert!(response.kvs.len() <= count);
    if 0 < request.limit {
        assert!(response.kvs.len() <= usize::try_from(request.limit).unwrap_or(usize::MAX));
    }
}

/// History is in order, has no key twice in a revision, and ends in what exists.
fn check(store: &Store) {
    let filter = EventFilter {
        range: KeyRange::all(),
        deletes: true,
        prev_kv: true,
        puts: true,
    };
    let from = store.compacted_revision().max(1);
    let batch = store.events(&filter, from, store.revision());
    let events = batch
        .expect("history reaches back to the compaction")
        .events;
    let mut last = (0, Vec::new());
    for event in &events {
        let kv = event.kv.as_ref().expect("an event has a key");
        assert!(last.0 <= kv.mod_revision && kv.mod_revision <= store.revision());
        assert!(
            last != (kv.mod_revision, kv.key.clone()),
            "a key twice in a revision"
        );
        last = (kv.mod_revision, kv.key.clone());
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| {
        (number << 8 | i64::from(*byte)) & i64::from(u32::MAX)
    })
}
