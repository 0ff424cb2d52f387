//! Leases and their keys.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::{delete, now, put, range};

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
    assert_eq!(view.remaining_seconds, 1);
    let keys: BTreeSet<&[u8]> = store.lease_keys(7).collect();
    assert_eq!(keys, BTreeSet::from([&b"a"[..], b"b"]));

    assert_eq!(store.expire(start + Duration::from_secs(15)), 1);
    assert_eq!(store.revision(), before + 1);
    assert_eq!(store.range(&range("a", "\0")).unwrap().kvs.len(), 1);
    assert_eq!(store.lease_keep_alive(7, start), None);
}

#[derive(Clone, Debug)]
enum Step {
    /// Whether all keys of the lease start with the prefix.
    Ask(i64, &'static str),
    Delete(PbDeleteRequest),
    Put(PbPutRequest),
    /// And grants it again, without keys.
    Revoke(i64),
}

const LEASES: [i64; 2] = [7, 8];

fn step() -> impl Strategy<Value = Step> {
    let lease = || prop::sample::select(&LEASES[..]);
    let any_lease = prop::sample::select(&[0, LEASES[0], LEASES[1]][..]);
    let put = ("[ab][xyz]?", any_lease).prop_map(|(key, lease)| PbPutRequest {
        lease,
        ..put(&key, "")
    });
    prop_oneof![
        3 => (lease(), prop::sample::select(&["", "a", "b", "ax"][..])).prop_map(|(it, set)| Step::Ask(it, set)),
        2 => ("[ab][xyz]?", "b?").prop_map(|(key, end)| Step::Delete(delete(&key, &end))),
        6 => put.prop_map(Step::Put),
        1 => lease().prop_map(Step::Revoke),
    ]
}

proptest! {
    /// Whatever happens, a lease has the keys that name it, and what it remembers of them is so.
    #[test]
    fn has_exactly_the_keys_that_name_it(steps in prop::collection::vec(step(), 1..80)) {
        let mut store = Store::default();
        for id in LEASES {
            store.lease_grant(id, 60, now()).unwrap();
        }
        for step in steps {
            match step {
                Step::Ask(id, prefix) => {
                    let within = store.lease_keys(id).all(|it| it.starts_with(prefix.as_bytes()));
                    let set = Arc::new(KeySet::new([KeyRange::prefix(prefix)]));
                    prop_assert_eq!(store.lease_is_within(id, &set), within);
                }
                Step::Delete(request) => drop(store.delete_range(&request).unwrap()),
                Step::Put(request) => drop(store.put(request).unwrap()),
                Step::Revoke(id) => {
                    store.lease_revoke(id).unwrap();
                    store.lease_grant(id, 60, now()).unwrap();
                }
            }
            for id in LEASES {
                let everything = store.range(&range("\0", "\0")).unwrap().kvs;
                let named = everything.iter().filter(|it| it.lease == id).map(|it| &*it.key);
                let count = store.lease_keys(id).count();
                let keys: BTreeSet<&[u8]> = store.lease_keys(id).collect();
                prop_assert_eq!(keys.len(), count);
                prop_assert_eq!(keys, named.collect::<BTreeSet<_>>());
            }
        }
    }
}
