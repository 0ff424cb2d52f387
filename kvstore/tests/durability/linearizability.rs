//! Concurrent clients, with and without kills: some one order explains all that they were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, KeyValue, PutOptions, Txn, TxnOp,
    TxnOpResponse,
};
use kvstore::server::StorageOptions;
use lab::free_address;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::time::{sleep, timeout};

use crate::checker::{Operation, Reply, Request, is_linearizable};
use crate::process::{HANG, Process, connect, fork, random, serve};

const CLIENTS: usize = 6;
const KEYS: u64 = 6;

/// Operations by key, and writes by time.
#[derive(Default)]
struct History {
    operations: BTreeMap<u64, Vec<Operation>>,
    /// When each write was sent and answered, and its revision.
    revisions: Vec<(u64, u64, i64)>,
}

/// What all clients share: a clock, and a source of values.
#[derive(Default)]
struct Shared {
    clock: AtomicU64,
    values: AtomicU64,
}

#[tokio::test(flavor = "multi_thread")]
async fn has_one_order_in_memory() {
    let address = serve(StorageOptions::default()).await;
    let random = random("has_one_order_in_memory");
    check(run(random, address, 600).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn has_one_order_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve(StorageOptions {
        data_dir: Some(directory.path().to_owned()),
        ..StorageOptions::default()
    });
    let random = random("has_one_order_on_disk");
    check(run(random, address.await, 300).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn has_one_order_across_kills() {
    let mut random = random("has_one_order_across_kills");
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut process = Process::start(directory.path(), address).await;
    let running = tokio::spawn(run(fork(&mut random), address, 400));
    while !running.is_finished() {
        sleep(Duration::from_millis(random.random_range(100..400))).await;
        process.kill();
        process = Process::start(directory.path(), address).await;
    }
    check(timeout(HANG, running).await.unwrap().unwrap());
    process.kill();
}

async fn run(mut random: SmallRng, address: SocketAddr, count: usize) -> History {
    let shared = Arc::new(Shared::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let random = fork(&mut random);
            tokio::spawn(client(random, address, count, Arc::clone(&shared)))
        })
        .collect();
    let mut history = History::default();
    for client in clients {
        let part = timeout(HANG, client).await.unwrap().unwrap();
        history.revisions.extend(part.revisions);
        for (key, operations) in part.operations {
            history
                .operations
                .entry(key)
                .or_default()
                .extend(operations);
        }
    }
    history
}

async fn client(
    mut random: SmallRng,
    address: SocketAddr,
    count: usize,
    shared: Arc<Shared>,
) -> History {
    let mut client = connect(address).await;
    let mut history = History::default();
    let mut last = BTreeMap::new();
    for _ in 0..count {
        let key = random.random_range(0..KEYS);
        let value = shared.values.fetch_add(1, Ordering::SeqCst) + 1;
        let request = match random.random_range(0..10) {
            0..3 => Request::Put(value),
            3 => Request::Delete,
            4..7 => Request::CompareAndPut(last.get(&key).copied().flatten(), value),
            _ => Request::Get,
        };
        let sent = shared.clock.fetch_add(1, Ordering::SeqCst);
        let reply = send(&mut client, key, request).await;
        let at = shared.clock.fetch_add(1, Ordering::SeqCst);
        if let Ok((reply, revision)) = reply {
            last.insert(key, seen(request, reply));
            let is_write = reply.succeeded && request != Request::Get;
            if is_write {
                history.revisions.push((sent, at, revision));
            }
        }
        history.operations.entry(key).or_default().push(Operation {
            request,
            sent,
            reply: reply.as_ref().ok().map(|(reply, _)| (at, *reply)),
        });
        if reply.is_err() {
            client = connect(address).await;
        }
    }
    history
}

/// What the client believes to be there after a reply.
fn seen(request: Request, reply: Reply) -> Option<u64> {
    match request {
        Request::CompareAndPut(_, value) if reply.succeeded => Some(value),
        Request::Put(value) => Some(value),
        Request::Delete => None,
        Request::CompareAndPut(..) | Request::Get => reply.value,
    }
}

/// The reply, and the revision that it names.
async fn send(client: &mut Client, key: u64, request: Request) -> Result<(Reply, i64), Error> {
    let name = format!("key/{key}");
    let previous = |it: Option<&KeyValue>| it.map(value);
    match request {
        Request::CompareAndPut(expected, new) => compare_and_put(client, name, expected, new).await,
        Request::Delete => {
            let options = DeleteOptions::new().with_prev_key();
            let response = client.delete(name, Some(options)).await?;
            let reply = Reply {
                succeeded: response.deleted() == 1,
                value: previous(response.prev_kvs().first()),
                version: None,
            };
            Ok((reply, response.header().unwrap().revision()))
        }
        Request::Get => {
            let response = client.get(name, None).await?;
            let reply = read(response.kvs().first());
            Ok((reply, response.header().unwrap().revision()))
        }
        Request::Put(new) => {
            let options = PutOptions::new().with_prev_key();
            let response = client.put(name, new.to_string(), Some(options)).await?;
            let reply = Reply {
                succeeded: true,
                value: previous(response.prev_key()),
                version: None,
            };
            Ok((reply, response.header().unwrap().revision()))
        }
    }
}

async fn compare_and_put(
    client: &mut Client,
    name: String,
    expected: Option<u64>,
    new: u64,
) -> Result<(Reply, i64), Error> {
    let compare = match expected {
        Some(value) => Compare::value(name.as_str(), CompareOp::Equal, value.to_string()),
        None => Compare::version(name.as_str(), CompareOp::Equal, 0),
    };
    let transaction = Txn::new()
        .when([compare])
        .and_then([TxnOp::put(name.as_str(), new.to_string(), None)])
        .or_else([TxnOp::get(name, None)]);
    let response = client.txn(transaction).await?;
    let mut reply = Reply {
        succeeded: true,
        value: expected,
        version: None,
    };
    if let Some(TxnOpResponse::Get(found)) = response.op_responses().pop() {
        reply = Reply {
            succeeded: false,
            ..read(found.kvs().first())
        };
    }
    Ok((reply, response.header().unwrap().revision()))
}

fn read(kv: Option<&KeyValue>) -> Reply {
    Reply {
        succeeded: true,
        value: kv.map(value),
        version: Some(kv.map_or(0, KeyValue::version)),
    }
}

fn value(kv: &KeyValue) -> u64 {
    kv.value_str().unwrap().parse().unwrap()
}

#[track_caller]
fn check(mut history: History) {
    let all = history.operations.values().flatten();
    let unanswered = all.clone().filter(|it| it.reply.is_none()).count();
    println!("{} operations, {unanswered} without a reply", all.count());
    for (key, operations) in &mut history.operations {
        operations.sort_by_key(|it| it.sent);
        assert!(is_linearizable(operations), "key {key}: {operations:#?}");
    }

    // All keys together: revisions are the order, so they follow time.
    history.revisions.sort_by_key(|(_, _, revision)| *revision);
    let mut latest_sent = 0;
    let mut last = None;
    for (sent, answered, revision) in history.revisions {
        assert_ne!(last, Some(revision), "two writes made one revision");
        assert!(
            latest_sent < answered,
            "{revision} was over before an earlier one began"
        );
        latest_sent = latest_sent.max(sent);
        last = Some(revision);
    }
}
