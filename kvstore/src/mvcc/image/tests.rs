use std::collections::{BTreeMap, BTreeSet};

use etcd_client::proto::{PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest};
use proptest::prelude::*;

use super::super::tests::{Command, command, delete, now, operation, put, range};
use super::*;
use crate::mvcc::{EventFilter, KeyRange};

type Row = (i64, Arc<[u8]>);

/// What a file would hold: rows by revision and key, with their place in the revision.
#[derive(Debug, Default)]
struct Rows {
    image: Image,
    leases: BTreeMap<i64, i64>,
    versions: BTreeMap<Row, (usize, Arc<Entry>)>,
}

proptest! {
    /// What is written down of a store is what the store holds, after every command.
    #[test]
    fn begins_again_where_it_stopped(commands in prop::collection::vec(leased_command(), 1..60)) {
        let start = now();
        let mut store = Store::default();
        store.record_changes();
        let mut rows = Rows {
            image: store.image(),
            ..Rows::default()
        };
        for command in commands {
            run(&mut store, command, start);
            rows.apply(store.take_changes());

            let image = rows.image();
            prop_assert_eq!(&image, &store.image());
            let again = Store::from_image(image, start).unwrap();
            prop_assert_eq!(again.held_bytes(), store.held_bytes());
            prop_assert_eq!(&again.space, &store.space);
            prop_assert_eq!(shown(&again), shown(&store));
        }
    }

    #[test]
    fn becomes_a_list_of_changes(commands in prop::collection::vec(leased_command(), 1..60)) {
        let mut store = Store::default();
        for command in commands {
            run(&mut store, command, now());
        }
        let mut rows = Rows::default();
        rows.apply(Store::changes_to(store.image()).collect());
        rows.image.revision = store.revision();

        prop_assert_eq!(rows.image(), store.image());
    }
}

#[test]
fn refuses_what_contradicts_itself() {
    let mut store = Store::default();
    store.lease_grant(7, 10, now()).unwrap();
    let leased = PbPutRequest {
        lease: 7,
        ..put("a", "")
    };
    store.put(leased).unwrap();
    store.put(put("b", "")).unwrap();
    let good = store.image();
    let check = |change: &dyn Fn(&mut Image), expected: Contradiction| {
        let mut image = good.clone();
        change(&mut image);
        assert_eq!(Store::from_image(image, now()).unwrap_err(), expected);
    };

    assert!(Store::from_image(good.clone(), now()).is_ok());
    check(&|it| it.entries.reverse(), Contradiction::Order(2));
    check(&|it| it.revision = 2, Contradiction::Order(3));
    check(&|it| it.leases.clear(), Contradiction::Lease(7));
    check(&|it| it.leases[0].1 = 0, Contradiction::LeaseTime(7));
    let revisions = Contradiction::Revisions {
        revision: 3,
        compacted_revision: 4,
    };
    check(&|it| it.compacted_revision = 4, revisions);
}

#[test]
fn gives_leases_their_whole_time_again() {
    let start = now();
    let mut store = Store::default();
    store.lease_grant(7, 10, start).unwrap();
    let later = start + std::time::Duration::from_secs(9);

    let again = Store::from_image(store.image(), later).unwrap();

    assert_eq!(store.lease(7, later).unwrap().remaining_seconds, 1);
    assert_eq!(again.lease(7, later).unwrap().remaining_seconds, 10);
}

impl Rows {
    fn apply(&mut self, changes: Vec<Change>) {
        let (mut revision, mut place) = (0, 0);
        for change in changes {
            match change {
                Change::Alarms(alarms) => self.image.alarms = alarms,
                Change::AuthState(state) => self.image.auth_state = Some(state),
                Change::Compacted(revision) => self.image.compacted_revision = revision,
                Change::Forgotten(it) => {
                    let row = (it.mod_revision, Arc::clone(&it.key));
                    assert!(
                        self.versions.remove(&row).is_some(),
                        "forgotten twice: {it:?}"
                    );
                }
                Change::LeaseEnded(id) => assert!(self.leases.remove(&id).is_some()),
                Change::LeaseGranted { id, ttl_seconds } => {
                    self.leases.insert(id, ttl_seconds);
                }
                Change::Written(it) => {
                    place = if revision == it.mod_revision {
                        place + 1
                    } else {
                        0
                    };
                    revision = it.mod_revision;
                    self.image.revision = revision;
                    let row = (it.mod_revision, Arc::clone(&it.key));
                    assert!(self.versions.insert(row, (place, it)).is_none());
                }
            }
        }
    }

    fn image(&self) -> Image {
        let mut entries: Vec<_> = self.versions.values().cloned().collect();
        // What history has forgotten is in the order of keys.
        let is_history = |it: &Entry| self.image.compacted_revision <= it.mod_revision;
        entries.sort_by_key(|(place, it)| {
            let place = if is_history(it) { *place } else { 0 };
            (it.mod_revision, place, Arc::clone(&it.key))
        });
        Image {
            entries: entries.into_iter().map(|(_, it)| it).collect(),
            leases: self.leases.iter().map(|(id, ttl)| (*id, *ttl)).collect(),
            ..self.image.clone()
        }
    }
}

/// A command, and a lease for its first put (0: none).
#[derive(Clone, Debug)]
enum Leased {
    Command(Command, i64),
    Revoke(i64),
}

fn leased_command() -> impl Strategy<Value = Leased> {
    prop_oneof![
        8 => (command(), 0..4_i64).prop_map(|(command, lease)| Leased::Command(command, lease)),
        1 => (1..4_i64).prop_map(Leased::Revoke),
    ]
}

fn run(store: &mut Store, command: Leased, start: Instant) {
    match command {
        Leased::Revoke(lease) => {
            let _ = store.lease_revoke(lease);
        }
        Leased::Command(command, lease) => {
            if lease != 0 {
                let _ = store.lease_grant(lease, 100, start);
            }
            write(store, command, lease);
        }
    }
}

fn write(store: &mut Store, command: Command, lease: i64) {
    match command {
        Command::Compact(back) => {
            let _ = store.compact(store.revision() - back);
        }
        Command::Delete(request) => {
            store.delete_range(&request).unwrap();
        }
        Command::Put(request) => {
            store.put(PbPutRequest { lease, ..request }).unwrap();
        }
        Command::PutMany(requests) => {
            let doomed = PbTxnOpRequest::RequestDeleteRange(delete("x", "z"));
            let puts = requests.into_iter().map(PbTxnOpRequest::RequestPut);
            let success = puts.rev().chain([doomed]).map(operation).collect();
            let request = PbTxnRequest {
                success,
                ..PbTxnRequest::default()
            };
            store.txn(request).unwrap();
        }
    }
}

/// Everything that clients can see, at every revision.
fn shown(store: &Store) -> String {
    let filter = EventFilter {
        range: KeyRange::all(),
        deletes: true,
        prev_kv: true,
        puts: true,
    };
    let from = store.compacted_revision().max(1);
    let events = store.events(&filter, from, store.revision());
    let reads: Vec<_> = (from..=store.revision())
        .map(|revision| {
            store.range(&PbRangeRequest {
                revision,
                ..range("\0", "\0")
            })
        })
        .collect();
    let leases: Vec<_> = (1..4)
        .map(|id| {
            store
                .lease_keys(id)
                .map(<[u8]>::to_vec)
                .collect::<BTreeSet<_>>()
        })
        .collect();
    format!("{events:?} {reads:?} {leases:?}")
}
