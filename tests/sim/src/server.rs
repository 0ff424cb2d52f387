//! One life of a cluster's store: the real one, with somebody who watches all of it.

use etcd_client::{Client, EventType, WatchOptions};
use kvstore::server::{Local, StorageOptions};
use kvstore::store::{Link, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Millis;
use crate::shown::Seen;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) life: u64,
    pub(crate) local: Local,
    /// Ends with it.
    _watcher: JoinSet<()>,
}

/// Who gets to know what stores show, and since when time is counted.
#[derive(Clone, Debug)]
pub(crate) struct Audience {
    pub(crate) seen: mpsc::Sender<Seen>,
    pub(crate) origin: Instant,
}

impl Server {
    pub(crate) fn start(site: usize, life: u64, audience: Audience) -> Self {
        let local = Local::start("sim", StorageOptions::default()).expect("nothing is on disk");
        let mut watcher = JoinSet::new();
        watcher.spawn(watch(local.clone(), site, life, audience));
        Self {
            life,
            local,
            _watcher: watcher,
        }
    }

    /// Forgets what happened up to `revision`.
    pub(crate) async fn compact(&self, revision: i64) {
        // Twice the same revision is refused, and means nothing.
        let _ = self.client().await.compact(revision, None).await;
    }

    pub(crate) async fn put(&self, key: &str, value: Vec<u8>) {
        let put = self.client().await.put(key, value, None).await;
        put.expect("a local store answers");
    }

    /// Ends some lease, as an administrator may; false if there is none.
    pub(crate) async fn revoke(&self, choice: usize) -> bool {
        let mut client = self.client().await;
        let leases = client.leases().await.expect("a local store answers");
        let leases = leases.leases();
        let Some(lease) = leases.get(choice % leases.len().max(1)) else {
            return false;
        };
        client.lease_revoke(lease.id()).await.is_ok()
    }

    async fn client(&self) -> Client {
        connect(&self.local).await
    }
}

async fn connect(local: &Local) -> Client {
    let connecting = Store::Local(local.clone()).connect(&Link::default()).await;
    connecting.expect("a local store answers")
}

/// Tells every revision, from the first on.
async fn watch(local: Local, site: usize, life: u64, audience: Audience) {
    let everything = WatchOptions::new().with_from_key().with_start_revision(2);
    let mut client = connect(&local).await;
    let stream = client.watch([0], Some(everything)).await;
    let mut stream = stream.expect("a local store answers");
    while let Ok(Some(message)) = stream.message().await {
        let cluster_id = message.header().map_or(0, |it| it.cluster_id());
        let at: Millis = u64::try_from(audience.origin.elapsed().as_millis()).expect("it is short");
        for events in message.events().chunk_by(|a, b| revision(a) == revision(b)) {
            let changes = events.iter().filter_map(|event| {
                let kv = event.kv()?;
                let is_put = event.event_type() == EventType::Put;
                let value = is_put.then(|| kv.value().to_vec());
                Some((kv.key_str().ok()?.to_owned(), value))
            });
            let seen = Seen {
                site,
                life,
                cluster_id,
                revision: revision(&events[0]),
                at,
                changes: changes.collect(),
            };
            audience
                .seen
                .try_send(seen)
                .expect("all is seen in each step");
        }
    }
}

fn revision(event: &etcd_client::Event) -> i64 {
    event.kv().map_or(0, |it| it.mod_revision())
}
