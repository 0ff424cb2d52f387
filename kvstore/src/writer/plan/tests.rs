use proptest::prelude::*;

use super::*;

#[test]
fn writes_what_differs_then_deletes_then_announces() {
    let mut plan = plan(&["synced/"]);
    plan.handle_found(BTreeMap::from([("old".into(), 7)]), &BTreeSet::new());
    assert_eq!(
        plan.next(),
        Step::Idle,
        "nothing is known to be unwanted yet"
    );

    plan.set(table("a=1 synced/x=1 z=1"));

    assert_eq!(drive(&mut plan), "grant 1 | a z -old synced/x");
    assert_eq!(plan.next(), Step::Idle);
}

#[test]
fn deletes_nothing_before_everything_desired_is_written() {
    let mut plan = plan(&[]);
    plan.set(
        (0..BATCH_OPERATIONS_MAX)
            .map(|it| (format!("key{it:03}"), Vec::new()))
            .collect(),
    );
    plan.handle_found(BTreeMap::from([("gone".into(), 0)]), &BTreeSet::new());
    plan.handle_granted(1);
    plan.handle_granted(2);
    plan.keys_per_lease = 1_000;

    let Step::Write(first) = plan.next() else {
        panic!()
    };
    assert!(first.iter().all(|it| matches!(it, Operation::Put { .. })));
    plan.handle_written(first);

    assert_eq!(drive(&mut plan), "-gone");
}

#[test]
fn takes_another_lease_when_one_is_full() {
    let mut plan = plan(&[]);
    plan.set(table("a=1 b=1 c=1 d=1"));

    assert_eq!(drive(&mut plan), "grant 1 | a b c | grant 2 | d");

    plan.set(table("b=1 c=1 d=1 e=1"));
    assert_eq!(drive(&mut plan), "e -a", "lease 2 still had room");
    plan.set(table("b=2 c=1 d=1 e=1 f=1 g=1"));
    assert_eq!(drive(&mut plan), "b f g", "and lease 1 got some");
    assert_eq!(plan.leases, BTreeMap::from([(1, 3), (2, 3)]));
}

#[test]
fn rewrites_the_keys_of_a_lost_lease_under_a_new_one() {
    let mut plan = plan(&[]);
    plan.set(table("a=1 b=1 c=1 d=1"));
    drive(&mut plan);

    plan.handle_found(BTreeMap::from([("d".into(), 2)]), &BTreeSet::from([2]));

    assert_eq!(drive(&mut plan), "a b | grant 3 | c");
}

#[test]
fn puts_again_what_others_changed_when_it_is_time() {
    let mut plan = plan(&[]);
    plan.handle_put("a", b"before anything is known");
    plan.set(table("a=1"));
    drive(&mut plan);

    plan.handle_put("a", b"theirs");
    assert_eq!(plan.next(), Step::Idle, "not at once");
    plan.reassert();
    assert_eq!(drive(&mut plan), "a");

    plan.handle_put("b", b"theirs");
    plan.reassert();
    assert_eq!(drive(&mut plan), "-b");

    plan.handle_put("a", b"theirs");
    plan.handle_put("a", b"1");
    plan.reassert();
    assert_eq!(plan.next(), Step::Idle, "somebody put it right");
}

#[test]
fn keeps_what_a_reconnect_finds_in_place() {
    let mut plan = plan(&[]);
    plan.set(table("a=1 b=1"));
    drive(&mut plan);
    plan.set(table("a=2 b=1"));

    plan.handle_found(
        BTreeMap::from([("a".into(), 1), ("b".into(), 1)]),
        &BTreeSet::from([1]),
    );

    assert_eq!(drive(&mut plan), "a");
}

#[test]
fn takes_over_keys_that_another_lease_holds() {
    let mut plan = plan(&[]);
    plan.set(table("a=1"));

    plan.handle_found(BTreeMap::from([("a".into(), 99)]), &BTreeSet::new());

    assert_eq!(drive(&mut plan), "grant 1 | a");
}

#[test]
fn restores_what_somebody_deletes_and_forgets_what_it_deleted_itself() {
    let mut plan = plan(&[]);
    plan.set(table("a=1 b=1"));
    drive(&mut plan);

    plan.handle_deleted("a");
    assert_eq!(drive(&mut plan), "a");

    plan.set(table("a=1"));
    assert_eq!(drive(&mut plan), "-b");
    plan.handle_deleted("b");
    assert_eq!(plan.next(), Step::Idle);
}

#[test]
fn leaves_out_what_no_store_would_take() {
    let mut plan = plan(&[]);
    plan.set(BTreeMap::from([
        ("a".into(), vec![0; RECORD_BYTES_MAX]),
        ("b".into(), vec![1]),
    ]));
    plan.apply(vec![Change::Put("c".into(), vec![0; RECORD_BYTES_MAX])]);

    assert_eq!(drive(&mut plan), "grant 1 | b");
}

