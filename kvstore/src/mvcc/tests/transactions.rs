//! Compares, branches, and all or nothing.

use etcd_client::proto::{
    PbCompare, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp,
};

use super::super::*;
use super::{delete, operation, put, range};

#[test]
fn refuses_transactions_that_change_a_key_twice() {
    check_txn("put a, put a", Err(Refusal::DuplicateKey));
    check_txn("put a, delete a", Err(Refusal::DuplicateKey));
    check_txn("delete-all, put a", Err(Refusal::DuplicateKey));
    check_txn("delete a, delete-all", Ok(2));
    check_txn("put a, put b, delete c", Ok(3));

    let nested = |success: &str, failure: &str| {
        operation(PbTxnOpRequest::RequestTxn(PbTxnRequest {
            compare: Vec::new(),
            success: operations(success),
            failure: operations(failure),
        }))
    };
    let result = |success: Vec<PbTxnRequestOp>| {
        let request = PbTxnRequest {
            success,
            ..PbTxnRequest::default()
        };
        Store::default().txn(request).map(|it| it.responses.len())
    };
    assert_eq!(
        result(vec![nested("put a", "put a")]),
        Ok(1),
        "only one branch is taken"
    );
    assert_eq!(
        result(vec![nested("put a", ""), nested("", "delete a")]),
        Err(Refusal::DuplicateKey)
    );
}

#[test]
fn bounds_transactions() {
    let many = |count: usize| {
        let success =
            (0..count).map(|it| operation(PbTxnOpRequest::RequestPut(put(&it.to_string(), ""))));
        PbTxnRequest {
            success: success.collect(),
            ..PbTxnRequest::default()
        }
    };
    assert!(Store::default().txn(many(128)).is_ok());
    assert_eq!(
        Store::default().txn(many(129)).unwrap_err(),
        Refusal::TooManyOperations
    );

    let deep = (0..100).fold(PbTxnRequest::default(), |inner, _| PbTxnRequest {
        success: vec![operation(PbTxnOpRequest::RequestTxn(inner))],
        ..PbTxnRequest::default()
    });
    assert_eq!(
        Store::default().txn(deep).unwrap_err(),
        Refusal::TooManyOperations
    );
}

#[test]
fn compares_what_is_there_and_what_is_not() {
    const EQUAL: i32 = 0;
    const GREATER: i32 = 1;
    const NOT_EQUAL: i32 = 3;
    let version = |result, number| compare("a", 0, result, PbTargetUnion::Version(number));
    let missing = |target, union| compare("missing", target, EQUAL, union);

    assert!(succeeds(version(EQUAL, 2)));
    assert!(!succeeds(version(GREATER, 2)));
    assert!(succeeds(compare(
        "a",
        3,
        EQUAL,
        PbTargetUnion::Value(b"2".into())
    )));
    assert!(succeeds(missing(1, PbTargetUnion::CreateRevision(0))));
    assert!(
        !succeeds(missing(3, PbTargetUnion::Value(Vec::new()))),
        "a missing key has no value"
    );
    let all_above_one = PbCompare {
        range_end: vec![0],
        ..compare("a", 2, GREATER, PbTargetUnion::ModRevision(1))
    };
    assert!(succeeds(all_above_one.clone()));
    assert!(!succeeds(PbCompare {
        result: NOT_EQUAL,
        target_union: Some(PbTargetUnion::ModRevision(3)),
        ..all_above_one
    }));
}

#[test]
fn sees_its_own_writes_inside_a_transaction() {
    let mut store = Store::default();
    let read = || operation(PbTxnOpRequest::RequestRange(range("a", "")));
    let request = PbTxnRequest {
        success: vec![
            read(),
            operation(PbTxnOpRequest::RequestPut(put("a", "1"))),
            read(),
        ],
        ..PbTxnRequest::default()
    };

    let response = store.txn(request).unwrap();

    let counts: Vec<i64> = response
        .responses
        .iter()
        .filter_map(|it| match &it.response {
            Some(PbTxnOpResponse::ResponseRange(range)) => Some(range.count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [0, 1]);
    assert_eq!(response.header.unwrap().revision, 2);
}

#[test]
fn changes_nothing_if_one_operation_of_a_transaction_is_refused() {
    let mut store = Store::default();
    let with_lease = PbPutRequest {
        lease: 9,
        ..put("b", "")
    };
    let success = vec![
        operation(PbTxnOpRequest::RequestPut(put("a", ""))),
        operation(PbTxnOpRequest::RequestPut(with_lease)),
    ];

    let result = store.txn(PbTxnRequest {
        success,
        ..PbTxnRequest::default()
    });

    assert_eq!(result.unwrap_err(), Refusal::LeaseNotFound);
    assert_eq!((store.revision(), store.keys.len()), (1, 0));
}

/// Runs operations such as `put a, delete b` on a store with `a`; expects the revision after them.
#[track_caller]
fn check_txn(text: &str, expected: Result<i64, Refusal>) {
    let mut store = Store::default();
    if text.contains("delete-all") {
        store.put(put("z", "")).unwrap();
        store.compact(2).unwrap();
    } else {
        store.put(put("c", "")).unwrap();
    }
    let before = store.revision();
    let request = PbTxnRequest {
        success: operations(text),
        ..PbTxnRequest::default()
    };

    let result = store.txn(request).map(|_| store.revision());
    assert_eq!(
        result,
        expected.map(|it| it + before - 2 + i64::from(it == 2))
    );
}

fn operations(text: &str) -> Vec<PbTxnRequestOp> {
    text.split(", ")
        .filter(|it| !it.is_empty())
        .map(|it| {
            operation(match it.split_once(' ') {
                Some(("put", key)) => PbTxnOpRequest::RequestPut(put(key, "")),
                Some(("delete", key)) => PbTxnOpRequest::RequestDeleteRange(delete(key, "")),
                _ => PbTxnOpRequest::RequestDeleteRange(delete("\0", "\0")),
            })
        })
        .collect()
}

fn compare(key: &str, target: i32, result: i32, union: PbTargetUnion) -> PbCompare {
    PbCompare {
        result,
        target,
        key: key.into(),
        range_end: Vec::new(),
        target_union: Some(union),
    }
}

/// Whether `compare` holds in a store with `a` = 2 at revision 3 and `b` = 1 at revision 4.
fn succeeds(compare: PbCompare) -> bool {
    let mut store = Store::default();
    store.put(put("a", "1")).unwrap();
    store.put(put("a", "2")).unwrap();
    store.put(put("b", "1")).unwrap();
    let request = PbTxnRequest {
        compare: vec![compare],
        ..PbTxnRequest::default()
    };
    store.txn(request).unwrap().succeeded
}
