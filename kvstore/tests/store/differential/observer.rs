//! Watches of every kind on one stream, read all the time.

use etcd_client::proto::PbEvent;
use etcd_client::{Client, WatchFilterType, WatchOptions, WatchRequestSender, WatchResponseStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::FINISH;
use super::command::{LAST_KEY, MARK_KEY};
use crate::support::HANG;

pub(super) struct Observer {
    /// Kept, as its end would end the watches.
    _requests: WatchRequestSender,
    /// How many marks every watch has passed on.
    marks: watch::Receiver<usize>,
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
        let (seen, marks) = watch::channel(0);
        Self {
            _requests: requests,
            marks,
            events: tokio::spawn(collect(responses, count, seen)),
        }
    }

    /// Waits until every watch has passed on so many marks, and so everything before them.
    ///
    /// Asking etcd 3.4 for progress would not do: it answers ahead of watches that lag behind.
    pub(super) async fn catch_up(&mut self, marks: usize) {
        let wait = self.marks.wait_for(|it| marks <= *it);
        timeout(HANG, wait).await.expect("a watch lags").unwrap();
    }

    /// Every watch's events, up to the last.
    pub(super) async fn finish(self) -> Vec<Vec<PbEvent>> {
        let Self {
            _requests, events, ..
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
    marks: watch::Sender<usize>,
) -> Vec<Vec<PbEvent>> {
    let mut events = vec![Vec::new(); watches];
    let mut marked = vec![0; watches];
    let mut open = watches;
    while 0 < open {
        let response = responses.message().await.unwrap().unwrap().0;
        assert!(!response.canceled, "{response:?}");
        let watch = usize::try_from(response.watch_id).unwrap();
        // Each mark is a put and a deletion; the watch without deletions sees the put only.
        let sign = i32::from(watch != WITHOUT_DELETES);
        let is = |event: &PbEvent, key: &str| {
            event.r#type == sign && event.kv.as_ref().is_some_and(|it| it.key == key.as_bytes())
        };
        let news = &response.events;
        marked[watch] += news.iter().filter(|it| is(it, MARK_KEY)).count();
        open -= usize::from(news.last().is_some_and(|it| is(it, LAST_KEY)));
        marks.send_replace(marked.iter().copied().min().unwrap());
        events[watch].extend(response.events);
    }
    events
}

const WITHOUT_DELETES: usize = 3;
