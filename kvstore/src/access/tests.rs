use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest,
    PbTxnRequestOp,
};
use proptest::prelude::*;

use super::*;
use crate::mvcc::Store;

#[test]
fn joins_ranges_that_leave_no_key_between_them() {
    let permission = reading([
        KeyRange::of_request(b"b", b"c"),
        KeyRange::of_request(b"a", b"b"),
        KeyRange::key("c"),
        KeyRange::prefix("x/"),
    ]);

    check_reads(&permission, b"a", b"c\0", true);
    check_reads(&permission, b"a", b"c\0\0", false);
    check_reads(&permission, b"a", b"\0", false);
    check_reads(&permission, b"\0", b"\0", false);
    check_reads(&permission, b"x/", b"x0", true);
    check_reads(&permission, b"x/", b"x1", false);
}

#[test]
fn judges_every_operation_of_a_transaction() {
    let mut store = Store::default();
    let mut check = |request: PbTxnOpRequest, permitted: bool| {
        let operation = PbTxnRequestOp {
            request: Some(request),
        };
        let nested = PbTxnRequest {
            failure: vec![operation.clone()],
            ..PbTxnRequest::default()
        };
        let nested = PbTxnRequestOp {
            request: Some(PbTxnOpRequest::RequestTxn(nested)),
        };
        for (success, failure) in [
            (vec![operation.clone()], vec![]),
            (vec![], vec![operation]),
            (vec![nested], vec![]),
        ] {
            let request = PbTxnRequest {
                success,
                failure,
                ..PbTxnRequest::default()
            };
            let result = reader().check_txn(&request, &mut store);
            assert_eq!(result.is_ok(), permitted, "{request:?}");
        }
    };

    check(PbTxnOpRequest::RequestRange(range(b"r/a", b"")), true);
    check(PbTxnOpRequest::RequestRange(range(b"s", b"")), false);
    check(PbTxnOpRequest::RequestPut(put(b"r/a")), false);
    check(PbTxnOpRequest::RequestDeleteRange(delete(b"r/a")), false);

    let compare = |key: &[u8]| PbTxnRequest {
        compare: vec![PbCompare {
            key: key.into(),
            ..PbCompare::default()
        }],
        ..PbTxnRequest::default()
    };
    assert!(reader().check_txn(&compare(b"r/a"), &mut store).is_ok());
    assert!(reader().check_txn(&compare(b"s"), &mut store).is_err());
    let empty = PbTxnRequest::default();
    let nobody = Permission::Nothing(Refusal::UserNameEmpty);
    assert_eq!(
        nobody.check_txn(&empty, &mut store),
        Err(Refusal::UserNameEmpty)
    );
}

#[test]
fn shows_what_was_before_only_to_readers() {
    let mut store = Store::default();
    let writer = Permission::ranges([], [KeyRange::prefix("w/")]);
    let with_previous = PbPutRequest {
        prev_kv: true,
        ..put(b"w/a")
    };
    assert!(writer.check_put(&put(b"w/a"), &mut store).is_ok());
    assert!(writer.check_put(&with_previous, &mut store).is_err());
    let with_previous = PbDeleteRequest {
        prev_kv: true,
        ..delete(b"w/a")
    };
    assert!(writer.check_delete(&delete(b"w/a")).is_ok());
    assert!(writer.check_delete(&with_previous).is_err());
}

#[test]
fn gives_leases_only_to_those_who_may_write_all_their_keys() {
    let mut store = Store::default();
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    let now = std::time::Instant::now();
    store.lease_grant(7, 60, now).unwrap();
    let foreign = PbPutRequest {
        lease: 7,
        ..put(b"x/a")
    };
    store.put(foreign).unwrap();
    let writer = Permission::ranges([], [KeyRange::prefix("w/")]);
    let under_lease = PbPutRequest {
        lease: 7,
        ..put(b"w/a")
    };

    assert!(Permission::Everything.check_lease(7, &mut store).is_ok());
    assert!(writer.check_lease(7, &mut store).is_err());
    assert!(writer.check_lease_keys(7, &mut store).is_err());
    assert!(writer.check_put(&under_lease, &mut store).is_err());
    assert!(
        writer.check_lease(8, &mut store).is_ok(),
        "there is no such"
    );
    assert!(reader().check_lease(8, &mut store).is_err());
    assert!(reader().check_writer().is_err());
    assert!(reader().check_everything().is_err());
    assert!(reader().check_known().is_ok());
    assert!(Permission::ranges([], []).check_known().is_ok());
    let nobody = Permission::Nothing(Refusal::PermissionDenied);
    assert!(nobody.check_known().is_err());
}

/// Every key of at most three bytes of this alphabet.
const ALPHABET: [u8; 4] = [0, b'/', b'a', u8::MAX];

fn universe() -> Vec<Vec<u8>> {
    let mut keys = vec![Vec::new()];
    for length in 0..3 {
        let longer = keys.iter().filter(|it| it.len() == length);
        let longer: Vec<Vec<u8>> = longer
            .flat_map(|key| ALPHABET.map(|byte| [key.as_slice(), &[byte]].concat()))
            .collect();
        keys.extend(longer);
    }
    keys
}

fn some_range() -> impl Strategy<Value = KeyRange> {
    // Bounds of at most two bytes: the keys of three lie close enough around each of them.
    let bound = || prop::collection::vec(prop::sample::select(&ALPHABET[..]), 0..=2);
    (bound(), bound()).prop_map(|(key, end)| KeyRange::of_request(&key, &end))
}

proptest! {
    #[test]
    fn permits_a_range_if_each_of_its_keys_is_permitted(
        permitted in prop::collection::vec(some_range(), 0..4),
        wanted in some_range(),
    ) {
        // An empty range has no keys to judge by.
        prop_assume!(!wanted.is_empty() && permitted.iter().all(|it| !it.is_empty()));
        let keys = universe();
        let mut wanted_keys = keys.iter().filter(|it| wanted.contains(it));
        let naive = wanted_keys.all(|key| permitted.iter().any(|it| it.contains(key)));

        let permission = reading(permitted);

        prop_assert_eq!(permission.check_read(&wanted).is_ok(), naive);
        prop_assert!(permission.check_write(&wanted).is_err());
    }
}

fn reader() -> Permission {
    reading([KeyRange::prefix("r/")])
}

fn reading(ranges: impl IntoIterator<Item = KeyRange>) -> Permission {
    Permission::ranges(ranges, [])
}

#[track_caller]
fn check_reads(permission: &Permission, key: &[u8], range_end: &[u8], permitted: bool) {
    let result = permission.check_range(&range(key, range_end));
    assert_eq!(result.is_ok(), permitted, "{key:?} {range_end:?}");
}

fn range(key: &[u8], range_end: &[u8]) -> PbRangeRequest {
    PbRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..PbRangeRequest::default()
    }
}

fn put(key: &[u8]) -> PbPutRequest {
    PbPutRequest {
        key: key.into(),
        ..PbPutRequest::default()
    }
}

fn delete(key: &[u8]) -> PbDeleteRequest {
    PbDeleteRequest {
        key: key.into(),
        ..PbDeleteRequest::default()
    }
}
