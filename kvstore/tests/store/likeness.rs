//! Watches that etcd answers in peculiar ways: the same script to both, response by response.

use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{Client, ConnectOptions, Txn, TxnOp, WatchFilterType, WatchOptions, WatchStream};
use tokio::time::timeout;

use crate::support::{HANG, Kind, Running};

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
    let mut both = [
        Side::start(Kind::Embedded, &watches).await,
        Side::start(Kind::Etcd, &watches).await,
    ];
    let check = async |both: &mut [Side; 2], chapter: &str| {
        listen(both, chapter).await;
        for ((what, ..), (ours, theirs)) in watches.iter().zip(pairs(both)) {
            assert_eq!(ours, theirs, "{what}: {chapter}");
        }
    };

    check(&mut both, "past").await;
    for side in &mut both {
        for number in HEAD + 1..=HEAD + 4 {
            write(&mut side.client, number).await;
        }
    }
    check(&mut both, "writes").await;
    for stream in both.iter_mut().flat_map(|it| &mut it.streams) {
        stream.request_progress().await.unwrap();
    }
    check(&mut both, "progress").await;
    for side in &mut both {
        for (stream, story) in side.streams.iter_mut().zip(&side.stories) {
            // etcd confirms the end of some watches twice.
            if !story.iter().any(|it| it.contains("canceled true")) {
                stream.cancel(999).await.unwrap();
                stream.cancel(0).await.unwrap();
            }
        }
    }
    check(&mut both, "cancel").await;
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
        let responses = collect_events(&mut watch, 14).await;
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
        let responses = collect_events(&mut whole, 14).await;
        assert_eq!((responses.len(), responses[1].events.len()), (2, 14));
    }
    assert_eq!(lengths[0], lengths[1]);
    assert_eq!(lengths[0].len(), 3, "{lengths:?}");
}

/// One server with a stream for each watch, and what the watches have said.
struct Side {
    client: Client,
    streams: Vec<WatchStream>,
    stories: Vec<Vec<String>>,
    _server: Running,
}

impl Side {
    async fn start(kind: Kind, watches: &[(&str, &str, WatchOptions)]) -> Self {
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
        Self {
            client,
            stories: vec![Vec::new(); streams.len()],
            streams,
            _server: server,
        }
    }
}

/// Listens until both sides have fallen silent and tell the same, or still do not after a long time.
async fn listen(both: &mut [Side; 2], chapter: &str) {
    for story in both.iter_mut().flat_map(|it| &mut it.stories) {
        story.push(chapter.to_owned());
    }
    let same = async {
        loop {
            let [ours, theirs] = both.each_mut();
            let told = tokio::join!(tell(ours), tell(theirs));
            if told == (0, 0) && pairs(both).all(|(ours, theirs)| ours == theirs) {
                return;
            }
        }
    };
    // If they differ to the end, the comparison says where.
    let _different = timeout(HANG, same).await;
}

/// Adds to the stories what comes until there is silence; returns how much that was.
async fn tell(side: &mut Side) -> usize {
    let told = futures_util::future::join_all(side.streams.iter_mut().map(collect)).await;
    let mut count = 0;
    for (story, responses) in side.stories.iter_mut().zip(told) {
        count += responses.len();
        story.extend(lines(responses));
    }
    count
}

fn pairs(both: &[Side; 2]) -> impl Iterator<Item = (&Vec<String>, &Vec<String>)> {
    both[0].stories.iter().zip(&both[1].stories)
}

async fn write(client: &mut Client, number: i64) {
    let key = if number % 2 == 0 { "a" } else { "b" };
    if number % 5 == 0 {
        client.delete(key, None).await.unwrap();
    } else {
        client.put(key, number.to_string(), None).await.unwrap();
    }
}

/// All of so many events, and whatever else comes.
async fn collect_events(watch: &mut WatchStream, count: usize) -> Vec<PbWatchResponse> {
    let mut responses: Vec<PbWatchResponse> = Vec::new();
    while responses.iter().map(|it| it.events.len()).sum::<usize>() < count {
        let message = timeout(HANG, watch.message()).await;
        let message = message.expect("an event is missing").unwrap();
        responses.push(message.unwrap().0);
    }
    responses.extend(collect(watch).await);
    responses
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
