use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::Instant;

use etcd_client::proto::{PbDeleteRequest, PbPutRequest};
use tempfile::TempDir;

use super::tables::{FACTS, FORMAT, set};
use super::*;

#[test]
fn is_the_same_store_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, identity, image) = open(&directory).unwrap();
    assert_eq!(image, Store::default().image());
    let mut store = recording();
    store.lease_grant(7, 60, now()).unwrap();
    put(&mut store, "a", "1", 7);
    put(&mut store, "b", "1", 0);
    storage.write(&store.take_changes()).unwrap();
    put(&mut store, "a", "2", 0);
    delete(&mut store, "b");
    store.set_auth_state(Arc::from(*b"users"));
    store.compact(4).unwrap();
    storage.write(&store.take_changes()).unwrap();
    drop(storage);

    let (_, again, image) = open(&directory).unwrap();

    assert_eq!(again, identity);
    assert_eq!(image, store.image());
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(&other).unwrap().1, identity);
}

#[test]
fn begins_with_a_snapshot_only_where_nothing_is() {
    let mut store = recording();
    put(&mut store, "a", "1", 0);
    let directory = tempfile::tempdir().unwrap();
    drop(Storage::open(directory.path(), || Ok(store.image())).unwrap());

    let (_, _, image) = Storage::open(directory.path(), || panic!("there is a store")).unwrap();

    assert_eq!(image, store.image());
}

#[test]
fn belongs_to_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(&directory).unwrap();

    check(
        &directory,
        "another process keeps its store here; stop it, or choose another data directory",
    );
}

#[test]
fn refuses_what_it_did_not_write() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(file(directory.path()), "not a store at all").unwrap();
    check(&directory, "this is not a store's file; choose another");

    std::fs::write(file(directory.path()), "x".repeat(100_000)).unwrap();
    check(&directory, "this is not a store's file; choose another");

    std::fs::write(file(directory.path()), "").unwrap();
    check(&directory, "this is not a store's file; choose another");

    std::fs::remove_file(file(directory.path())).unwrap();
    drop(Database::create(file(directory.path())).unwrap());
    check(&directory, "this is not a store's file; choose another");
}

#[test]
fn refuses_the_format_of_another_release() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, ..) = open(&directory).unwrap();
    let transaction = storage.database.begin_write().unwrap();
    let mut facts = transaction.open_table(FACTS).unwrap();
    set(&mut facts, FORMAT, &2_i64.to_be_bytes()).unwrap();
    drop(facts);
    transaction.commit().unwrap();
    drop(storage);

    check(
        &directory,
        "the store has format 2 and this program reads format 1; use",
    );
}

#[test]
fn never_takes_a_torn_file_for_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, ..) = open(&directory).unwrap();
    let mut store = recording();
    for number in 0..2_000 {
        put(&mut store, &format!("key/{number}"), "some value", 0);
    }
    storage.write(&store.take_changes()).unwrap();
    drop(storage);
    let whole = std::fs::read(file(directory.path())).unwrap();

    for length in [1, 100, 4_096, whole.len() / 2, whole.len() - 4_096] {
        std::fs::write(file(directory.path()), &whole[..length]).unwrap();
        let error = open(&directory).unwrap_err().to_string();
        assert!(
            error.contains("; move the file") || error.contains("or move the file"),
            "{error}"
        );
    }
    for place in (0..whole.len()).step_by(whole.len() / 40) {
        std::fs::write(file(directory.path()), &whole).unwrap();
        let mut torn = OpenOptions::new()
            .write(true)
            .open(file(directory.path()))
            .unwrap();
        torn.seek(SeekFrom::Start(place as u64)).unwrap();
        torn.write_all(&[0xa5; 64]).unwrap();
        drop(torn);
        // Where nothing is stored, nothing is lost.
        if let Ok((_, _, image)) = open(&directory) {
            assert_eq!(image, store.image(), "at {place}");
        }
    }
}

#[test]
fn says_what_is_wrong_with_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();

    let error = Storage::open(&path, || Ok(Store::default().image())).unwrap_err();

    assert_eq!(error.path, path);
    assert!(
        error
            .problem
            .ends_with("; the data directory must be writable and its disk have space")
    );
}

#[test]
fn gives_back_what_it_does_not_need() {
    let directory = tempfile::tempdir().unwrap();
    let (mut storage, ..) = open(&directory).unwrap();
    let mut store = recording();
    for number in 0..5_000 {
        put(&mut store, &format!("key/{number}"), &"x".repeat(300), 0);
    }
    storage.write(&store.take_changes()).unwrap();
    for number in 0..5_000 {
        delete(&mut store, &format!("key/{number}"));
    }
    store.compact(store.revision()).unwrap();
    storage.write(&store.take_changes()).unwrap();
    let before = Storage::file_bytes(directory.path()).unwrap();

    storage.defragment().unwrap();

    let after = Storage::file_bytes(directory.path()).unwrap();
    assert!(after < before / 2, "{before} {after}");
    drop(storage);
    assert_eq!(open(&directory).unwrap().2, store.image());
}

#[track_caller]
fn check(directory: &TempDir, expected: &str) {
    let error = open(directory).unwrap_err();
    assert!(error.problem.starts_with(expected), "{error}");
    assert!(error.path.starts_with(directory.path()), "{error}");
}

fn open(directory: &TempDir) -> Result<(Storage, Identity, Image), StorageError> {
    Storage::open(directory.path(), || Ok(Store::default().image()))
}

fn recording() -> Store {
    let mut store = Store::default();
    store.record_changes();
    store
}

fn put(store: &mut Store, key: &str, value: &str, lease: i64) {
    let request = PbPutRequest {
        key: key.into(),
        value: value.into(),
        lease,
        ..PbPutRequest::default()
    };
    store.put(request).unwrap();
}

fn delete(store: &mut Store, key: &str) {
    let request = PbDeleteRequest {
        key: key.into(),
        ..PbDeleteRequest::default()
    };
    store.delete_range(&request).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lease needs some instant to start from"
)]
fn now() -> Instant {
    Instant::now()
}
