//! Random commands: every kind of request with every option, on few keys, so that they meet.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
};
use rand::Rng as _;
use rand::rngs::SmallRng;

use super::answer::Answer;

/// Which every watch passes on, or its deletion.
pub(super) const LAST_KEY: &str = "a-last";
pub(super) const MARK_KEY: &str = "a-mark";

#[derive(Clone, Debug)]
pub(super) enum Command {
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
    Leases,
    Put {
        key: String,
        value: String,
        options: PutOptions,
    },
    Revoke(i64),
    TimeToLive(i64),
    Txn {
        txn: Txn,
        only_reads: bool,
    },
}

impl Command {
    /// A put and a deletion of `key`, one of which every watch passes on.
    pub(super) fn sign(key: &str) -> [Self; 2] {
        [
            Self::Put {
                key: key.into(),
                value: String::new(),
                options: PutOptions::new(),
            },
            Self::Delete {
                key: key.into(),
                options: DeleteOptions::new(),
            },
        ]
    }

    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Leases | Self::TimeToLive(_) => true,
            Self::Txn { only_reads, .. } => *only_reads,
            Self::Compact(_)
            | Self::Delete { .. }
            | Self::Grant(_)
            | Self::Put { .. }
            | Self::Revoke(_) => false,
        }
    }

    pub(super) async fn run(self, mut client: Client) -> Answer {
        match self {
            Self::Compact(revision) => Answer::compact(client.compact(revision, None).await),
            Self::Delete { key, options } => {
                Answer::delete(client.delete(key, Some(options)).await)
            }
            Self::Get {
                key,
                options,
                sorted,
            } => Answer::get(client.get(key, Some(options)).await, sorted),
            Self::Grant(id) => {
                let options = LeaseGrantOptions::new().with_id(id);
                Answer::grant(client.lease_grant(10_000, Some(options)).await)
            }
            Self::Leases => Answer::leases(client.leases().await),
            Self::Put {
                key,
                value,
                options,
            } => Answer::put(client.put(key, value, Some(options)).await),
            Self::Revoke(id) => Answer::revoke(client.lease_revoke(id).await),
            Self::TimeToLive(id) => {
                let options = LeaseTimeToLiveOptions::new().with_keys();
                Answer::time_to_live(client.lease_time_to_live(id, Some(options)).await)
            }
            Self::Txn { txn, .. } => Answer::txn(client.txn(txn).await),
        }
    }
}

