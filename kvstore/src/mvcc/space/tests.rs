use etcd_client::proto::{PbPutRequest, PbTxnOpRequest, PbTxnRequest};

use super::super::Store;
use super::super::tests::{delete, now, operation, put, range};
use super::*;

#[test]
fn refuses_what_needs_space_when_there_is_none() {
    let mut store = full();
    let big = PbTxnOpRequest::RequestPut(put("big", &"x".repeat(5_000)));
    let nested = PbTxnOpRequest::RequestTxn(PbTxnRequest {
        failure: vec![operation(big)],
        ..PbTxnRequest::default()
    });
    let transaction = PbTxnRequest {
        success: vec![operation(nested)],
        ..PbTxnRequest::default()
    };

    assert!(!store.alarms().no_space);
    assert_eq!(store.txn(transaction).unwrap_err(), Refusal::NoSpace);

    assert!(store.alarms().no_space);
    assert_eq!(store.put(put("a", "")).unwrap_err(), Refusal::NoSpace);
    assert_eq!(store.lease_grant(1, 10, now()), Err(Refusal::NoSpace));
    assert_eq!(
        Refusal::NoSpace.to_string(),
        "etcdserver: mvcc: database space exceeded"
    );
}

#[test]
fn lets_space_be_made() {
    let mut store = full();
    store.put(put("big", &"x".repeat(5_000))).unwrap_err();

    assert_eq!(store.range(&range("\0", "\0")).unwrap().kvs.len(), 10);
    let read = PbTxnRequest {
        success: vec![operation(PbTxnOpRequest::RequestRange(range("a", "")))],
        ..PbTxnRequest::default()
    };
    store.txn(read).unwrap();
    store.delete_range(&delete("0", "9")).unwrap();
    store.compact(store.revision()).unwrap();
    assert_eq!(
        store.put(put("a", "")).unwrap_err(),
        Refusal::NoSpace,
        "the alarm stays until it is taken back"
    );
    store.set_alarms(Alarms::default());
    store.put(put("a", "")).unwrap();
}

#[test]
fn counts_what_it_holds_and_nothing_else() {
    let mut store = Store::default();
    for round in 0..20 {
        store.lease_grant(7, 10, now()).unwrap();
        for key in ["a", "b", "c"] {
            let request = PbPutRequest {
                lease: 7,
                ..put(key, "value")
            };
            store.put(request).unwrap();
        }
        store.put(put("stays", &round.to_string())).unwrap();
        store.lease_revoke(7).unwrap();
    }
    // A deletion is held as long as it can be watched.
    store.put(put("other", "")).unwrap();
    store.compact(store.revision()).unwrap();

    let expected = entry_cost_bytes("stays19".len()) + entry_cost_bytes("other".len());
    assert_eq!(store.held_bytes(), expected);
    assert_eq!(store.space.superseded_bytes, 0);
}

#[test]
fn stops_everything_when_data_are_wrong() {
    let mut store = full();
    store.lease_grant(1, 10, now()).unwrap();
    store.set_alarms(Alarms {
        corrupt: true,
        no_space: false,
    });

    assert_eq!(store.range(&range("a", "")).unwrap_err(), Refusal::Corrupt);
    assert_eq!(store.put(put("a", "")).unwrap_err(), Refusal::Corrupt);
    assert_eq!(
        store.delete_range(&delete("0", "")).unwrap_err(),
        Refusal::Corrupt
    );
    assert_eq!(
        store.txn(PbTxnRequest::default()).unwrap_err(),
        Refusal::Corrupt
    );
    assert_eq!(store.compact(2).unwrap_err(), Refusal::Corrupt);
    assert_eq!(store.lease_revoke(1).unwrap_err(), Refusal::Corrupt);
    let later = now() + std::time::Duration::from_secs(60);
    assert_eq!(store.expire(later), 0, "and nothing is deleted either");
}

/// Ten keys of a kilobyte, and room for four more.
fn full() -> Store {
    let mut store = Store::default();
    store.set_quota_bytes(10 * 1_300 + 4_000);
    for key in 0..10 {
        store
            .put(put(&key.to_string(), &"x".repeat(1_000)))
            .unwrap();
    }
    store
}
