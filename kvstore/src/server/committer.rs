//! Writes changes to the disk, as many at once as wait, and says when they are there.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::shared::{Shared, Work};
use crate::storage::Storage;

/// The thread that owns the file. It ends, with everything written, when this is dropped.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Raises `head` to each revision that is on disk.
    pub(super) fn start(storage: Storage, shared: Arc<Shared>, head: watch::Sender<i64>) -> Self {
        let theirs = Arc::clone(&shared);
        Self {
            shared,
            thread: Some(std::thread::spawn(move || run(storage, &theirs, &head))),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the server already.
            let _ = thread.join();
        }
    }
}

fn run(mut storage: Storage, shared: &Shared, head: &watch::Sender<i64>) {
    while let Some(work) = shared.next_work() {
        let result = match work {
            Work::Defragment(waiting) => storage.defragment().map(|()| {
                for done in waiting {
                    // Whoever does not wait any more needs no answer.
                    let _ = done.send(());
                }
            }),
            Work::Write(group) => storage.write(&group.changes).map(|()| {
                shared.settle(&group);
                head.send_if_modified(|head| {
                    std::mem::replace(head, group.revision) < group.revision
                });
            }),
        };
        if let Err(error) = result {
            let failure = storage.failure(&error);
            tracing::error!(%failure, "the store stops: it cannot keep what it is given");
            shared.fail(failure);
            return;
        }
    }
}
