//! Kills the store again and again under load: what it acknowledged is there, and history is one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{
    Client, EventType, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions,
};
use lab::free_address;
use rand::Rng as _;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::process::{HANG, Process, connect, random};

const ROUNDS: usize = 12;
const WRITERS: usize = 6;
const KEYS: u64 = 20;

/// What clients were told, shared by all of them.
#[derive(Default)]
struct Told {
    is_over: AtomicBool,
    /// The revision of each acknowledged write, by writer and number.
    writes: Mutex<BTreeMap<(usize, u64), i64>>,
    /// How far the watch is.
    watched: AtomicI64,
}

/// One revision as the watch saw it: puts and deletions in order.
type Seen = BTreeMap<i64, Vec<(String, Option<String>)>>;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_what_it_acknowledged() {
    let mut random = random("keeps_what_it_acknowledged");
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut process = Process::start(directory.path(), address).await;
    let told = Arc::new(Told::default());
    let writers: Vec<JoinHandle<()>> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(writer, address, Arc::clone(&told))))
        .collect();
    let reader = tokio::spawn(read(address, Arc::clone(&told)));
    let watcher = tokio::spawn(watch(address, Arc::clone(&told)));

    let mut ids = None;
    let mut leases = Vec::new();
    for _ in 0..ROUNDS {
        sleep(Duration::from_millis(random.random_range(50..350))).await;
        let mut client = connect(address).await;
        leases.push(lease(&mut client).await);
        compact(&mut client, &told).await;
        ids = Some(same_ids(&mut client, ids).await);
        // Right after an acknowledgement of its own, and while those of others are on their way.
        process.kill();
        process = Process::start(directory.path(), address).await;
    }
    told.is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        timeout(HANG, writer).await.unwrap().unwrap();
    }
    timeout(HANG, reader).await.unwrap().unwrap();
    let mut client = connect(address).await;
    client.put("the end", "", None).await.unwrap();
    let seen = timeout(HANG, watcher).await.unwrap().unwrap();

    check_acknowledged(&told, &seen);
    check_state(&mut client, &seen).await;
    for lease in leases {
        let view = client.lease_time_to_live(lease, None).await.unwrap();
        assert!((500..=600).contains(&view.ttl()), "lease {lease}: {view:?}");
        let leased = client.get(lease_key(lease), None).await.unwrap();
        assert_eq!(leased.kvs()[0].lease(), lease);
    }
    process.kill();
}

/// Writes two keys in each revision, and deletes a third now and then; whatever has no reply may have
/// happened or not, but as a whole.
async fn write(writer: usize, address: SocketAddr, told: Arc<Told>) {
    let mut client = connect(address).await;
    for number in 0.. {
        if told.is_over.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{writer}:{number}");
        let mut operations = vec![
            TxnOp::put(
                format!("w/{writer}/a/{}", number % KEYS),
                name.clone(),
                None,
            ),
            TxnOp::put(format!("w/{writer}/b/{}", number % KEYS), name, None),
        ];
        if number % 7 == 0 {
            let key = format!("w/{writer}/a/{}", (number + 1) % KEYS);
            operations.push(TxnOp::delete(key, None));
        }
        match client.txn(Txn::new().and_then(operations)).await {
            Ok(response) => {
                let revision = response.header().unwrap().revision();
                let mut writes = told.writes.lock().unwrap();
                writes.insert((writer, number), revision);
            }
            Err(_) => client = connect(address).await,
        }
    }
}

/// Reads what others write: nothing that was ever seen may be taken back.
async fn read(address: SocketAddr, told: Arc<Told>) {
    let mut client = connect(address).await;
    let mut newest = BTreeMap::new();
    let mut head = 0;
    while !told.is_over.load(Ordering::Relaxed) {
        let options = GetOptions::new().with_prefix();
        let Ok(response) = client.get("w/", Some(options)).await else {
            client = connect(address).await;
            continue;
        };
        let revision = response.header().unwrap().revision();
        assert!(head <= revision, "{head} was read before {revision}");
        head = revision;
        for kv in response.kvs() {
            let before = newest.insert(kv.key().to_vec(), kv.mod_revision());
            assert!(before <= Some(kv.mod_revision()), "{before:?} {kv:?}");
        }
    }
}

