//! What requests and the committer share: the store, and which of its changes are settled.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::mvcc::{Change, Store};
use crate::storage::StorageError;

/// Keys and values on their way to the disk. Beyond it requests wait, so that a slow disk costs time
/// and not memory.
const PENDING_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signals the committer that there is something to do.
    wake: Condvar,
    settled: watch::Sender<Settled>,
}

#[derive(Debug)]
struct State {
    store: Store,
    pending: Vec<Change>,
    pending_bytes: u64,
    /// Counts the changes of this process.
    sequence: u64,
    defragmentations: Vec<oneshot::Sender<()>>,
    is_over: bool,
}

/// How far the committer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    /// The changes up to this one are on disk.
    sequence: u64,
    pub(super) failure: Option<StorageError>,
}

/// What the committer has to do next.
#[derive(Debug)]
pub(super) enum Work {
    Defragment(Vec<oneshot::Sender<()>>),
    Write(Group),
}

/// Changes to write together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) changes: Vec<Change>,
    /// Of the store after them.
    pub(super) revision: i64,
    sequence: u64,
}

impl Shared {
    pub(super) fn new(mut store: Store, is_durable: bool) -> Self {
        if is_durable {
            store.record_changes();
        }
        Self {
            state: Mutex::new(State {
                store,
                pending: Vec::new(),
                pending_bytes: 0,
                sequence: 0,
                defragmentations: Vec::new(),
                is_over: false,
            }),
            wake: Condvar::new(),
            settled: watch::Sender::default(),
        }
    }

    /// Runs `action` alone on the store.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        let mut state = self.lock();
        let result = action(&mut state.store);
        if state.collect() {
            self.wake.notify_one();
        }
        result
    }

    /// Waits until the changes so far are on disk.
    pub(super) async fn settled(&self) -> Result<(), StorageError> {
        let sequence = self.lock().sequence;
        let mut settled = self.settled.subscribe();
        let reached = settled
            .wait_for(|it| sequence <= it.sequence || it.failure.is_some())
            .await;
        match reached.ok().and_then(|it| it.failure.clone()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    pub(super) async fn admitted(&self) {
        let mut settled = self.settled.subscribe();
        while PENDING_BYTES_MAX < self.lock().pending_bytes {
            if settled.changed().await.is_err() || settled.borrow().failure.is_some() {
                return;
            }
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Settled> {
        self.settled.subscribe()
    }

    pub(super) fn ask_for_defragmentation(&self, done: oneshot::Sender<()>) {
        self.lock().defragmentations.push(done);
        self.wake.notify_one();
    }

    /// Waits for work; `None` when there will be no more.
    pub(super) fn next_work(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if !state.pending.is_empty() {
                state.pending_bytes = 0;
                return Some(Work::Write(Group {
                    changes: std::mem::take(&mut state.pending),
                    revision: state.store.revision(),
                    sequence: state.sequence,
                }));
            }
            if !state.defragmentations.is_empty() {
                let waiting = std::mem::take(&mut state.defragmentations);
                return Some(Work::Defragment(waiting));
            }
            if state.is_over {
                return None;
            }
            let woken = self.wake.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn settle(&self, group: &Group) {
        self.settled
            .send_modify(|settled| settled.sequence = group.sequence);
    }

    pub(super) fn fail(&self, failure: StorageError) {
        self.settled
            .send_modify(|settled| settled.failure = Some(failure));
    }

    /// The committer may end once everything is written.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside an action is a bug in it, and no reason to lose what the store holds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes what the last action changed; false if that is nothing.
    fn collect(&mut self) -> bool {
        let changes = self.store.take_changes();
        if changes.is_empty() {
            return false;
        }
        self.sequence += 1;
        self.pending_bytes += changes.iter().map(bytes).sum::<u64>();
        self.pending.extend(changes);
        true
    }
}

fn bytes(change: &Change) -> u64 {
    match change {
        Change::Written(entry) => (entry.key.len() + entry.value.len()) as u64,
        Change::AuthState(state) => state.len() as u64,
        Change::Alarms(_)
        | Change::Compacted(_)
        | Change::Forgotten(_)
        | Change::LeaseEnded(_)
        | Change::LeaseGranted { .. } => 0,
    }
}
