//! Reads back the identities that a former life of this process left in our store.

use kvstore::follower::{self, Follower, Record, Update};
use kvstore::store::Store;
use tokio::sync::{mpsc, oneshot};
use topology::id::ClusterName;
use topology::record::Key;

/// Identities in the open, and those that only some peers see.
const PREFIXES: [&str; 2] = ["cilium/state/identities/v1/id/", "causeway/export/"];

/// One list is all that is wanted.
const UPDATES_MAX: usize = 1;

/// Reads in a task of its own, for as long as it takes until the store answers.
pub fn spawn(store: Store, own: ClusterName) -> oneshot::Receiver<Vec<(u32, String)>> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let mut identities = Vec::new();
        for prefix in PREFIXES {
            let records = list(store.clone(), prefix).await;
            identities.extend(records.iter().filter_map(|it| identity(it, &own)));
        }
        // Who asked may have left.
        let _ = sender.send(identities);
    });
    receiver
}

async fn list(store: Store, prefix: &str) -> Vec<Record> {
    let prefixes = vec![prefix.to_owned()];
    let follower = Follower::new(store, prefixes, follower::Options::default());
    let (sender, mut updates) = mpsc::channel(UPDATES_MAX);
    let listed = async {
        loop {
            match updates.recv().await {
                Some(Update::Listed(records)) => return records,
                Some(_) => (),
                None => return Vec::new(),
            }
        }
    };
    tokio::select! {
        records = listed => records,
        () = follower.run(sender) => Vec::new(),
    }
}

/// A number with its labels; `None` for any other record.
fn identity(record: &Record, own: &ClusterName) -> Option<(u32, String)> {
    let mut key = &*record.key;
    if let Some(exported) = key.strip_prefix("causeway/export/") {
        key = exported.split_once('/')?.1;
    }
    let Ok(Some(Key::Identity(_, number))) = Key::parse(key, own) else {
        return None;
    };
    let labels = String::from_utf8(record.value.to_vec()).ok()?;
    Some((number.0, labels))
}
