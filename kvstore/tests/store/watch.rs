//! What a watch promises: ordered, unique, whole revisions, resumable, and never a gap.

use std::collections::BTreeSet;

use etcd_client::{
    Client, Compare, CompareOp, EventType, Txn, TxnOp, WatchFilterType, WatchOptions,
    WatchResponse, WatchStream,
};
use kvstore::store::Store;
use tokio::time::timeout;

use crate::server::http;
use crate::support::{Embedded, HANG, client, patient};

#[tokio::test]
async fn resumes_without_gap_or_repetition_under_concurrent_writers() {
    const WRITERS: usize = 4;
    const WRITES: usize = 500;
    let server = Embedded::start().await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let mut client = client(server.address).await;
        writers.push(tokio::spawn(async move {
            for number in 0..WRITES {
                let pair = [
                    TxnOp::put(format!("k/{writer}/a"), number.to_string(), None),
                    TxnOp::put(format!("k/{writer}/b"), number.to_string(), None),
                ];
                client.txn(Txn::new().and_then(pair)).await.unwrap();
            }
        }));
    }

    let last_revision = i64::try_from(1 + WRITERS * WRITES).unwrap();
    let mut next_revision = 2;
    let mut sessions = 0;
    while next_revision <= last_revision {
        let mut client = client(server.address).await;
        let mut watch = client
            .watch(
                "k/",
                Some(
                    WatchOptions::new()
                        .with_prefix()
                        .with_start_revision(next_revision),
                ),
            )
            .await
            .unwrap();
        sessions += 1;
        // Every session ends after a few messages, wherever it is.
        for _ in 0..20 {
            let message = next(&mut watch).await;
            for pair in message.events().chunks(2) {
                let revisions: Vec<i64> = pair
                    .iter()
                    .map(|it| it.kv().unwrap().mod_revision())
                    .collect();
                assert_eq!(
                    revisions, [next_revision; 2],
                    "both events of the next revision, together"
                );
                next_revision += 1;
            }
            if last_revision < next_revision {
                break;
            }
        }
    }

    assert!(1 < sessions);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn brings_a_slow_reader_up_to_date_from_history() {
    const WRITES: usize = 100_000;
    /// What may be on its way: two or three steps.
    const PENDING_MAX: usize = 3_500;
    let server = Embedded::start().await;
    let (mut client, mut watch) = watching(&server).await;

    let mut most_pending = 0;
    for (number, chunk) in (0..WRITES).collect::<Vec<_>>().chunks(100).enumerate() {
        let puts: Vec<TxnOp> = chunk
            .iter()
            .map(|it| TxnOp::put(format!("k{it}"), vec![b'x'; 200], None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
        if number % 50 == 0 {
            most_pending = most_pending.max(pending(&server).await);
        }
    }
    assert!((1..=PENDING_MAX).contains(&most_pending), "{most_pending}");

    let mut seen = BTreeSet::new();
    let mut last_revision = 1;
    while seen.len() < WRITES {
        let message = next(&mut watch).await;
        assert!(!message.canceled(), "history still has everything");
        for event in message.events() {
            let kv = event.kv().unwrap();
            assert!(last_revision <= kv.mod_revision() && kv.mod_revision() <= last_revision + 1);
            last_revision = kv.mod_revision();
            assert!(seen.insert(kv.key().to_vec()), "an event came twice");
        }
    }
}

/// Events that are neither in history nor with the client.
async fn pending(server: &Embedded) -> usize {
    let page = http(server.address, "/metrics").await;
    let mut lines = page.lines();
    let value = lines.find_map(|it| it.strip_prefix("etcd_debugging_mvcc_pending_events_total "));
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn tells_a_slow_reader_that_it_missed_something() {
    // More than history keeps for whoever falls behind.
    const WRITES: usize = 150_000;
    let server = Embedded::start().await;
    let (_client, mut watch) = watching(&server).await;
    let mut local = Store::Local(server.local.clone())
        .connect(&patient())
        .await
        .unwrap();
    for first in (0..WRITES).step_by(125) {
        let puts: Vec<TxnOp> = (first..first + 125)
            .map(|it| TxnOp::put(format!("k{}", it % 1_000), vec![b'x'; 1_000], None))
            .collect();
        local.txn(Txn::new().and_then(puts)).await.unwrap();
    }

    let mut last_revision = 1;
    let end = loop {
        let message = next(&mut watch).await;
        if message.canceled() {
            break message;
        }
        for event in message.events() {
            let revision = event.kv().unwrap().mod_revision();
            assert!(last_revision <= revision && revision <= last_revision + 1);
            last_revision = revision;
        }
    };
    assert!(last_revision + 1 < end.compact_revision(), "{end:?}");
}

#[tokio::test]
async fn tells_a_watch_that_what_it_wants_is_compacted() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    for number in 0..10 {
        client.put("key", number.to_string(), None).await.unwrap();
    }
    client.compact(8, None).await.unwrap();

    let mut watch = client
        .watch("key", Some(WatchOptions::new().with_start_revision(5)))
        .await
        .unwrap();

    assert!(next(&mut watch).await.created());
    let end = next(&mut watch).await;
    assert_eq!((end.canceled(), end.compact_revision()), (true, 8));
}

#[tokio::test]
async fn carries_many_watches_and_cancels_them_one_by_one() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    client.put("a", "1", None).await.unwrap();
    let mut watch = client
        .watch("a", Some(WatchOptions::new().with_prev_key()))
        .await
        .unwrap();
    assert_eq!(next(&mut watch).await.watch_id(), 0);
    watch
        .watch("b", Some(WatchOptions::new().with_watch_id(7)))
        .await
        .unwrap();
    assert_eq!(next(&mut watch).await.watch_id(), 7);
    watch
        .watch("b", Some(WatchOptions::new().with_watch_id(7)))
        .await
        .unwrap();
    let refused = next(&mut watch).await;
    assert!(
        refused.canceled() && refused.cancel_reason().contains("duplicate watch ID"),
        "{refused:?}"
    );
    watch
        .watch("b", Some(WatchOptions::new().with_range("a")))
        .await
        .unwrap();
    let refused = next(&mut watch).await;
    assert!(
        refused.canceled() && refused.cancel_reason().contains("range is empty"),
        "{refused:?}"
    );
    let only_deletes = WatchOptions::new()
        .with_all_keys()
        .with_filters([WatchFilterType::NoPut]);
    watch.watch("", Some(only_deletes)).await.unwrap();
    assert_eq!(next(&mut watch).await.watch_id(), 1);

    client.put("a", "2", None).await.unwrap();
    let message = next(&mut watch).await;
    assert_eq!(
        (
            message.watch_id(),
            message.events()[0].prev_kv().unwrap().value()
        ),
        (0, b"1".as_slice())
    );
    client.put("b", "1", None).await.unwrap();
    assert_eq!(next(&mut watch).await.watch_id(), 7);

    watch.cancel(7).await.unwrap();
    let canceled = next(&mut watch).await;
    assert_eq!((canceled.watch_id(), canceled.canceled()), (7, true));
    client.delete("b", None).await.unwrap();
    let message = next(&mut watch).await;
    assert_eq!(
        (message.watch_id(), message.events()[0].event_type()),
        (1, EventType::Delete)
    );
}

#[tokio::test]
async fn never_reports_progress_beyond_what_it_sent() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    let mut watch = client
        .watch(
            "k",
            Some(WatchOptions::new().with_prefix().with_start_revision(2)),
        )
        .await
        .unwrap();
    assert!(next(&mut watch).await.created());

    let mut last_event = 1;
    for number in 0..200 {
        client.put(format!("k{number}"), "", None).await.unwrap();
        watch.request_progress().await.unwrap();
    }
    let mut answers = 0;
    while answers < 200 {
        let message = next(&mut watch).await;
        if message.events().is_empty() {
            answers += 1;
            assert_eq!(message.header().unwrap().revision(), last_event);
        }
        last_event = message
            .events()
            .last()
            .map_or(last_event, |it| it.kv().unwrap().mod_revision());
    }
    assert_eq!(last_event, 201);
}

#[tokio::test]
async fn sends_a_transaction_in_one_message_even_to_a_filter() {
    let server = Embedded::start().await;
    let (mut client, mut watch) = watching(&server).await;

    let operations: Vec<TxnOp> = (0..128)
        .map(|it| {
            TxnOp::put(
                format!("{}{it}", if it % 2 == 0 { "k" } else { "other" }),
                "",
                None,
            )
        })
        .collect();
    let missing = [Compare::version("k", CompareOp::Equal, 0)];
    client
        .txn(Txn::new().when(missing).and_then(operations))
        .await
        .unwrap();

    assert_eq!(next(&mut watch).await.events().len(), 64);
}

/// A client that watches every key which begins with `k`.
async fn watching(server: &Embedded) -> (Client, WatchStream) {
    let mut client = client(server.address).await;
    let mut watch = client
        .watch("k", Some(WatchOptions::new().with_prefix()))
        .await
        .unwrap();
    assert!(next(&mut watch).await.created());
    (client, watch)
}

async fn next(watch: &mut WatchStream) -> WatchResponse {
    timeout(HANG, watch.message())
        .await
        .expect("the watch hangs")
        .unwrap()
        .unwrap()
}
