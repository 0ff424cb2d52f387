//! What is forgotten, when, and what a watch reads in one step.

use etcd_client::proto::PbTxnOpRequest;

use super::super::*;
use super::{delete, operation, put};

#[test]
fn forgets_deleted_keys_when_it_compacts() {
    let mut store = Store::default();
    store.put(put("a", "1")).unwrap();
    store.put(put("b", "1")).unwrap();
    store.delete_range(&delete("a", "")).unwrap();

    store.compact(4).unwrap();

    assert_eq!(store.keys.len(), 1);
    assert_eq!(
        store.history.through(i64::MAX - 1).count(),
        1,
        "the deletion itself can still be watched"
    );
}

#[test]
fn bounds_history_by_itself() {
    let mut store = Store::default();
    for number in 0..history::EVENTS_MAX + 10 {
        store.put(put(&number.to_string(), "")).unwrap();
    }

    let kept = store.history.through(i64::MAX - 1).count();
    assert_eq!(kept, history::EVENTS_MAX);
    assert_eq!(store.compacted_revision(), 12);
    assert_eq!(store.keys.len(), history::EVENTS_MAX + 10);
}

#[test]
fn bounds_history_by_bytes_too() {
    let mut store = Store::default();
    let value = "x".repeat(1 << 20);
    for _ in 0..(space::SUPERSEDED_BYTES_MAX >> 20) + 10 {
        store.put(put("a", &value)).unwrap();
    }

    let superseded = store.held_bytes() - (1 << 20);
    assert!(superseded <= space::SUPERSEDED_BYTES_MAX);
    assert!(space::SUPERSEDED_BYTES_MAX < superseded + (2 << 20));
}

#[test]
fn stops_a_step_of_a_watch_at_a_whole_revision() {
    let mut store = Store::default();
    for number in 0..30 {
        let success = (0..90).map(|it| {
            operation(PbTxnOpRequest::RequestPut(put(
                &format!("{it}"),
                &format!("{number}"),
            )))
        });
        store
            .txn(PbTxnRequest {
                success: success.collect(),
                ..PbTxnRequest::default()
            })
            .unwrap();
    }

    assert_eq!(store.horizon(2), 13);
    assert_eq!(store.horizon(14), 25);
    assert_eq!(store.horizon(26), 31);
    assert_eq!(store.horizon(32), 31);
}
