//! Brings what one remote's follower hears to the model, in its turn and at the pace it may have.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use kvstore::follower::Update;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use topology::id::ClusterName;

use super::Heard;
use crate::model::Input;

/// Changes of one remote that are taken in before it is another's turn: some milliseconds of work.
const CHANGES_PER_TURN_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Forwarder {
    remote: ClusterName,
    generation: u64,
    pace: Option<Pace>,
}

/// How fast changes may come. What is faster waits, and the remote's store with it.
#[derive(Debug)]
struct Pace {
    per_second: NonZeroU32,
    /// When everything so far would have come at an even pace.
    due: Instant,
}

impl Forwarder {
    pub(super) fn new(
        remote: ClusterName,
        generation: u64,
        changes_per_second: Option<NonZeroU32>,
    ) -> Self {
        let pace = |per_second| Pace {
            per_second,
            due: Instant::now(),
        };
        Self {
            remote,
            generation,
            pace: changes_per_second.map(pace),
        }
    }

    /// One update of this remote at a time waits for the model: a remote that says a lot stands in
    /// line like the others.
    pub(super) async fn run(
        mut self,
        mut heard: mpsc::Receiver<Update>,
        updates: mpsc::Sender<Heard>,
    ) {
        let turns = Arc::new(Semaphore::new(1));
        let mut next = heard.recv().await;
        while let Some(update) = next.take() {
            // Nobody closes it.
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                return;
            };
            let (update, following) = gather(update, &mut heard);
            if let (Some(pace), Update::Changed(changes)) = (&mut self.pace, &update) {
                pace.wait_for(changes.len()).await;
            }
            let input = Input::Said {
                remote: self.remote.clone(),
                generation: self.generation,
                update,
            };
            if updates.send(Heard { input, turn }).await.is_err() {
                return;
            }
            next = match following {
                Some(update) => Some(update),
                None => heard.recv().await,
            };
        }
    }
}

/// Adds the changes that wait already, and returns what else came after them.
fn gather(update: Update, heard: &mut mpsc::Receiver<Update>) -> (Update, Option<Update>) {
    let Update::Changed(mut changes) = update else {
        return (update, None);
    };
    while changes.len() < CHANGES_PER_TURN_MAX {
        match heard.try_recv() {
            Ok(Update::Changed(more)) => changes.extend(more),
            Ok(other) => return (Update::Changed(changes), Some(other)),
            Err(_) => break,
        }
    }
    (Update::Changed(changes), None)
}

impl Pace {
    async fn wait_for(&mut self, changes: usize) {
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        let span = Duration::from_secs(1).saturating_mul(changes) / self.per_second.get();
        // A second's worth may come at once.
        let earliest = Instant::now() - Duration::from_secs(1);
        self.due = self.due.max(earliest) + span;
        sleep_until(self.due).await;
    }
}
