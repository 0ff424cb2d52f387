//! A door: carries this authority's verdicts to the mesh's store, and from it those of others and
//! what is drained.

use kvstore::follower::{self, Follower, Update};
use kvstore::store::Store;
use kvstore::writer::{Options, Writer};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::drain;
use crate::shared_health::Vantage;
use crate::shared_health::publication::Table;
use crate::shared_health::quorum::LEASE_TTL;
use crate::shared_health::record;

/// Updates of the store that wait to be applied; the follower waits beyond that.
const UPDATES_MAX: usize = 64;

/// By a follower of its own: a store that does not permit this one is no reason to lose the names of
/// services.
pub(super) struct Share {
    updates: mpsc::Receiver<Update>,
    wanted: watch::Sender<Table>,
    writing: JoinHandle<()>,
}

impl Share {
    /// Starts to listen, and to write what is published under the name `vantage`.
    pub(super) fn spawn(store: Store, vantage: &Vantage) -> Self {
        let (sender, updates) = mpsc::channel(UPDATES_MAX);
        let prefixes = vec![drain::PREFIX.to_owned(), record::PREFIX.to_owned()];
        let follower = Follower::new(store.clone(), prefixes, follower::Options::default());
        tokio::spawn(follower.run(sender));

        let options = Options {
            owned_prefixes: vec![format!("{}{vantage}/", record::PREFIX)],
            lease_ttl: LEASE_TTL,
            ..Options::default()
        };
        let (wanted, table) = watch::channel(Table::default());
        let writing = tokio::spawn(write(Writer::spawn(store, options), table));
        Self {
            updates,
            wanted,
            writing,
        }
    }

    /// What the store says next; the follower lives as long as somebody listens.
    pub(super) async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }

    /// Puts `table` in place of what was published before. Never waits: of several that come while the
    /// store is slow, the last is written.
    pub(super) fn publish(&self, table: Table) {
        self.wanted.send_replace(table);
    }

    /// Takes everything back, so that nobody counts the votes of who is gone.
    pub(super) async fn end(self) {
        drop(self.wanted);
        // It ends within the time that a withdrawal may take.
        let _ = self.writing.await;
    }
}

/// Writes what is wanted until nobody wants anything any more.
async fn write(mut writer: Writer, mut wanted: watch::Receiver<Table>) {
    while wanted.changed().await.is_ok() {
        let table = wanted.borrow_and_update().clone();
        writer.set(table).await;
    }
    writer.withdraw().await;
}