pub(super) fn random(random: &mut SmallRng, head: i64) -> Command {
    match random.random_range(0..1_000) {
        0..200 => Command::Put {
            key: key(random),
            value: value(random),
            options: put_options(random),
        },
        200..600 => get(random, head),
        600..660 => Command::Delete {
            key: key(random),
            options: delete_options(random),
        },
        660..800 => Command::Txn {
            txn: txn(random, head, 2, true),
            only_reads: false,
        },
        800..900 => Command::Txn {
            txn: txn(random, head, 2, false),
            only_reads: true,
        },
        900..905 => Command::Txn {
            txn: large_txn(random),
            only_reads: false,
        },
        905..910 => Command::Compact(head - random.random_range(-1..200)),
        910..930 => Command::Grant(random.random_range(0..6)),
        930..945 => Command::Revoke(random.random_range(0..6)),
        945..960 => Command::Leases,
        _ => Command::TimeToLive(random.random_range(1..6)),
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
        options = options.with_limit(random.random_range(-1..6));
        if random.random_ratio(1, 4) {
            let order = [SortOrder::Ascend, SortOrder::Descend];
            options = options.with_sort(SortTarget::Key, order[random.random_range(0..2)]);
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
        options = options.with_serializable();
    }
    let mut bound = |most| {
        random
            .random_ratio(1, 10)
            .then(|| head - random.random_range(-1..most))
    };
    if let Some(revision) = bound(40) {
        options = options.with_min_mod_revision(revision);
    }
    if let Some(revision) = bound(20) {
        options = options.with_max_mod_revision(revision);
    }
    if let Some(revision) = bound(60) {
        options = options.with_min_create_revision(revision);
    }
    if let Some(revision) = bound(30) {
        options = options.with_max_create_revision(revision);
    }
    options
}

fn put_options(random: &mut SmallRng) -> PutOptions {
    let mut options = PutOptions::new();
    if random.random_ratio(1, 3) {
        options = options.with_lease(random.random_range(1..6));
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
    let options = match random.random_range(0..20) {
        0..5 => DeleteOptions::new().with_prefix(),
        5..10 => DeleteOptions::new().with_range(key(random)),
        10 => DeleteOptions::new().with_from_key(),
        _ => DeleteOptions::new(),
    };
    if random.random_ratio(1, 2) {
        options.with_prev_key()
    } else {
        options
    }
}

fn txn(random: &mut SmallRng, head: i64, depth: usize, writes: bool) -> Txn {
    let compares: Vec<Compare> = (0..random.random_range(0..3))
        .map(|_| compare(random, head))
        .collect();
    // One kind of nested transaction at most: etcd overlooks some keys that two of them share.
    let mut nested = 0 < depth;
    let mut operations = |random: &mut SmallRng| -> Vec<TxnOp> {
        (0..random.random_range(0..4))
            .map(|_| match random.random_range(0..10) {
                0..4 if writes => TxnOp::put(key(random), value(random), Some(put_options(random))),
                7 if nested => {
                    nested = false;
                    TxnOp::txn(txn(random, head, depth - 1, writes))
                }
                8..10 if writes => delete_in_txn(random),
                _ => TxnOp::get(key(random), Some(range_options(random, head))),
            })
            .collect()
    };
    let (success, failure) = (operations(random), operations(random));
    Txn::new().when(compares).and_then(success).or_else(failure)
}

/// Not from a key on without end: etcd overlooks that this, too, may delete what it puts.
fn delete_in_txn(random: &mut SmallRng) -> TxnOp {
    let options = match random.random_range(0..4) {
        0 => DeleteOptions::new().with_prefix(),
        1 => DeleteOptions::new().with_range(key(random)),
        _ => DeleteOptions::new(),
    };
    let options = if random.random_ratio(1, 2) {
        options.with_prev_key()
    } else {
        options
    };
    TxnOp::delete(format!("a{}", key(random)), Some(options))
}

/// Around the bound of 128 operations.
fn large_txn(random: &mut SmallRng) -> Txn {
    let mut some = || random.random_range(120..=130);
    let puts = (0..some()).map(|it| TxnOp::put(format!("c{it}"), "", None));
    let gets = (0..some()).map(|it| TxnOp::get(format!("c{it}"), None));
    let compares = (0..some()).map(|it| Compare::version(format!("c{it}"), CompareOp::Less, 1));
    Txn::new()
        .when(compares.collect::<Vec<_>>())
        .and_then(puts.collect::<Vec<_>>())
        .or_else(gets.collect::<Vec<_>>())
}

fn compare(random: &mut SmallRng, head: i64) -> Compare {
    let first = key(random);
    let operator = [
        CompareOp::Equal,
        CompareOp::Greater,
        CompareOp::Less,
        CompareOp::NotEqual,
    ][random.random_range(0..4)];
    let compare = match random.random_range(0..5) {
        0 => Compare::version(first, operator, random.random_range(0..4)),
        1 => Compare::create_revision(first, operator, head - random.random_range(0..30)),
        2 => Compare::mod_revision(first, operator, head - random.random_range(0..30)),
        3 => Compare::value(first, operator, value(random)),
        _ => Compare::lease(first, operator, random.random_range(0..6)),
    };
    match random.random_range(0..8) {
        0 => compare.with_prefix(),
        1 => compare.with_range(key(random)),
        2 => compare.with_range("\0"),
        _ => compare,
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
