//! Any commands: as the model, and as the obvious way to do it.

use etcd_client::proto::{PbEvent, PbKeyValue, PbTxnOpRequest};
use proptest::prelude::*;

use super::super::model::Model;
use super::super::*;
use super::{Command, command, operation, put_request, range};

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
