//! What a watch promises under concurrent writers and compaction: ordered, unique, whole revisions,
//! resumable, and never a gap that it does not confess.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{Client, Event, EventType, GetOptions, Txn, TxnOp, WatchOptions};
use kvstore::server::{Compaction, StorageOptions};
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::time::{sleep, timeout};

use crate::process::{HANG, connect, fork, random, serve};

const WRITERS: usize = 4;
const WRITES: usize = 600;
const WATCHERS: usize = 5;

/// What one watcher knows: the keys, and the revision that they are of.
#[derive(Default)]
struct Replica {
    keys: BTreeMap<String, String>,
    revision: i64,
    relists: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_nothing_in_memory() {
    check(
        "misses_nothing_in_memory",
        StorageOptions {
            compaction: Compaction::Off,
            ..StorageOptions::default()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_nothing_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    check(
        "misses_nothing_on_disk",
        StorageOptions {
            data_dir: Some(directory.path().to_owned()),
            compaction: Compaction::Off,
            ..StorageOptions::default()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_nothing_while_history_is_kept_short() {
    check(
        "misses_nothing_while_history_is_kept_short",
        StorageOptions {
            compaction: Compaction::Periodic(Duration::from_millis(200)),
            ..StorageOptions::default()
        },
    )
    .await;
}

async fn check(test: &str, storage: StorageOptions) {
    let mut random = random(test);
    let address = serve(storage).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(writer, address, fork(&mut random))))
        .collect();
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|_| tokio::spawn(watch(address, fork(&mut random))))
        .collect();
    let compactor = tokio::spawn(compact(address, fork(&mut random), Arc::clone(&is_over)));
    for writer in writers {
        timeout(HANG, writer).await.unwrap().unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    timeout(HANG, compactor).await.unwrap().unwrap();
    let mut client = connect(address).await;
    client.put("the end", "", None).await.unwrap();

    let truth = Replica::list(&mut client).await;
    let mut relists = 0;
    for watcher in watchers {
        let replica = timeout(HANG, watcher).await.unwrap().unwrap();
        assert_eq!(
            (replica.revision, replica.keys),
            (truth.revision, truth.keys.clone())
        );
        relists += replica.relists;
    }
    println!("{relists} watches were overtaken by a compaction");
}

/// Puts a pair of keys in each revision, or deletes one.
async fn write(writer: usize, address: SocketAddr, mut random: SmallRng) {
    let mut client = connect(address).await;
    for number in 0..WRITES {
        let key = format!("k/{writer}/{}", random.random_range(0..30));
        let (left, right) = (format!("{key}/left"), format!("{key}/right"));
        let operations = if random.random_ratio(1, 5) {
            [TxnOp::delete(left, None), TxnOp::delete(right, None)]
        } else {
            let value = number.to_string();
            [
                TxnOp::put(left, value.clone(), None),
                TxnOp::put(right, value, None),
            ]
        };
        client.txn(Txn::new().and_then(operations)).await.unwrap();
    }
}

/// Compacts close behind the newest revision, so that whoever is slow is overtaken.
async fn compact(address: SocketAddr, mut random: SmallRng, is_over: Arc<AtomicBool>) {
    let mut client = connect(address).await;
    while !is_over.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(random.random_range(5..40))).await;
        let head = client.get("head", None).await.unwrap();
        let revision = head.header().unwrap().revision() - random.random_range(0..30);
        // Somebody may have compacted further already.
        let _ = client.compact(revision, None).await;
    }
}

/// Keeps a replica until the end, leaving off and going on at random.
async fn watch(address: SocketAddr, mut random: SmallRng) -> Replica {
    let mut client = connect(address).await;
    let mut replica = Replica::default();
    loop {
        let options = WatchOptions::new()
            .with_prefix()
            .with_prev_key()
            .with_start_revision(replica.revision + 1);
        let mut stream = client.watch("", Some(options)).await.unwrap();
        for _ in 0..random.random_range(1..60) {
            let message = timeout(HANG, stream.message())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            if message.canceled() {
                assert!(
                    replica.revision + 1 < message.compact_revision(),
                    "overtaken by what it saw"
                );
                let relists = replica.relists + 1;
                replica = Replica::list(&mut client).await;
                replica.relists = relists;
                break;
            }
            replica.apply(message.events());
            if replica.keys.contains_key("the end") {
                return replica;
            }
        }
        drop(stream);
        client = connect(address).await;
        sleep(Duration::from_millis(random.random_range(0..60))).await;
    }
}

impl Replica {
    async fn list(client: &mut Client) -> Self {
        let options = GetOptions::new().with_from_key();
        let response = client.get("", Some(options)).await.unwrap();
        let keys = response.kvs().iter().map(|it| {
            let (key, value) = (it.key_str().unwrap(), it.value_str().unwrap());
            (key.to_owned(), value.to_owned())
        });
        Self {
            keys: keys.collect(),
            revision: response.header().unwrap().revision(),
            relists: 0,
        }
    }

    /// Events of whole revisions that follow what is known: each says what was there before.
    fn apply(&mut self, events: &[Event]) {
        let mut revisions: Vec<i64> = Vec::new();
        for event in events {
            let kv = event.kv().unwrap();
            assert!(self.revision < kv.mod_revision(), "seen before: {kv:?}");
            assert!(
                revisions.last() <= Some(&kv.mod_revision()),
                "out of order: {kv:?}"
            );
            revisions.push(kv.mod_revision());
            let key = kv.key_str().unwrap().to_owned();
            let before = event.prev_kv().map(|it| it.value_str().unwrap().to_owned());
            let known = match event.event_type() {
                EventType::Put => {
                    let value = kv.value_str().unwrap().to_owned();
                    self.keys.insert(key, value)
                }
                EventType::Delete => self.keys.remove(&key),
            };
            // What came before a compaction is not told any more, but never wrong.
            assert!(before.is_none() || before == known, "a gap before {kv:?}");
        }
        for pair in revisions.chunk_by(|a, b| a == b) {
            let is_whole = pair.len() == 2 || self.keys.contains_key("the end");
            assert!(is_whole, "half of revision {}", pair[0]);
        }
        self.revision = revisions.last().copied().unwrap_or(self.revision);
    }
}
