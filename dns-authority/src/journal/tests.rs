use std::fs;

use proptest::prelude::*;

use super::file::JournalFile;
use super::frame::{Frame, read_all};
use super::*;
use crate::store::{Builder, Value};

const ORIGIN: &[u8] = b"\x01z\0";

/// Nobody expands anything here.
const NOTHING: Expand<'static> = &|_| Vec::new();

fn view(store: &Store) -> View<'_> {
    View {
        store,
        expand: NOTHING,
    }
}

/// A zone with an SOA of this serial, and A records at names of one letter.
fn store(serial: u32, records: &[(u8, u8, u32)]) -> Store {
    let mut builder = Builder::new(ORIGIN);
    builder.push(1, ORIGIN, kind::SOA, 60, Value::Data(&soa(serial)));
    for (letter, last, ttl) in records {
        let owner = owner(*letter);
        builder.push(2, &owner, kind::A, *ttl, Value::Data(&[192, 0, 2, *last]));
    }
    builder.finish().unwrap()
}

fn owner(letter: u8) -> Vec<u8> {
    [&[1, b'a' + letter % 4], ORIGIN].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 1, 2, 3, 4].map(u32::to_be_bytes).concat();
    [b"\x02ns\x01z\0\x01h\x01z\0", &numbers[..]].concat()
}

fn everything(store: &Store) -> Vec<Record> {
    let mut records: Vec<Record> = store
        .nodes()
        .flat_map(|it| view(store).records(it))
        .collect();
    records.sort();
    records
}

#[test]
fn knows_what_changed_between_versions_and_only_so_long() {
    let mut history = History::default();
    let step = |from, to| {
        let difference = Difference::between(view(&store(from, &[])), view(&store(to, &[])));
        assert_eq!(
            (difference.from, difference.to, difference.len()),
            (from, to, 2)
        );
        Arc::new(difference)
    };
    history.push(step(1, 2));
    history.push(step(2, 5));
    let since = |history: &History, serial| {
        let steps = history.since(serial);
        steps.map(|it| it.iter().map(|it| it.to).collect::<Vec<_>>())
    };
    assert_eq!(since(&history, 1), Some(vec![2, 5]));
    assert_eq!(since(&history, 2), Some(vec![5]));
    assert_eq!((since(&history, 5), since(&history, 0)), (None, None));

    history.push(step(9, 10));
    assert_eq!(
        (since(&history, 1), since(&history, 9)),
        (None, Some(vec![10]))
    );

    let record = |last| Record {
        owner: ORIGIN.into(),
        kind: 1,
        ttl: 0,
        data: Box::new([last]),
    };
    let large = Difference {
        from: 10,
        to: 11,
        removed: vec![],
        added: vec![record(1); RECORDS_MAX],
    };
    history.push(Arc::new(large));
    assert_eq!((since(&history, 9), history.last()), (None, Some(11)));
}

#[test]
fn a_plan_stands_for_all_of_its_candidates_but_a_name_has_one_other() {
    let mut builder = Builder::new(ORIGIN);
    builder.push(1, ORIGIN, kind::SOA, 60, Value::Data(&soa(1)));
    builder.push(2, &owner(0), kind::A, 60, Value::Data(&[1; 4]));
    builder.push(3, &owner(0), kind::A, 60, Value::Plan(0));
    builder.push(4, &owner(1), kind::CNAME, 60, Value::Plan(0));
    let store = builder.finish().unwrap();
    let expand: Expand<'_> = &|_| vec![[1; 4].into(), [2; 4].into()];
    let view = View {
        store: &store,
        expand,
    };

    let at = |letter| {
        let records = view.records(store.find(&owner(letter)).unwrap());
        records.into_iter().map(|it| it.data[0]).collect::<Vec<_>>()
    };
    assert_eq!((at(0), at(1)), (vec![1, 2], vec![1]));
}

#[test]
fn what_was_written_is_there_and_what_was_cut_off_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("z.journal");
    let (mut journal, frames) = JournalFile::open(&path).unwrap();
    assert_eq!(frames, []);
    let first = [Frame::Based(1), Frame::Confirmed(7)];
    let difference = Difference::between(view(&store(1, &[])), view(&store(2, &[(1, 1, 60)])));
    let second = Frame::Difference(difference);
    journal.append(&first).unwrap();
    journal.append(std::slice::from_ref(&second)).unwrap();
    let whole = fs::read(&path).unwrap();
    drop(journal);

    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (mut journal, frames) = JournalFile::open(&path).unwrap();
        let all = [&first[..], std::slice::from_ref(&second)].concat();
        assert_eq!(frames[..], all[..frames.len()], "{length}");
        // What is added after that is found behind what was whole.
        journal.append(&[Frame::Confirmed(8)]).unwrap();
        let (_, again) = JournalFile::open(&path).unwrap();
        assert_eq!(
            again,
            [&frames[..], &[Frame::Confirmed(8)]].concat(),
            "{length}"
        );
    }
}

proptest! {
    #[test]
    fn a_difference_makes_one_version_of_the_other(
        old in prop::collection::vec((0..4_u8, 0..4_u8, 1..3_u32), 0..10),
        new in prop::collection::vec((0..4_u8, 0..4_u8, 1..3_u32), 0..10),
    ) {
        let (old, new) = (store(1, &old), store(2, &new));
        let difference = Difference::between(view(&old), view(&new));
        let made = old.with(ORIGIN, &difference.changes(&old)).unwrap();
        prop_assert_eq!(everything(&made), everything(&new));
        // To do it twice is the same.
        let twice = made.with(ORIGIN, &difference.changes(&made)).unwrap();
        prop_assert_eq!(everything(&twice), everything(&new));

        let names: Vec<Vec<u8>> = (0..4).map(owner).chain([ORIGIN.to_vec()]).collect();
        let local = Difference::at(view(&old), view(&new), names.iter().map(|it| &it[..]));
        prop_assert_eq!(local.len(), difference.len());
    }

    #[test]
    fn frames_are_read_as_they_were_written(
        serial: u32,
        records in prop::collection::vec((0..4_u8, any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..9)), 0..9),
        spoilt in any::<prop::sample::Index>(),
    ) {
        let records: Vec<Record> = records.into_iter().map(|(letter, kind, ttl, data)| Record {
            owner: owner(letter).into(), kind, ttl, data: data.into(),
        }).collect();
        let difference = Difference { from: serial, to: 3, removed: records.clone(), added: records.clone() };
        let frames = [Frame::Based(serial), Frame::Whole(records), Frame::Difference(difference), Frame::Confirmed(5)];
        let mut bytes: Vec<u8> = frames.iter().flat_map(|it| it.write().unwrap()).collect();
        prop_assert_eq!(read_all(&bytes), (frames.to_vec(), bytes.len()));

        let spoilt = spoilt.index(bytes.len());
        bytes[spoilt] ^= 1;
        let (read, length) = read_all(&bytes);
        prop_assert!(length <= spoilt && read[..] == frames[..read.len()]);
    }
}