/// Follows everything until the end, going on after each kill where it stopped.
async fn watch(address: SocketAddr, told: Arc<Told>) -> Seen {
    let mut seen = Seen::new();
    loop {
        let next_revision = seen.keys().next_back().map_or(2, |it| it + 1);
        let mut client = connect(address).await;
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(next_revision);
        let Ok(mut stream) = client.watch("", Some(options)).await else {
            continue;
        };
        while let Ok(Some(message)) = stream.message().await {
            assert_eq!(message.compact_revision(), 0, "nothing unseen is compacted");
            for event in message.events() {
                let kv = event.kv().unwrap();
                let is_put = event.event_type() == EventType::Put;
                let value = is_put.then(|| kv.value_str().unwrap().to_owned());
                let revision = kv.mod_revision();
                let is_next = seen.keys().next_back().is_none_or(|it| *it <= revision);
                assert!(next_revision <= revision && is_next, "out of order: {kv:?}");
                let events = seen.entry(revision).or_default();
                events.push((kv.key_str().unwrap().to_owned(), value));
            }
            let Some((revision, events)) = seen.last_key_value() else {
                continue;
            };
            told.watched.store(*revision, Ordering::Relaxed);
            if events[0].0 == "the end" {
                return seen;
            }
        }
    }
}

async fn lease(client: &mut Client) -> i64 {
    let lease = client.lease_grant(600, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(lease);
    client
        .put(lease_key(lease), "", Some(options))
        .await
        .unwrap();
    lease
}

fn lease_key(lease: i64) -> String {
    format!("leased/{lease}")
}

/// Compacts what the watch has seen for sure.
async fn compact(client: &mut Client, told: &Told) {
    let revision = told.watched.load(Ordering::Relaxed) - 1;
    if 1 < revision {
        // Twice the same is refused.
        let _ = client.compact(revision, None).await;
    }
}

async fn same_ids(client: &mut Client, before: Option<(u64, u64)>) -> (u64, u64) {
    let status = client.status().await.unwrap();
    let header = status.header().unwrap();
    let ids = (header.cluster_id(), header.member_id());
    assert!(before.is_none_or(|it| it == ids));
    ids
}

/// Each acknowledged write is there once, at its revision, whole; so is every other that is there.
fn check_acknowledged(told: &Told, seen: &Seen) {
    let writes = told.writes.lock().unwrap();
    println!(
        "{} writes were acknowledged, {} revisions seen",
        writes.len(),
        seen.len()
    );
    assert!(WRITERS * ROUNDS < writes.len());
    for ((writer, number), revision) in &*writes {
        let events = seen.get(revision).unwrap_or_else(|| {
            panic!("write {number} of {writer} was acknowledged at {revision} and is gone")
        });
        assert_eq!(
            events[0].1,
            Some(format!("{writer}:{number}")),
            "{revision}"
        );
    }
    let mut names = BTreeMap::new();
    for (revision, events) in seen.iter().filter(|(_, it)| it[0].0.starts_with("w/")) {
        let (key, name) = &events[0];
        assert_eq!(
            events[1],
            (key.replace("/a/", "/b/"), name.clone()),
            "{revision}"
        );
        assert_eq!(names.insert(name, revision), None, "{name:?} twice");
    }
    let revisions: Vec<i64> = seen.keys().copied().collect();
    assert!(revisions.windows(2).all(|it| it[0] + 1 == it[1]), "a gap");
}

/// The store is what its history says.
async fn check_state(client: &mut Client, seen: &Seen) {
    let mut expected = BTreeMap::new();
    for (key, value) in seen.values().flatten() {
        match value {
            Some(value) => expected.insert(key.clone(), value.clone()),
            None => expected.remove(key),
        };
    }
    let everything = TxnOp::get("", Some(GetOptions::new().with_from_key()));
    let response = client.txn(Txn::new().and_then([everything])).await.unwrap();
    let Some(TxnOpResponse::Get(found)) = response.op_responses().pop() else {
        panic!("a transaction answers what it was asked");
    };
    let pairs = found.kvs().iter().map(|it| {
        let (key, value) = (it.key_str().unwrap(), it.value_str().unwrap());
        (key.to_owned(), value.to_owned())
    });
    assert_eq!(pairs.collect::<BTreeMap<String, String>>(), expected);
}
