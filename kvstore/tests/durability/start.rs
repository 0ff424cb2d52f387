//! How a store begins, with a directory that is its own, somebody else's, or nobody's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use kvstore::server::{Compaction, Options, Server, StartError, StorageOptions};
use lab::free_address;
use tokio::time::sleep;

use crate::process::{HANG, Process, connect, serve};

#[tokio::test]
async fn shares_its_directory_with_no_other_process() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), free_address()).await;

    let problem = problem(directory.path()).await;

    let expected =
        "another process keeps its store here; stop it, or choose another data directory";
    assert_eq!(
        problem,
        format!("{}: {expected}", directory.path().display())
    );
    process.kill();
}

#[tokio::test]
async fn does_not_take_foreign_data_for_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.redb");
    std::fs::write(&file, "somebody's novel").unwrap();

    let problem = problem(directory.path()).await;

    let expected = format!(
        "{}: this is not a store's file; choose another",
        file.display()
    );
    assert!(problem.starts_with(&expected), "{problem}");
    assert_eq!(std::fs::read(&file).unwrap(), b"somebody's novel");
}

#[tokio::test]
async fn shows_its_data_to_nobody_else() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/directory");
    serve(on(&directory)).await;

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("store.redb")), 0o600);
}

#[tokio::test]
async fn stops_when_it_cannot_keep_what_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let process = Process::start_on_small_disk(directory.path(), address).await;
    let mut client = connect(address).await;
    let mut acknowledged = 0;
    let error = loop {
        let value = vec![b'x'; 10_000];
        match client.put(format!("key/{acknowledged}"), value, None).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("etcdserver: the disk of this store failed"),
        "{error}"
    );
    assert!(
        process.failed().await,
        "nobody may read what is not on disk"
    );

    let process = Process::start(directory.path(), address).await;
    let all = etcd_client::GetOptions::new()
        .with_prefix()
        .with_count_only();
    let found = connect(address).await.get("key/", Some(all)).await.unwrap();
    assert!(
        10 < acknowledged && acknowledged <= found.count(),
        "{acknowledged} {found:?}"
    );
    process.kill();
}

#[tokio::test]
async fn forgets_the_past_by_itself() {
    let address = serve(StorageOptions {
        compaction: Compaction::Periodic(Duration::from_millis(300)),
        ..StorageOptions::default()
    });
    let mut client = connect(address.await).await;
    for number in 0..10 {
        client.put("key", number.to_string(), None).await.unwrap();
    }

    let compacted = async {
        let old = etcd_client::GetOptions::new().with_revision(5);
        while client.get("key", Some(old.clone())).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, compacted).await.unwrap();
    let now = client.get("key", None).await.unwrap();
    assert_eq!(now.kvs()[0].version(), 10);
}

fn on(directory: &Path) -> StorageOptions {
    StorageOptions {
        data_dir: Some(directory.to_owned()),
        ..StorageOptions::default()
    }
}

/// Why a server does not start with this directory.
async fn problem(directory: &Path) -> String {
    let error = Server::bind(Options {
        storage: on(directory),
        ..Options::new(free_address(), "second")
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, StartError::Storage(_)));
    error.to_string()
}
