//! Watches of every kind on one stream, read all the time.

use etcd_client::proto::PbEvent;
use etcd_client::{Client, WatchFilterType, WatchOptions, WatchRequestSender, WatchResponseStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::FINISH;
use super::command::LAST_KEY;
use crate::support::HANG;

pub(super) struct Observer {
    requests: WatchRequestSender,
    /// The last revision that the server says every watch has seen.
    progress: watch::Receiver<i64>,
    events: JoinHandle<Vec<Vec<PbEvent>>>,
}

impl Observer {
    pub(super) async fn start(client: &mut Client) -> Self {
        let all = || WatchOptions::new().with_all_keys().with_start_revision(2);
        let key = |text: &str| text.as_bytes().to_vec();
        let watches = vec![
            (key(""), all()),
            (key(""), all().with_prev_key().with_fragment()),
            (key(""), all().with_filters([WatchFilterType::NoPut])),
            (key(""), all().with_filters([WatchFilterType::NoDelete])),
            (key("a"), all().with_prefix()),
            (key("a"), all().with_range("bb").with_prev_key()),
        ];
        let count = watches.len();
        let mut watches = watches.into_iter();
        let (key, options) = watches.next().unwrap();
        let stream = client.watch(key, Some(options)).await.unwrap();
        let (mut requests, responses) = stream.split();
        for (key, options) in watches {
            requests.watch(key, Some(options)).await.unwrap();
        }
        let (seen, progress) = watch::channel(0);
        Self {
            requests,
            progress,
            events: tokio::spawn(collect(responses, count, seen)),
        }
    }

    /// Waits until every watch has seen `revision`.
    pub(super) async fn catch_up(&mut self, revision: i64) {
        self.requests.request_progress().await.unwrap();
        let wait = self.progress.wait_for(|it| revision <= *it);
        timeout(HANG, wait).await.expect("no progress").unwrap();
    }

    /// Every watch's events, up to the last.
    pub(super) async fn finish(self) -> Vec<Vec<PbEvent>> {
        let Self {
            requests: _requests,
            events,
            ..
        } = self;
        timeout(FINISH, events)
            .await
            .expect("a watch hangs")
            .unwrap()
    }
}

async fn collect(
    mut responses: WatchResponseStream,
    watches: usize,
    progress: watch::Sender<i64>,
) -> Vec<Vec<PbEvent>> {
    let mut events = vec![Vec::new(); watches];
    let mut open = watches;
    while 0 < open {
        let response = responses.message().await.unwrap().unwrap().0;
        assert!(!response.canceled, "{response:?}");
        let Ok(watch) = usize::try_from(response.watch_id) else {
            progress.send_replace(response.header.unwrap().revision);
            continue;
        };
        let seen: &mut Vec<PbEvent> = &mut events[watch];
        seen.extend(response.events);
        // The watch without deletions sees the put only.
        let last = (i32::from(watch != WITHOUT_DELETES), LAST_KEY.as_bytes());
        let end = seen
            .last()
            .and_then(|it| Some((it.r#type, it.kv.as_ref()?.key.as_slice())));
        if end == Some(last) {
            open -= 1;
        }
    }
    events
}

const WITHOUT_DELETES: usize = 3;
