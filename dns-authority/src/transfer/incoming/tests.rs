use proptest::prelude::*;

use super::*;
use crate::journal::View;
use crate::transfer::outgoing::{self, Body};
use crate::wire::query::{self, Received};
use crate::wire::whole;

const ORIGIN: &[u8] = b"\x01z\0";

fn origin() -> Folded {
    Folded::read(ORIGIN).unwrap()
}

fn soa(serial: u32) -> Record {
    let numbers = [serial, 1, 2, 3, 4].map(u32::to_be_bytes).concat();
    Record {
        owner: ORIGIN.into(),
        kind: kind::SOA,
        ttl: 60,
        data: [b"\x02ns\x01z\0\x01h\x01z\0", &numbers[..]].concat().into(),
    }
}

fn address(letter: u8, last: u8) -> Record {
    Record {
        owner: [&[1, letter], ORIGIN].concat().into(),
        kind: kind::A,
        ttl: 60,
        data: Box::new([192, 0, 2, last]),
    }
}

/// The version of a zone with these addresses.
fn version(serial: u32, addresses: &[(u8, u8)]) -> Zone {
    let addresses = addresses
        .iter()
        .map(|(letter, last)| address(b'a' + letter, *last));
    zone(
        &origin(),
        &[soa(serial)]
            .into_iter()
            .chain(addresses)
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

fn message(records: &[Record]) -> Whole {
    let entry = |it: &Record| Entry {
        owner: it.owner.to_vec(),
        kind: it.kind,
        class: CLASS_IN,
        ttl: it.ttl,
        data: it.data.to_vec(),
    };
    Whole {
        id: [0; 2],
        operation: 0,
        is_answer: true,
        authoritative: true,
        truncated: false,
        code: code::NO_ERROR,
        question: None,
        sections: [records.iter().map(entry).collect(), vec![], vec![]],
        signature: None,
    }
}

/// What comes of records, one message each.
fn fetched(have: Option<u32>, records: &[Record]) -> Result<Option<Fetched>, Useless> {
    let origin = origin();
    let mut incoming = Incoming::new(&origin, have);
    for (number, record) in records.iter().enumerate() {
        if let Some(fetched) = incoming.take(message(std::slice::from_ref(record)))? {
            assert_eq!(number + 1, records.len());
            return Ok(Some(fetched));
        }
    }
    Ok(None)
}

#[test]
fn knows_what_is_whole_what_changed_and_what_is_nothing_new() {
    let a = address(b'a', 1);
    let whole = fetched(None, &[soa(7), a.clone(), soa(7)]);
    assert_eq!(whole, Ok(Some(Fetched::Whole(vec![soa(7), a.clone()]))));
    assert_eq!(fetched(Some(3), &[soa(7), a.clone(), soa(7)]), whole);
    assert_eq!(
        fetched(None, &[soa(7), soa(7)]),
        Ok(Some(Fetched::Whole(vec![soa(7)])))
    );
    assert_eq!(fetched(Some(7), &[soa(7)]), Ok(Some(Fetched::Current)));
    assert_eq!(fetched(Some(9), &[soa(7)]), Ok(Some(Fetched::Current)));
    assert_eq!(fetched(Some(6), &[soa(7)]), Ok(None));

    let steps = [
        soa(7),
        soa(5),
        a.clone(),
        soa(6),
        soa(6),
        soa(7),
        a.clone(),
        soa(7),
    ];
    let expected = vec![
        Difference {
            from: 5,
            to: 6,
            removed: vec![soa(5), a.clone()],
            added: vec![soa(6)],
        },
        Difference {
            from: 6,
            to: 7,
            removed: vec![soa(6)],
            added: vec![soa(7), a],
        },
    ];
    assert_eq!(fetched(Some(5), &steps), Ok(Some(Fetched::Steps(expected))));
}

#[test]
fn believes_nothing_that_does_not_go_together() {
    let a = address(b'a', 1);
    let wrong = |have, records: &[Record]| {
        assert!(
            matches!(fetched(have, records), Err(Useless::Wrong(_))),
            "{records:?}"
        );
    };
    wrong(None, std::slice::from_ref(&a));
    wrong(Some(4), &[soa(7), soa(5), soa(7), soa(7)]);
    wrong(Some(5), &[soa(7), soa(5), soa(6), soa(5)]);
    wrong(None, &[soa(7), a.clone(), soa(6)]);
    let stranger = Record {
        owner: b"\x01y\0"[..].into(),
        ..a
    };
    wrong(None, &[soa(7), stranger]);
    let mut refused = message(&[]);
    refused.code = code::REFUSED;
    let origin = origin();
    assert_eq!(
        Incoming::new(&origin, None).take(refused),
        Err(Useless::Refused(code::REFUSED))
    );
    let behind = message(&[soa(7), soa(7), soa(7)]);
    assert!(Incoming::new(&origin, None).take(behind).is_err());
}

proptest! {
    #[test]
    fn takes_what_we_give(
        old in prop::collection::vec((0..9_u8, 0..3_u8), 0..20),
        new in prop::collection::vec((0..9_u8, 0..3_u8), 0..20),
        limit in 120..2000_usize,
        in_steps: bool,
    ) {
        let (old, new) = (version(1, &old), version(2, &new));
        let difference = old.view(|old| new.view(|new| Difference::between(old, new)));
        let body = if in_steps { Body::Steps(vec![difference.into()]) } else { Body::Whole };
        let question = [&[0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], ORIGIN, &[0, 251, 0, 1]].concat();
        let Received::Query(query) = query::read(&question) else { panic!("it is one") };
        let mut messages = Vec::new();
        let is_all = outgoing::write(&new, &query, &body, limit, &mut |it| { messages.push(it); true });
        prop_assert!(is_all && messages.iter().all(|it| it.len() <= limit));

        let origin = origin();
        let mut incoming = Incoming::new(&origin, Some(1));
        let mut fetched = None;
        for it in messages {
            prop_assert_eq!(&fetched, &None);
            fetched = incoming.take(whole::read(&it).unwrap()).unwrap();
        }
        let made = match fetched.unwrap() {
            Fetched::Whole(records) => zone(&origin, &records).unwrap(),
            Fetched::Steps(steps) => old.with(&steps[0].changes(old.store())).unwrap(),
            Fetched::Current => panic!("it is newer"),
        };
        let all = |view: View<'_>| {
            let mut all: Vec<Record> = view.store.nodes().flat_map(|it| view.records(it)).collect();
            all.sort();
            all
        };
        prop_assert_eq!(made.view(all), new.view(all));
    }
}
