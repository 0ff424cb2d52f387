use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const ORIGIN: &[u8] = b"\x01z\x00";

/// A name of one-letter labels below the origin: `ab` is `a.b.z.`.
fn owner(letters: &str) -> Vec<u8> {
    let labels = letters.bytes().flat_map(|it| [1, it]);
    labels.chain(ORIGIN.iter().copied()).collect()
}

#[test]
fn finds_names_without_regard_to_case_and_keeps_their_case() {
    let mut builder = Builder::new(ORIGIN);
    builder.push(1, ORIGIN, 6, 60, Value::Data(b"soa"));
    builder.push(2, &owner("A"), 1, 300, Value::Data(b"1234"));
    builder.push(3, &owner("a"), 1, 200, Value::Data(b"5678"));
    builder.push(4, &owner("a"), 1, 200, Value::Data(b"1234"));
    builder.push(5, &owner("a"), 1, 200, Value::Plan(7));
    builder.push(6, &owner("a"), 16, 9, Value::Plan(8));
    let store = builder.finish().unwrap();

    let node = store.find(&owner("a")).unwrap();
    assert_eq!(node.owner(), owner("A"));
    let sets: Vec<_> = node
        .sets()
        .map(|it| (it.kind, it.ttl, it.data().collect(), it.plans().collect()))
        .collect::<Vec<(u16, u32, Vec<&[u8]>, Vec<usize>)>>();
    let expected = vec![
        (1, 200, vec![&b"1234"[..], b"5678"], vec![7]),
        (16, 9, vec![], vec![8]),
    ];
    assert_eq!(sets, expected);
    assert_eq!(store.find(&owner("b")).map(|it| it.children()), None);
    assert_eq!(store.len(), 2);
}

#[test]
fn has_the_names_between_others_and_the_origin() {
    let mut builder = Builder::new(ORIGIN);
    for letters in ["", "abc", "xbc", "c"] {
        builder.push(1, &owner(letters), 1, 60, Value::Data(b"1234"));
    }
    let store = builder.finish().unwrap();

    let empty = store.find(&owner("bc")).unwrap();
    assert_eq!((empty.children(), empty.sets().count()), (2, 0));
    assert_eq!(store.find(&owner("c")).unwrap().children(), 1);
    assert_eq!(store.find(ORIGIN).unwrap().children(), 1);
    assert_eq!(store.len(), 5);
}

#[test]
fn refuses_what_does_not_go_together() {
    let check = |records: &[(u16, Value<'_>)], expected: &str| {
        let mut builder = Builder::new(ORIGIN);
        for (line, (kind, value)) in (1..).zip(records) {
            builder.push(line, &owner("a"), *kind, 60, *value);
        }
        let mistake = builder.finish().unwrap_err();
        assert_eq!(format!("{}: {mistake}", mistake.line), expected);
    };
    let (one, two) = (Value::Data(b"\x00"), Value::Data(b"\x01b\x00"));
    let beside = "2: a.z. has a CNAME and can have nothing beside it";
    check(&[(5, one), (1, one)], beside);
    check(&[(5, one), (5, two)], beside);
    check(&[(5, one), (5, Value::Plan(1))], beside);
    check(&[(6, one), (6, two)], "2: the zone has a second SOA");
    check(&[(39, one), (39, two)], "2: a.z. has a second DNAME");
}

proptest! {
    /// Whatever changes: the store is what a store is that was built of what is left.
    #[test]
    fn is_the_same_changed_as_made_anew(
        steps in prop::collection::vec(prop::collection::vec(("[ab]{0,4}", any_sets()), 1..4), 0..12),
    ) {
        let origin = new_set(6, 1, b"soa");
        let mut model = BTreeMap::from([(String::new(), vec![origin.clone()])]);
        let mut store = build(&model);
        for step in steps {
            let changes: Vec<_> = step
                .into_iter()
                .map(|(name, mut sets)| {
                    if name.is_empty() {
                        sets.push(origin.clone());
                    }
                    (name, sets)
                })
                .collect();
            let encoded: Vec<_> = changes.iter().map(|(name, sets)| (owner(name), sets.clone())).collect();
            store = store.with(ORIGIN, &encoded).unwrap();
            model.extend(changes);
            model.retain(|_, sets| !sets.is_empty());
        }

        let expected = build(&model);
        prop_assert_eq!(store.len(), expected.len());
        prop_assert_eq!(described(&store), described(&expected));
        for node in expected.nodes() {
            let found = store.find(&node.owner().to_ascii_lowercase());
            prop_assert_eq!(found.map(|it| it.children()), Some(node.children()));
        }
    }
}

#[test]
fn spreads_over_more_shards_as_it_grows() {
    let mut store = build(&BTreeMap::new());
    for hundred in 0..30_u32 {
        let changes: Vec<_> = (0..100)
            .map(|number| {
                let label = format!("{:06}", 100 * hundred + number);
                let name = [&[6][..], label.as_bytes(), ORIGIN].concat();
                (name, vec![new_set(1, 60, b"1234")])
            })
            .collect();
        store = store.with(ORIGIN, &changes).unwrap();
    }

    // The origin is the one name more.
    assert_eq!((store.len(), store.nodes().count()), (3_001, 3_001));
    assert!(1 < store.shards.len());
    let found = |number: u32| {
        let name = [&[6][..], format!("{number:06}").as_bytes(), ORIGIN].concat();
        store.find(&name).is_some()
    };
    assert!((0..3_000).all(found) && !found(3_000));
}

fn build(names: &BTreeMap<String, Vec<NewSet>>) -> Store {
    let mut builder = Builder::new(ORIGIN);
    for (name, sets) in names {
        for set in sets {
            for data in &set.data {
                builder.push(1, &owner(name), set.kind, set.ttl, Value::Data(data));
            }
            for plan in &set.plans {
                builder.push(1, &owner(name), set.kind, set.ttl, Value::Plan(*plan));
            }
        }
    }
    builder.finish().unwrap()
}

fn described(store: &Store) -> BTreeSet<String> {
    let nodes = store.nodes();
    nodes.map(|it| format!("{it:?}")).collect()
}

fn any_sets() -> impl Strategy<Value = Vec<NewSet>> {
    let set = (1..4_u16, any::<u8>(), any::<bool>()).prop_map(|(kind, number, is_plan)| {
        let mut set = new_set(kind, u32::from(number), &[number]);
        if is_plan {
            set.plans.push(u32::from(number));
        }
        set
    });
    prop::collection::btree_map(1..4_u16, set, 0..3).prop_map(|sets| {
        let numbered = sets.into_iter().map(|(kind, set)| NewSet { kind, ..set });
        numbered.collect()
    })
}

fn new_set(kind: u16, ttl: u32, data: &[u8]) -> NewSet {
    NewSet {
        kind,
        ttl,
        data: vec![data.to_vec()],
        plans: Vec::new(),
    }
}
