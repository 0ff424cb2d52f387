use proptest::prelude::*;

use super::*;
use crate::store::{Builder, Value};

const ORIGIN: &[u8] = b"\x01z\0";
const KIND_NSEC: u16 = 47;

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 1, 2, 3, 4].map(u32::to_be_bytes).concat();
    [b"\x02ns\x01z\0\x01h\x01z\0", &numbers[..]].concat()
}

/// `z` with SOA and NS; `a` with two addresses, `c` an alias, `d` chooses, `x.y` a text.
fn store() -> Store {
    let mut builder = Builder::new(ORIGIN);
    let mut push = |owner: &[u8], kind, value: Value<'_>| builder.push(1, owner, kind, 60, value);
    push(ORIGIN, kind::SOA, Value::Data(&soa(7)));
    push(ORIGIN, kind::NS, Value::Data(b"\x02ns\x01z\0"));
    push(&name("a"), kind::A, Value::Data(&[1; 4]));
    push(&name("a"), kind::A, Value::Data(&[2; 4]));
    push(&name("c"), kind::CNAME, Value::Data(&name("a")));
    push(&name("d"), kind::A, Value::Plan(0));
    push(&name("x.y"), kind::TXT, Value::Data(b"\x01t"));
    builder.finish().unwrap()
}

/// A name below the origin.
fn name(text: &str) -> Vec<u8> {
    match text {
        "" => ORIGIN.to_vec(),
        _ => crate::wire::name::parse(text, ORIGIN).unwrap(),
    }
}

fn entry(owner: &str, class: u16, kind: u16, data: &[u8]) -> Entry {
    Entry {
        owner: name(owner),
        kind,
        class,
        ttl: if class == CLASS_IN { 60 } else { 0 },
        data: data.to_vec(),
    }
}

fn prerequisite(owner: &str, class: u16, kind: u16, data: &[u8]) -> Entry {
    Entry {
        ttl: 0,
        ..entry(owner, class, kind, data)
    }
}

/// What the zone has after the updates: names, types and data, but for the SOA; and its serial.
fn after(updates: &[Entry]) -> Result<(Vec<String>, u32), u16> {
    let store = store();
    let changes = apply(&store, ORIGIN, &[], updates)?;
    let store = store.with(ORIGIN, &changes).unwrap();
    let mut lines = Vec::new();
    for node in store.nodes() {
        for set in node.sets().filter(|it| it.kind != kind::SOA) {
            let owner = crate::wire::name::Shown(node.owner());
            for data in set.data() {
                lines.push(format!("{owner} {} {}", kind::Shown(set.kind), data[0]));
            }
        }
    }
    lines.sort();
    let soa = store.find(ORIGIN).unwrap().set(kind::SOA).unwrap();
    Ok((lines, soa_serial(soa.data().next().unwrap()).unwrap()))
}

const BEFORE: [&str; 5] = [
    "a.z. A 1",
    "a.z. A 2",
    "c.z. CNAME 1",
    "x.y.z. TXT 1",
    "z. NS 2",
];

#[track_caller]
fn check(updates: &[Entry], removed: &[&str], added: &[&str]) {
    let mut expected: Vec<&str> = BEFORE
        .into_iter()
        .filter(|it| !removed.contains(it))
        .collect();
    expected.extend(added);
    expected.sort_unstable();
    let serial = 7 + u32::from(!removed.is_empty() || !added.is_empty());
    let expected = expected.into_iter().map(str::to_owned).collect();
    assert_eq!(after(updates), Ok((expected, serial)));
}