proptest! {
    /// Whatever is set, lost and found in between: at rest, the store holds the desired table, no
    /// lease has more keys than it may, and every key has a living lease.
    #[test]
    fn ends_with_the_desired_table(events in prop::collection::vec(event(), 1..40)) {
        let mut plan = plan(&["k3"]);
        // What a former life left behind, under a lease that lives on for a while.
        let mut store = FakeStore {
            keys: (0..4).map(|it| (format!("k{it}"), (vec![9], -1))).collect(),
            ..FakeStore::default()
        };
        store.reconnect(&mut plan);
        plan.set(BTreeMap::new());
        let mut desired = BTreeMap::new();
        for event in events {
            match event {
                Event::Set(table) => {
                    plan.set(table.clone());
                    desired = table;
                }
                Event::Apply(key, value) => {
                    let change = match value {
                        Some(value) => {
                            desired.insert(key.clone(), value.clone());
                            Change::Put(key, value)
                        }
                        None => {
                            desired.remove(&key);
                            Change::Delete(key)
                        }
                    };
                    plan.apply(vec![change]);
                }
                Event::Steps(count) => (0..count).for_each(|_| store.step(&mut plan)),
                Event::LeaseLost => store.lose_lease(&mut plan),
                Event::Reconnect => store.reconnect(&mut plan),
            }
        }
        while plan.next() != Step::Idle {
            store.step(&mut plan);
        }

        let stored: BTreeMap<_, _> = store.keys.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        prop_assert_eq!(stored, desired);
        for lease in &store.leases {
            let keys = store.keys.values().filter(|(_, it)| it == lease).count();
            prop_assert!(keys <= KEYS_PER_LEASE);
            prop_assert_eq!(keys, plan.leases[lease]);
        }
        prop_assert!(store.keys.values().all(|(_, lease)| store.leases.contains(lease)));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Apply(String, Option<Vec<u8>>),
    LeaseLost,
    Reconnect,
    Set(BTreeMap<String, Vec<u8>>),
    Steps(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let key = || (0..8_u8).prop_map(|it| format!("k{it}"));
    let value = || prop::collection::vec(0..3_u8, 0..2);
    prop_oneof![
        (key(), prop::option::of(value())).prop_map(|(key, value)| Event::Apply(key, value)),
        prop::collection::btree_map(key(), value(), 0..8).prop_map(Event::Set),
        (1..3_usize).prop_map(Event::Steps),
        Just(Event::LeaseLost),
        Just(Event::Reconnect),
    ]
}

/// A store that takes every write.
#[derive(Default)]
struct FakeStore {
    keys: BTreeMap<String, (Vec<u8>, i64)>,
    leases: BTreeSet<i64>,
    granted: i64,
}

impl FakeStore {
    fn step(&mut self, plan: &mut Plan) {
        match plan.next() {
            Step::Idle => (),
            Step::Grant => {
                self.granted += 1;
                self.leases.insert(self.granted);
                plan.handle_granted(self.granted);
            }
            Step::Write(operations) => {
                for operation in &operations {
                    match operation.clone() {
                        Operation::Delete { key } => drop(self.keys.remove(&key)),
                        Operation::Put { key, value, lease } => {
                            assert!(self.leases.contains(&lease));
                            self.keys.insert(key, (value, lease));
                        }
                    }
                }
                plan.handle_written(operations);
            }
        }
    }

    fn lose_lease(&mut self, plan: &mut Plan) {
        let Some(lost) = self.leases.pop_first() else {
            return;
        };
        self.keys.retain(|_, (_, lease)| *lease != lost);
        self.reconnect(plan);
    }

    fn reconnect(&self, plan: &mut Plan) {
        let found = self
            .keys
            .iter()
            .map(|(key, (_, lease))| (key.clone(), *lease))
            .collect();
        plan.handle_found(found, &self.leases);
    }
}

const KEYS_PER_LEASE: usize = 3;

fn plan(last_prefixes: &[&str]) -> Plan {
    Plan::new(
        last_prefixes.iter().map(|it| (*it).to_owned()).collect(),
        KEYS_PER_LEASE,
    )
}

fn table(text: &str) -> BTreeMap<String, Vec<u8>> {
    text.split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// Carries out every step, and describes them: transactions are separated by `|`.
fn drive(plan: &mut Plan) -> String {
    let mut steps = Vec::new();
    loop {
        match plan.next() {
            Step::Idle => return steps.join(" | "),
            Step::Grant => {
                let lease = plan.leases.keys().max().map_or(1, |it| it + 1);
                plan.handle_granted(lease);
                steps.push(format!("grant {lease}"));
            }
            Step::Write(operations) => {
                let keys = operations.iter().map(|it| match it {
                    Operation::Delete { key } => format!("-{key}"),
                    Operation::Put { key, .. } => key.clone(),
                });
                steps.push(keys.collect::<Vec<_>>().join(" "));
                plan.handle_written(operations);
            }
        }
    }
}
