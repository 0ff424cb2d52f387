//! Watches that etcd answers in peculiar ways: the same script to both, response by response.

use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{Client, ConnectOptions, Txn, TxnOp, WatchFilterType, WatchOptions, WatchStream};
use tokio::time::timeout;

use crate::support::{Kind, Running};

/// Silence after which nothing more is expected; etcd looks after slow watches every 100 ms.
const SILENCE: Duration = Duration::from_millis(600);

/// Before the watches begin: ten writes of two keys, of which the first five are compacted.
const HEAD: i64 = 11;
const COMPACTED: i64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn creates_watches_as_etcd_does() {
    let from = |revision| WatchOptions::new().with_start_revision(revision);
    let all = || from(7).with_all_keys();
    let (no_puts, no_deletes) = (WatchFilterType::NoPut, WatchFilterType::NoDelete);
    let watches = [
        ("from now on", "a", WatchOptions::new()),
        ("negative revision", "a", from(-5)),
        ("compacted revision", "a", from(COMPACTED - 1)),
        ("oldest revision", "a", from(COMPACTED)),
        ("past", "a", from(8).with_prev_key()),
        ("future", "a", from(HEAD + 3)),
        ("far future", "a", from(HEAD + 100)),
        ("everything", "", all().with_prev_key()),
        ("empty range", "b", WatchOptions::new().with_range("a")),
        ("same range", "b", WatchOptions::new().with_range("b")),
        ("no key", "", from(7)),
        ("chosen id", "a", from(7).with_watch_id(42)),
        ("negative id", "a", from(7).with_watch_id(-7)),
        ("no puts", "", all().with_filters([no_puts])),
        ("no deletes", "", all().with_filters([no_deletes])),
        ("nothing", "", all().with_filters([no_puts, no_deletes])),
        ("progress", "a", from(7).with_progress_notify()),
    ];
    let (ours, theirs) = tokio::join!(
        stories(Kind::Embedded, &watches),
        stories(Kind::Etcd, &watches)
    );
    for ((what, ..), (ours, theirs)) in watches.iter().zip(ours.into_iter().zip(theirs)) {
        assert_eq!(ours, theirs, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_large_responses_in_fragments_as_etcd_does() {
    let mut lengths = Vec::new();
    for kind in [Kind::Embedded, Kind::Etcd] {
        let server = Running::start(kind).await;
        let mut client = server.client().await;
        for _ in 0..2 {
            let puts: Vec<TxnOp> = (0..14)
                .map(|it| TxnOp::put(format!("k{it:02}"), vec![b'x'; 100_000], None))
                .collect();
            client.txn(Txn::new().and_then(puts)).await.unwrap();
        }
        let options = WatchOptions::new()
            .with_prefix()
            .with_prev_key()
            .with_start_revision(3);
        let mut watch = client
            .watch_client()
            .watch("k", Some(options.clone().with_fragment()))
            .await
            .unwrap();
        let responses = collect(&mut watch).await;
        let parts: Vec<(usize, bool)> = responses
            .iter()
            .map(|it| (it.events.len(), it.fragment))
            .collect();
        lengths.push(parts);

        let mut whole = client
            .watch_client()
            .max_decoding_message_size(16 << 20)
            .watch("k", Some(options))
            .await
            .unwrap();
        let responses = collect(&mut whole).await;
        assert_eq!((responses.len(), responses[1].events.len()), (2, 14));
    }
    assert_eq!(lengths[0], lengths[1]);
    assert_eq!(lengths[0].len(), 3, "{lengths:?}");
}

/// What each watch says of the past, then of four more writes, then to a progress request, and to
/// being cancelled if it is not yet.
async fn stories(kind: Kind, watches: &[(&str, &str, WatchOptions)]) -> Vec<Vec<String>> {
    let server = Running::start(kind).await;
    let require_leader = ConnectOptions::new().with_require_leader(true);
    let endpoint = server.address().to_string();
    let mut client = Client::connect([endpoint], Some(require_leader))
        .await
        .unwrap();
    for number in 2..=HEAD {
        write(&mut client, number).await;
    }
    client.compact(COMPACTED, None).await.unwrap();
    let mut streams = Vec::new();
    for (_, key, options) in watches {
        streams.push(client.watch(*key, Some(options.clone())).await.unwrap());
    }

    let mut stories = vec![Vec::new(); watches.len()];
    tell(&mut streams, &mut stories, "past").await;
    for number in HEAD + 1..=HEAD + 4 {
        write(&mut client, number).await;
    }
    tell(&mut streams, &mut stories, "writes").await;
    for stream in &mut streams {
        stream.request_progress().await.unwrap();
    }
    tell(&mut streams, &mut stories, "progress").await;
    for (stream, story) in streams.iter_mut().zip(&stories) {
        // etcd confirms the end of some watches twice.
        if !story.iter().any(|it| it.contains("canceled true")) {
            stream.cancel(999).await.unwrap();
            stream.cancel(0).await.unwrap();
        }
    }
    tell(&mut streams, &mut stories, "cancel").await;
    stories
}

async fn tell(streams: &mut [WatchStream], stories: &mut [Vec<String>], chapter: &str) {
    let told = futures_util::future::join_all(streams.iter_mut().map(collect)).await;
    for (story, responses) in stories.iter_mut().zip(told) {
        story.push(chapter.to_owned());
        story.extend(lines(responses));
    }
}

async fn write(client: &mut Client, number: i64) {
    let key = if number % 2 == 0 { "a" } else { "b" };
    if number % 5 == 0 {
        client.delete(key, None).await.unwrap();
    } else {
        client.put(key, number.to_string(), None).await.unwrap();
    }
}

async fn collect(watch: &mut WatchStream) -> Vec<PbWatchResponse> {
    let mut responses = Vec::new();
    while let Ok(message) = timeout(SILENCE, watch.message()).await {
        match message.unwrap() {
            Some(response) => responses.push(response.0),
            None => break,
        }
    }
    responses
}

/// One line for each thing said: how events share responses may differ.
fn lines(responses: Vec<PbWatchResponse>) -> Vec<String> {
    let mut lines = Vec::new();
    for response in responses {
        let id = response.watch_id;
        for event in &response.events {
            lines.push(format!("{id}: {event:?}"));
        }
        if response.events.is_empty() {
            let revision = response.header.as_ref().unwrap().revision;
            lines.push(format!(
                "{id}: revision {revision} created {} canceled {} compacted {} because {:?}",
                response.created,
                response.canceled,
                response.compact_revision,
                response.cancel_reason
            ));
        }
    }
    lines
}
