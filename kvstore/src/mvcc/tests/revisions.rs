//! What a revision is, and what is refused.

use super::super::*;
use super::{delete, put, range};

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
