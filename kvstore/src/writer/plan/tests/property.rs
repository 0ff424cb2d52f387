use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever is set, lost and found in between, and in whatever order transactions land: at rest,
    /// the store holds the desired table, no lease has more keys than it may, and every key has a
    /// living lease.
    #[test]
    fn ends_with_the_desired_table(events in prop::collection::vec(event(), 1..60)) {
        let mut plan = plan(&["k3"]);
        // What a former life left behind, under a lease that lives on for a while.
        let mut store = FakeStore {
            keys: (0..4).map(|it| (format!("k{it}"), (vec![9], -1))).collect(),
            ..FakeStore::default()
        };
        store.reconnect(&mut plan);
        plan.set("", &[String::new()], BTreeMap::new());
        let mut desired = BTreeMap::new();
        for event in events {
            match event {
                Event::Set(table) => {
                    plan.set("", &[String::new()], shared(&table));
                    desired = table;
                }
                Event::Apply(key, value) => {
                    let change = match value {
                        Some(value) => {
                            desired.insert(key.clone(), value.clone());
                            Change::Put(key.into(), value.into())
                        }
                        None => {
                            desired.remove(&key);
                            Change::Delete(key.into())
                        }
                    };
                    plan.apply("", vec![change]);
                }
                Event::Start => drop(store.start(&mut plan)),
                Event::Land(which) => store.land(&mut plan, which),
                Event::LeaseLost => store.lose_lease(&mut plan),
                Event::Reconnect => store.reconnect(&mut plan),
            }
        }
        while store.start(&mut plan) || !store.flying.is_empty() {
            store.land(&mut plan, 0);
        }

        let stored: BTreeMap<_, _> = store.keys.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        prop_assert_eq!(stored, desired);
        for lease in &store.leases {
            let keys = store.keys.values().filter(|(_, it)| it == lease).count();
            prop_assert!(keys <= KEYS_PER_LEASE);
            prop_assert_eq!(keys, plan.leases.counts()[lease]);
        }
        prop_assert!(store.keys.values().all(|(_, lease)| store.leases.contains(lease)));
        prop_assert_eq!(plan.settled_generation(), plan.generation);
    }
}

#[derive(Clone, Debug)]
enum Event {
    Apply(String, Option<Vec<u8>>),
    Land(usize),
    LeaseLost,
    Reconnect,
    Set(BTreeMap<String, Vec<u8>>),
    Start,
}

fn event() -> impl Strategy<Value = Event> {
    let key = || (0..8_u8).prop_map(|it| format!("k{it}"));
    let value = || prop::collection::vec(0..3_u8, 0..2);
    prop_oneof![
        3 => (key(), prop::option::of(value())).prop_map(|(key, value)| Event::Apply(key, value)),
        1 => prop::collection::btree_map(key(), value(), 0..8).prop_map(Event::Set),
        3 => Just(Event::Start),
        2 => (0..3_usize).prop_map(Event::Land),
        1 => Just(Event::LeaseLost),
        1 => Just(Event::Reconnect),
    ]
}

/// A store that takes every write.
#[derive(Default)]
struct FakeStore {
    keys: BTreeMap<String, (Vec<u8>, i64)>,
    leases: BTreeSet<i64>,
    granted: i64,
    flying: Vec<(u64, Vec<Operation>)>,
}

impl FakeStore {
    /// Grants, or lets one transaction start; whether it did.
    fn start(&mut self, plan: &mut Plan) -> bool {
        match plan.next_step() {
            Step::Idle => return false,
            Step::Grant => {
                self.granted += 1;
                self.leases.insert(self.granted);
                plan.handle_granted(self.granted);
            }
            Step::Write { number, operations } => self.flying.push((number, operations)),
        }
        true
    }

    fn land(&mut self, plan: &mut Plan, which: usize) {
        if self.flying.is_empty() {
            return;
        }
        let (number, operations) = self.flying.remove(which % self.flying.len());
        for operation in operations {
            match operation {
                Operation::Delete { key } => drop(self.keys.remove(&*key)),
                Operation::Put { key, value, lease } => {
                    assert!(self.leases.contains(&lease));
                    self.keys.insert(key.to_string(), (value.to_vec(), lease));
                }
            }
        }
        plan.handle_written(number, 0);
    }

    fn lose_lease(&mut self, plan: &mut Plan) {
        let Some(lost) = self.leases.pop_first() else {
            return;
        };
        self.keys.retain(|_, (_, lease)| *lease != lost);
        self.reconnect(plan);
    }

    /// What was on its way is lost.
    fn reconnect(&mut self, plan: &mut Plan) {
        self.flying.clear();
        let keys = self.keys.iter();
        let found = keys.map(|(key, (_, lease))| (key.as_str().into(), *lease));
        plan.handle_found(found.collect(), &self.leases);
    }
}

fn shared(table: &BTreeMap<String, Vec<u8>>) -> BTreeMap<Key, Value> {
    let pairs = table.iter();
    pairs
        .map(|(key, value)| (key.as_str().into(), value.as_slice().into()))
        .collect()
}