#[test]
fn adds_and_removes_as_the_standard_says() {
    let a = kind::A;
    check(
        &[entry("n.e.w", CLASS_IN, a, &[3; 4])],
        &[],
        &["n.e.w.z. A 3"],
    );
    check(&[entry("a", CLASS_IN, a, &[1; 4])], &[], &[]);
    check(&[entry("a", CLASS_NONE, a, &[1; 4])], &["a.z. A 1"], &[]);
    check(&[entry("a", CLASS_NONE, a, &[9; 4])], &[], &[]);
    check(
        &[entry("a", CLASS_ANY, a, &[])],
        &["a.z. A 1", "a.z. A 2"],
        &[],
    );
    check(
        &[entry("a", CLASS_ANY, kind::ANY, &[])],
        &["a.z. A 1", "a.z. A 2"],
        &[],
    );
    check(&[entry("y", CLASS_ANY, kind::ANY, &[])], &[], &[]);
    let both = [
        entry("a", CLASS_ANY, a, &[]),
        entry("a", CLASS_IN, a, &[5; 4]),
    ];
    check(&both, &["a.z. A 1", "a.z. A 2"], &["a.z. A 5"]);
    // And back.
    let back = [
        entry("b", CLASS_IN, a, &[5; 4]),
        entry("b", CLASS_ANY, a, &[]),
    ];
    check(&back, &[], &[]);
}

#[test]
fn passes_over_what_does_not_go_together() {
    check(&[entry("a", CLASS_IN, kind::CNAME, &name("c"))], &[], &[]);
    check(&[entry("c", CLASS_IN, kind::A, &[3; 4])], &[], &[]);
    // Another alias takes the place of the one there.
    check(
        &[entry("c", CLASS_IN, kind::CNAME, &name("lng"))],
        &["c.z. CNAME 1"],
        &["c.z. CNAME 3"],
    );
    check(&[entry("", CLASS_ANY, kind::ANY, &[])], &[], &[]);
    check(&[entry("", CLASS_ANY, kind::NS, &[])], &[], &[]);
    check(&[entry("", CLASS_ANY, kind::SOA, &[])], &[], &[]);
    check(&[entry("", CLASS_NONE, kind::NS, &name("ns"))], &[], &[]);
    check(&[entry("", CLASS_NONE, kind::SOA, &soa(7))], &[], &[]);
    let two = [
        entry("", CLASS_IN, kind::NS, &name("new")),
        entry("", CLASS_NONE, kind::NS, &name("ns")),
    ];
    check(&two, &["z. NS 2"], &["z. NS 3"]);
}

#[test]
fn serials_only_go_forward() {
    let serial = |updates: &[Entry]| after(updates).map(|it| it.1);
    assert_eq!(serial(&[entry("", CLASS_IN, kind::SOA, &soa(20))]), Ok(20));
    assert_eq!(serial(&[entry("", CLASS_IN, kind::SOA, &soa(6))]), Ok(7));
    let both = [
        entry("", CLASS_IN, kind::SOA, &soa(20)),
        entry("b", CLASS_IN, kind::A, &[1; 4]),
    ];
    assert_eq!(serial(&both), Ok(20));
    assert_eq!(serial(&[entry("b", CLASS_IN, kind::A, &[1; 4])]), Ok(8));
}

#[test]
fn refuses_what_is_malformed_elsewhere_or_not_theirs() {
    let check = |update: Entry, expected| {
        // All or nothing.
        let updates = [entry("b", CLASS_IN, kind::A, &[1; 4]), update];
        assert_eq!(after(&updates), Err(expected), "{:?}", updates[1]);
    };
    check(
        entry("other.", CLASS_IN, kind::A, &[1; 4]),
        code::NOT_OF_ZONE,
    );
    check(entry("a", 3, kind::A, &[1; 4]), code::FORMAT_ERROR);
    check(entry("a", CLASS_IN, kind::ANY, &[1; 4]), code::FORMAT_ERROR);
    check(
        entry("a", CLASS_IN, kind::AXFR, &[1; 4]),
        code::FORMAT_ERROR,
    );
    check(entry("a", CLASS_ANY, kind::A, &[1; 4]), code::FORMAT_ERROR);
    check(entry("a", CLASS_NONE, kind::ANY, &[]), code::FORMAT_ERROR);
    check(
        Entry {
            ttl: 1,
            ..entry("a", CLASS_NONE, kind::A, &[1; 4])
        },
        code::FORMAT_ERROR,
    );
    check(
        Entry {
            ttl: 1,
            ..entry("a", CLASS_ANY, kind::A, &[])
        },
        code::FORMAT_ERROR,
    );
    check(entry("d", CLASS_IN, kind::A, &[1; 4]), code::REFUSED);
    check(entry("d", CLASS_ANY, kind::ANY, &[]), code::REFUSED);
    check(entry("a", CLASS_IN, KIND_NSEC, &[1; 4]), code::REFUSED);
    check(entry("a", CLASS_IN, kind::SOA, &soa(9)), code::REFUSED);
}

