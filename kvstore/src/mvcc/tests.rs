use std::time::Duration;

use etcd_client::proto::{
    PbCompare, PbEvent, PbKeyValue, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequestOp,
};
use proptest::prelude::*;

use super::model::Model;
use super::*;

#[test]
fn counts_revisions_and_versions_as_etcd_does() {
    let mut store = Store::default();
    assert_eq!(store.revision(), 1);

    store.put(put("a", "1")).unwrap();
    store.put(put("a", "2")).unwrap();
    store.put(put("b", "1")).unwrap();
    assert_eq!(shown(&store, "a"), "a=2 create 2 mod 3 version 2");

    store.delete_range(&delete("a", "")).unwrap();
    store.put(put("a", "3")).unwrap();
    assert_eq!(shown(&store, "a"), "a=3 create 6 mod 6 version 1");

    let nothing = store.delete_range(&delete("nothing", "")).unwrap();
    assert_eq!((nothing.deleted, store.revision()), (0, 6));
}

#[test]
fn reads_the_past_until_it_is_compacted() {
    let mut store = Store::default();
    for value in ["1", "2", "3"] {
        store.put(put("a", value)).unwrap();
    }
    store.delete_range(&delete("a", "")).unwrap();

    let value_at = |store: &Store, revision| {
        let response = store.range(&PbRangeRequest {
            revision,
            ..range("a", "")
        })?;
        Ok(response
            .kvs
            .first()
            .map(|it| String::from_utf8(it.value.clone()).unwrap()))
    };
    assert_eq!(value_at(&store, 2), Ok(Some("1".into())));
    assert_eq!(value_at(&store, 4), Ok(Some("3".into())));
    assert_eq!(value_at(&store, 5), Ok(None));
    assert_eq!(value_at(&store, 6), Err(Refusal::FutureRevision));

    store.compact(3).unwrap();
    assert_eq!(value_at(&store, 2), Err(Refusal::Compacted));
    assert_eq!(value_at(&store, 3), Ok(Some("2".into())));
    assert_eq!(store.compact(3), Err(Refusal::Compacted));
    assert_eq!(store.compact(9), Err(Refusal::FutureRevision));
}

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
fn refuses_in_etcds_words() {
    let mut store = Store::default();
    store.put(put("a", "1")).unwrap();
    let mut check = |act: &dyn Fn(&mut Store) -> Result<(), Refusal>, text: &str| {
        assert_eq!(act(&mut store).unwrap_err().to_string(), text);
        assert_eq!(store.revision(), 2, "a refusal changes nothing");
    };

    let get = |request: PbRangeRequest| move |store: &mut Store| store.range(&request).map(drop);
    let unsorted = range("a", "");
    check(&get(range("", "")), "etcdserver: key is not provided");
    check(
        &get(PbRangeRequest {
            sort_order: 7,
            ..unsorted.clone()
        }),
        "etcdserver: invalid sort option",
    );
    let future = PbRangeRequest {
        revision: 9,
        ..unsorted
    };
    check(
        &get(future),
        "etcdserver: mvcc: required revision is a future revision",
    );

    let write =
        |request: PbPutRequest| move |store: &mut Store| store.put(request.clone()).map(drop);
    check(
        &write(PbPutRequest {
            ignore_value: true,
            ..put("a", "1")
        }),
        "etcdserver: value is provided",
    );
    check(
        &write(PbPutRequest {
            ignore_lease: true,
            lease: 5,
            ..put("a", "1")
        }),
        "etcdserver: lease is provided",
    );
    check(
        &write(PbPutRequest {
            ignore_lease: true,
            ..put("b", "1")
        }),
        "etcdserver: key not found",
    );
    check(
        &write(PbPutRequest {
            lease: 5,
            ..put("a", "1")
        }),
        "etcdserver: requested lease not found",
    );
    check(
        &write(put("a", &"x".repeat(REQUEST_BYTES_MAX))),
        "etcdserver: request is too large",
    );
    check(
        &|store| store.lease_revoke(5),
        "etcdserver: requested lease not found",
    );
}

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

