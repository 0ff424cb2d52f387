//! Follows what the node agents of our own cluster write into its store.

use kvstore::follower::{Follower, Options, Update};
use kvstore::store::Store;
use tokio::sync::mpsc;
use topology::record::AGENTS;

/// Updates on their way; more wait in the store.
const UPDATES_MAX: usize = 4;

/// Follows in a task of its own, until nobody receives any more.
pub fn spawn(store: Store) -> mpsc::Receiver<Update> {
    let follower = Follower::new(store, vec![AGENTS.to_owned()], Options::default());
    let (sender, updates) = mpsc::channel(UPDATES_MAX);
    tokio::spawn(follower.run(sender));
    updates
}
