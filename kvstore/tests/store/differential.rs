//! The same random commands to our server and to etcd: every answer and every event must be equal.

use etcd_client::proto::{PbEvent, PbResponseHeader, PbResponseOp, PbTxnOpResponse};
use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, WatchFilterType,
    WatchOptions, WatchStream,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::timeout;

use crate::support::{HANG, Kind, Running};

const COMMANDS: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn answers_as_etcd_does() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (ours, theirs) = (
        Running::start(Kind::Embedded).await,
        Running::start(Kind::Etcd).await,
    );
    let (mut our_client, mut their_client) = (ours.client().await, theirs.client().await);
    let (mut our_watches, mut their_watches) = (
        watches(&mut our_client).await,
        watches(&mut their_client).await,
    );

    let mut head = 1;
    for number in 0..COMMANDS {
        let command = command(&mut random, head);
        let our_answer = run(&mut our_client, &command).await;
        let their_answer = run(&mut their_client, &command).await;
        assert_eq!(
            our_answer, their_answer,
            "seed {seed}, command {number}: {command:?}"
        );
        head = revision(&mut their_client).await;
    }

    put_last(&mut our_client).await;
    put_last(&mut their_client).await;
    for (index, (ours, theirs)) in our_watches.iter_mut().zip(&mut their_watches).enumerate() {
        assert_eq!(
            events(ours).await,
            events(theirs).await,
            "seed {seed}, watch {index}"
        );
    }
}

#[derive(Clone, Debug)]
enum Command {
    Compact(i64),
    Delete {
        key: String,
        options: DeleteOptions,
    },
    Get {
        key: String,
        options: GetOptions,
        sorted: bool,
    },
    Grant(i64),
    Put {
        key: String,
        value: String,
        options: PutOptions,
    },
    Revoke(i64),
    TimeToLive(i64),
    Txn(Txn),
}

fn command(random: &mut SmallRng, head: i64) -> Command {
    match random.random_range(0..100) {
        0..30 => Command::Put {
            key: key(random),
            value: value(random),
            options: put_options(random),
        },
        30..55 => get(random, head),
        55..65 => Command::Delete {
            key: key(random),
            options: delete_options(random),
        },
        65..90 => Command::Txn(txn(random, head, 2)),
        90..92 => Command::Compact(head - random.random_range(-1..200)),
        92..95 => Command::Grant(random.random_range(1..5)),
        95..97 => Command::Revoke(random.random_range(1..5)),
        _ => Command::TimeToLive(random.random_range(1..5)),
    }
}

fn get(random: &mut SmallRng, head: i64) -> Command {
    let mut options = range_options(random, head);
    let sorted = random.random_ratio(1, 4);
    if sorted {
        let target = [
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ];
        let order = [SortOrder::Ascend, SortOrder::Descend, SortOrder::None];
        options = options.with_sort(
            target[random.random_range(0..4)],
            order[random.random_range(0..3)],
        );
    } else {
        options = options.with_limit(random.random_range(0..6));
        if random.random_ratio(1, 4) {
            options = options.with_sort(SortTarget::Key, SortOrder::Descend);
        }
    }
    Command::Get {
        key: key(random),
        options,
        sorted,
    }
}

fn range_options(random: &mut SmallRng, head: i64) -> GetOptions {
    let mut options = GetOptions::new();
    match random.random_range(0..5) {
        0 => options = options.with_prefix(),
        1 => options = options.with_from_key(),
        2 => options = options.with_range(key(random)),
        3 => options = options.with_all_keys(),
        _ => (),
    }
    if random.random_ratio(1, 3) {
        options = options.with_revision(head - random.random_range(-1..60));
    }
    if random.random_ratio(1, 8) {
        options = options.with_keys_only();
    }
    if random.random_ratio(1, 8) {
        options = options.with_count_only();
    }
    if random.random_ratio(1, 8) {
        options = options
            .with_min_mod_revision(head - 20)
            .with_max_create_revision(head - 5);
    }
    if random.random_ratio(1, 8) {
        options = options
            .with_max_mod_revision(head - 3)
            .with_min_create_revision(head - 40);
    }
    options
}

