//! Reads back what a former life of this process left in our store, and objects do not say: what it
//! published, and what node agents told it.

use kvstore::follower::{self, Follower, Record, Update};
use kvstore::store::Store;
use tokio::sync::{mpsc, oneshot};
use topology::id::ClusterName;
use topology::record::{AGENTS, Key, ServiceExport};

use crate::objects::ObjectName;
use crate::publish::Remembered;

/// Identities and exports in the open, and those that only some peers see.
const PREFIXES: [&str; 3] = [
    "cilium/state/identities/v1/id/",
    "cilium/state/serviceexports/v1/",
    "causeway/export/",
];

/// One list is all that is wanted.
const UPDATES_MAX: usize = 1;

/// Reads in a task of its own, for as long as it takes until the store answers.
pub fn spawn(store: Store, own: ClusterName) -> oneshot::Receiver<Remembered> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let mut remembered = Remembered::default();
        for prefix in PREFIXES {
            for record in list(store.clone(), prefix).await {
                read(&record, &own, &mut remembered);
            }
        }
        remembered.agents = list(store, AGENTS).await;
        // Who asked may have left.
        let _ = sender.send(remembered);
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
        biased;
        records = listed => records,
        () = follower.run(sender) => Vec::new(),
    }
}

fn read(record: &Record, own: &ClusterName, remembered: &mut Remembered) {
    let exported = record.key.strip_prefix("causeway/export/");
    let exported = exported.and_then(|it| it.split_once('/'));
    let key = exported.map_or(&*record.key, |(_, key)| key);
    match Key::parse(key, own) {
        Ok(Some(Key::Identity(_, number))) => {
            if let Ok(labels) = String::from_utf8(record.value.to_vec()) {
                remembered.identities.push((number.0, labels));
            }
        }
        Ok(Some(Key::ServiceExport(cluster, name))) if cluster == *own => {
            if let Ok(export) = serde_json::from_slice::<ServiceExport>(&record.value) {
                let name = ObjectName::new(name.namespace(), name.name());
                let since = export.export_creation_timestamp;
                remembered.exports.push((name, since));
            }
        }
        Ok(_) | Err(_) => (),
    }
}