#[test]
fn deletes_the_keys_of_an_expired_lease_in_one_revision() {
    let start = now();
    let mut store = Store::default();
    assert_eq!(store.lease_grant(7, 10, start), Ok(10));
    assert_eq!(store.lease_grant(7, 10, start), Err(Refusal::LeaseExists));
    assert_eq!(
        store.lease_grant(8, LEASE_TTL_SECONDS_MAX + 1, start),
        Err(Refusal::LeaseTtlTooLarge)
    );
    assert_eq!(store.lease_grant(9, 0, start), Ok(LEASE_TTL_SECONDS_MIN));
    for key in ["a", "b", "moved", "deleted"] {
        store
            .put(PbPutRequest {
                lease: 7,
                ..put(key, "")
            })
            .unwrap();
    }
    store.put(put("moved", "")).unwrap();
    store.delete_range(&delete("deleted", "")).unwrap();
    let before = store.revision();

    assert_eq!(
        store.lease_keep_alive(7, start + Duration::from_secs(5)),
        Some(10)
    );
    assert_eq!(
        store.expire(start + Duration::from_secs(14)),
        1,
        "only the short one"
    );
    let view = store.lease(7, start + Duration::from_secs(14)).unwrap();
    assert_eq!(
        (view.remaining_seconds, view.keys),
        (1, vec![b"a".to_vec(), b"b".to_vec()])
    );

    assert_eq!(store.expire(start + Duration::from_secs(15)), 1);
    assert_eq!(store.revision(), before + 1);
    assert_eq!(store.range(&range("a", "\0")).unwrap().kvs.len(), 1);
    assert_eq!(store.lease_keep_alive(7, start), None);
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

proptest! {
    /// Every read at every revision that can be read, and every watch from there, equals the model's.
    #[test]
    fn equals_the_model(commands in prop::collection::vec(command(), 1..60)) {
        let mut store = Store::default();
        let mut model = Model::default();
        for command in commands {
            match command {
                Command::Compact(back) => {
                    let revision = store.revision() - back;
                    let before = store.compacted_revision();
                    prop_assert_eq!(store.compact(revision).is_ok(), before < revision);
                }
                Command::Delete(request) => {
                    store.delete_range(&request).unwrap();
                    model.write(&[], &[request]);
                }
                Command::Put(request) => {
                    store.put(request.clone()).unwrap();
                    model.write(&[request], &[]);
                }
                Command::PutMany(requests) => {
                    let success = requests.iter().cloned().map(|it| operation(PbTxnOpRequest::RequestPut(it)));
                    store.txn(PbTxnRequest { success: success.collect(), ..PbTxnRequest::default() }).unwrap();
                    model.write(&requests, &[]);
                }
            }
        }

        prop_assert_eq!(store.revision(), model.revision());
        for revision in store.compacted_revision().max(1)..=store.revision() {
            let found = store.range(&PbRangeRequest { revision, ..range("\0", "\0") }).unwrap();
            let expected: Vec<PbKeyValue> = model.at(revision).values().cloned().collect();
            prop_assert_eq!(found.kvs, expected);

            let window = KeyRange::of_request(b"b", b"d");
            let mut expected = model.events(&window, revision);
            if revision == store.compacted_revision() {
                forget_compacted_values(&mut expected, revision);
            }
            prop_assert_eq!(watch(&store, window, revision), expected);
        }
    }

    /// Sorting, filtering and limiting commute with the obvious way to do them.
    #[test]
    fn ranges_as_a_sorted_and_filtered_list_would(
        puts in prop::collection::vec(put_request(), 0..20),
        limit in 0..6_i64,
        order in 0..3,
        target in 0..5,
        bounds in prop::array::uniform4(0..12_i64),
    ) {
        let mut store = Store::default();
        for request in puts {
            store.put(request).unwrap();
        }
        let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = bounds;
        let everything = store.range(&range("\0", "\0")).unwrap().kvs;
        let total = i64::try_from(everything.len()).unwrap();

        let mut expected = everything;
        let filtered = bounds != [0; 4];
        if order == 0 && !filtered && 0 < limit {
            expected.truncate(usize::try_from(limit).unwrap() + 1);
        }
        let within = |it: i64, min: i64, max: i64| min <= it && (max == 0 || it <= max);
        expected.retain(|it| within(it.mod_revision, min_mod_revision, max_mod_revision) && within(it.create_revision, min_create_revision, max_create_revision));
        expected.sort_by(|a, b| {
            let ordering = match target {
                0 => a.key.cmp(&b.key),
                1 => a.version.cmp(&b.version),
                2 => a.create_revision.cmp(&b.create_revision),
                3 => a.mod_revision.cmp(&b.mod_revision),
                _ => a.value.cmp(&b.value),
            };
            if order == 2 { ordering.reverse() } else { ordering }
        });
        let more = 0 < limit && usize::try_from(limit).unwrap() < expected.len();
        if more {
            expected.truncate(usize::try_from(limit).unwrap());
        }

        let request = PbRangeRequest { limit, sort_order: order, sort_target: target, min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, ..range("\0", "\0") };
        let response = store.range(&request).unwrap();
        prop_assert_eq!((&response.kvs, response.more, response.count), (&expected, more, total));

        let keys = store.range(&PbRangeRequest { keys_only: true, ..request.clone() }).unwrap();
        prop_assert!(keys.kvs.iter().all(|it| it.value.is_empty()));
        let counted = store.range(&PbRangeRequest { count_only: true, ..request }).unwrap();
        prop_assert_eq!((counted.kvs.len(), counted.count), (0, total));
    }
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    /// To so many revisions before the newest.
    Compact(i64),
    Delete(PbDeleteRequest),
    Put(PbPutRequest),
    PutMany(Vec<PbPutRequest>),
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let many = prop::collection::btree_map("[a-d]{1,2}", "[xy]", 1..5);
    prop_oneof![
        1 => (1..4_i64).prop_map(Command::Compact),
        3 => ("[a-d]{1,2}", "([a-d]|\0)?").prop_map(|(key, end)| Command::Delete(delete(&key, &end))),
        6 => put_request().prop_map(Command::Put),
        2 => many.prop_map(|it| Command::PutMany(it.iter().map(|(key, value)| put(key, value)).collect())),
    ]
}

fn put_request() -> impl Strategy<Value = PbPutRequest> {
    ("[a-d]{1,2}", "[xy]").prop_map(|(key, value)| put(&key, &value))
}

/// What came before the oldest revision that can be read is not known any more.
fn forget_compacted_values(events: &mut [PbEvent], revision: i64) {
    for event in events {
        if event.kv.as_ref().unwrap().mod_revision == revision {
            event.prev_kv = None;
        }
    }
}

fn watch(store: &Store, range: KeyRange, from: i64) -> Vec<PbEvent> {
    let filter = EventFilter {
        range,
        deletes: true,
        prev_kv: true,
        puts: true,
    };
    let mut events = store
        .events(&filter, from, store.revision())
        .unwrap()
        .events;
    // Within a revision etcd reports in the order of the operations, the model in that of the keys.
    events.sort_by_key(|it| it.kv.as_ref().map(|it| (it.mod_revision, it.key.clone())));
    events
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

pub(super) fn operation(request: PbTxnOpRequest) -> PbTxnRequestOp {
    PbTxnRequestOp {
        request: Some(request),
    }
}

pub(super) fn put(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest {
        key: key.into(),
        value: value.into(),
        ..PbPutRequest::default()
    }
}

pub(super) fn delete(key: &str, range_end: &str) -> PbDeleteRequest {
    PbDeleteRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..PbDeleteRequest::default()
    }
}

pub(super) fn range(key: &str, range_end: &str) -> PbRangeRequest {
    PbRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..PbRangeRequest::default()
    }
}

fn shown(store: &Store, key: &str) -> String {
    let response = store.range(&range(key, "")).unwrap();
    let kv = &response.kvs[0];
    format!(
        "{key}={} create {} mod {} version {}",
        String::from_utf8_lossy(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