fn put_options(random: &mut SmallRng) -> PutOptions {
    let mut options = PutOptions::new();
    if random.random_ratio(1, 3) {
        options = options.with_lease(random.random_range(1..5));
    }
    if random.random_ratio(1, 3) {
        options = options.with_prev_key();
    }
    if random.random_ratio(1, 12) {
        options = options.with_ignore_lease();
    }
    if random.random_ratio(1, 12) {
        options = options.with_ignore_value();
    }
    options
}

fn delete_options(random: &mut SmallRng) -> DeleteOptions {
    let options = match random.random_range(0..4) {
        0 => DeleteOptions::new().with_prefix(),
        1 => DeleteOptions::new().with_range(key(random)),
        _ => DeleteOptions::new(),
    };
    if random.random_ratio(1, 2) {
        options.with_prev_key()
    } else {
        options
    }
}

fn txn(random: &mut SmallRng, head: i64, depth: usize) -> Txn {
    let compares: Vec<Compare> = (0..random.random_range(0..3))
        .map(|_| compare(random, head))
        .collect();
    // One kind of nested transaction at most: etcd overlooks some keys that two of them share.
    let mut nested = 0 < depth;
    let mut operations = |random: &mut SmallRng| -> Vec<TxnOp> {
        (0..random.random_range(0..4))
            .map(|_| match random.random_range(0..10) {
                0..4 => TxnOp::put(key(random), value(random), Some(put_options(random))),
                4..7 => TxnOp::get(key(random), Some(range_options(random, head))),
                7 if nested => {
                    nested = false;
                    TxnOp::txn(txn(random, head, depth - 1))
                }
                // From a key on without end: etcd overlooks that this, too, may delete what it puts.
                _ => TxnOp::delete(format!("a{}", key(random)), Some(delete_options(random))),
            })
            .collect()
    };
    let (success, failure) = (operations(random), operations(random));
    Txn::new().when(compares).and_then(success).or_else(failure)
}

fn compare(random: &mut SmallRng, head: i64) -> Compare {
    let key = key(random);
    let operator = [
        CompareOp::Equal,
        CompareOp::Greater,
        CompareOp::Less,
        CompareOp::NotEqual,
    ][random.random_range(0..4)];
    let compare = match random.random_range(0..5) {
        0 => Compare::version(key, operator, random.random_range(0..4)),
        1 => Compare::create_revision(key, operator, head - random.random_range(0..30)),
        2 => Compare::mod_revision(key, operator, head - random.random_range(0..30)),
        3 => Compare::value(key, operator, value(random)),
        _ => Compare::lease(key, operator, random.random_range(0..5)),
    };
    if random.random_ratio(1, 4) {
        compare.with_prefix()
    } else {
        compare
    }
}

/// Rarely empty, to see it refused.
fn key(random: &mut SmallRng) -> String {
    let length = if random.random_ratio(1, 100) {
        0
    } else {
        random.random_range(1..3)
    };
    (0..length)
        .map(|_| char::from(random.random_range(b'a'..b'd')))
        .collect()
}

fn value(random: &mut SmallRng) -> String {
    (0..random.random_range(0..3))
        .map(|_| char::from(random.random_range(b'x'..=b'z')))
        .collect()
}