#[test]
fn prerequisites_are_those_of_the_standard() {
    let check = |prerequisites: &[Entry], expected: u16| {
        let outcome = apply(&store(), ORIGIN, prerequisites, &[]);
        assert_eq!(
            outcome.map(|_| code::NO_ERROR).unwrap_or_else(|it| it),
            expected,
            "{prerequisites:?}"
        );
    };
    let one = |owner, class, kind, data: &[u8], expected| {
        check(&[prerequisite(owner, class, kind, data)], expected);
    };
    one("a", CLASS_ANY, kind::ANY, &[], code::NO_ERROR);
    one("n", CLASS_ANY, kind::ANY, &[], code::NO_NAME);
    one("y", CLASS_ANY, kind::ANY, &[], code::NO_NAME);
    one("a", CLASS_ANY, kind::A, &[], code::NO_ERROR);
    one("d", CLASS_ANY, kind::A, &[], code::NO_ERROR);
    one("a", CLASS_ANY, kind::TXT, &[], code::NO_SET);
    one("a", CLASS_NONE, kind::ANY, &[], code::NAME_EXISTS);
    one("y", CLASS_NONE, kind::ANY, &[], code::NO_ERROR);
    one("a", CLASS_NONE, kind::A, &[], code::SET_EXISTS);
    one("a", CLASS_NONE, kind::TXT, &[], code::NO_ERROR);
    one("a", CLASS_ANY, kind::A, &[1; 4], code::FORMAT_ERROR);
    one("a", 3, kind::A, &[], code::FORMAT_ERROR);
    one("other.", CLASS_ANY, kind::ANY, &[], code::NOT_OF_ZONE);
    one("a", CLASS_IN, kind::A, &[1; 4], code::NO_SET);
    let both = [1, 2].map(|it| prerequisite("a", CLASS_IN, kind::A, &[it; 4]));
    check(&both, code::NO_ERROR);
    let three = [1, 2, 3].map(|it| prerequisite("a", CLASS_IN, kind::A, &[it; 4]));
    check(&three, code::NO_SET);
    check(
        &[entry("a", CLASS_IN, kind::A, &[1; 4])],
        code::FORMAT_ERROR,
    );
}

proptest! {
    #[test]
    fn what_it_makes_always_goes_together(
        updates in prop::collection::vec((
            prop::sample::select(vec!["", "a", "b", "c", "d", "y", "x.y"]),
            prop::sample::select(vec![CLASS_IN, CLASS_ANY, CLASS_NONE]),
            prop::sample::select(vec![kind::A, kind::CNAME, kind::NS, kind::TXT, kind::ANY, kind::SOA, kind::DNAME]),
        ), 1..8)
    ) {
        let entries: Vec<Entry> = updates.into_iter().map(|(owner, class, kind)| {
            let data = match (class, kind) {
                (CLASS_ANY, _) => vec![],
                (_, kind::SOA) => soa(9),
                (_, kind::A) => vec![1; 4],
                (_, kind::TXT) => b"\x01t".to_vec(),
                _ => name("a"),
            };
            entry(owner, class, kind, &data)
        }).collect();
        let store = store();
        if let Ok(changes) = apply(&store, ORIGIN, &[], &entries) {
            let made = store.with(ORIGIN, &changes);
            prop_assert!(made.is_ok(), "{made:?}");
        }
    }
}