/// The answer as text, without what may differ: who answered, and the order of equal sort keys.
async fn run(client: &mut Client, command: &Command) -> Result<String, String> {
    match command.clone() {
        Command::Compact(revision) => client.compact(revision, None).await.map(|mut it| {
            anonymize(&mut it.0.header);
            format!("{it:?}")
        }),
        Command::Delete { key, options } => {
            client.delete(key, Some(options)).await.map(|mut it| {
                anonymize(&mut it.0.header);
                format!("{it:?}")
            })
        }
        Command::Get {
            key,
            options,
            sorted,
        } => client.get(key, Some(options)).await.map(|mut it| {
            anonymize(&mut it.0.header);
            if sorted {
                it.0.kvs.sort_by(|a, b| a.key.cmp(&b.key));
            }
            format!("{it:?}")
        }),
        Command::Grant(id) => client
            .lease_grant(10_000, Some(LeaseGrantOptions::new().with_id(id)))
            .await
            .map(|mut it| {
                anonymize(&mut it.0.header);
                format!("{it:?}")
            }),
        Command::Put {
            key,
            value,
            options,
        } => client.put(key, value, Some(options)).await.map(|mut it| {
            anonymize(&mut it.0.header);
            format!("{it:?}")
        }),
        Command::Revoke(id) => client.lease_revoke(id).await.map(|mut it| {
            anonymize(&mut it.0.header);
            format!("{it:?}")
        }),
        Command::TimeToLive(id) => {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            client
                .lease_time_to_live(id, Some(options))
                .await
                .map(|mut it| {
                    it.0.keys.sort();
                    format!("{:?} of {:?}", it.keys(), it.granted_ttl())
                })
        }
        Command::Txn(txn) => client.txn(txn).await.map(|mut it| {
            anonymize(&mut it.0.header);
            it.0.responses.iter_mut().for_each(without_nested_headers);
            format!("{it:?}")
        }),
    }
    .map_err(|error| {
        let Error::GRpcStatus(status) = error else {
            panic!("{error}");
        };
        format!("{:?} {}", status.code(), status.message())
    })
}

fn anonymize(header: &mut Option<PbResponseHeader>) {
    let header = header.as_mut().unwrap();
    (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
}

/// etcd fills the headers inside a transaction inconsistently, and nobody reads them.
fn without_nested_headers(response: &mut PbResponseOp) {
    match response.response.as_mut().unwrap() {
        PbTxnOpResponse::ResponseDeleteRange(it) => it.header = None,
        PbTxnOpResponse::ResponsePut(it) => it.header = None,
        PbTxnOpResponse::ResponseRange(it) => it.header = None,
        PbTxnOpResponse::ResponseTxn(it) => {
            it.header = None;
            it.responses.iter_mut().for_each(without_nested_headers);
        }
    }
}

/// Watches that see all that is to come.
async fn watches(client: &mut Client) -> Vec<WatchStream> {
    let all = || WatchOptions::new().with_all_keys().with_start_revision(2);
    let options = [
        all(),
        all().with_prev_key(),
        all().with_filters([WatchFilterType::NoPut]),
        WatchOptions::new()
            .with_key("a")
            .with_prefix()
            .with_start_revision(2),
    ];
    let mut watches = Vec::new();
    for options in options {
        let key = if watches.len() == 3 { "a" } else { "" };
        watches.push(client.watch(key, Some(options)).await.unwrap());
    }
    watches
}

const LAST_KEY: &str = "a-last";

/// Ends every watch: a put and a deletion that each of them passes on, or sees one of.
async fn put_last(client: &mut Client) {
    client.put(LAST_KEY, "", None).await.unwrap();
    client.delete(LAST_KEY, None).await.unwrap();
}

/// All events up to the last deletion; within a revision, etcd's order.
async fn events(watch: &mut WatchStream) -> Vec<PbEvent> {
    let mut events: Vec<PbEvent> = Vec::new();
    loop {
        let message = timeout(HANG, watch.message())
            .await
            .expect("the watch hangs")
            .unwrap()
            .unwrap();
        events.extend(message.0.events);
        let ended = events
            .last()
            .and_then(|it| it.kv.as_ref().map(|kv| (it.r#type, kv.key.as_slice())));
        if ended == Some((1, LAST_KEY.as_bytes())) {
            return events;
        }
    }
}

async fn revision(client: &mut Client) -> i64 {
    client
        .get("none", None)
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision()
}
