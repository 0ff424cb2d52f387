//! Brings what one remote's follower hears to the model, in its turn and at the pace it may have.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use kvstore::follower::Update;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use topology::id::ClusterName;
use topology::report::ThrottleReport;

use super::Heard;
use crate::journal::Throttle;
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
    /// Since when, in milliseconds since 1970, changes have to wait.
    held_since: Option<u64>,
    shown: watch::Sender<Throttle>,
}

/// Changes that come so soon after others that had to wait belong to the same haste.
const PAUSE: Duration = Duration::from_secs(1);

impl Forwarder {
    /// Also returns where it shows how changes are held back.
    pub(super) fn new(
        remote: ClusterName,
        generation: u64,
        changes_per_second: Option<NonZeroU32>,
    ) -> (Self, watch::Receiver<Throttle>) {
        let (shown, throttle) = watch::channel(Throttle::default());
        let forwarder = Self {
            remote,
            generation,
            pace: changes_per_second.map(|it| Pace::new(it, shown)),
        };
        (forwarder, throttle)
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
    fn new(per_second: NonZeroU32, shown: watch::Sender<Throttle>) -> Self {
        Self {
            per_second,
            due: Instant::now(),
            held_since: None,
            shown,
        }
    }

    async fn wait_for(&mut self, changes: usize) {
        let now = Instant::now();
        if self.due + PAUSE < now {
            self.held_since = None;
        }
        // A second's worth may come at once.
        let earliest = now - Duration::from_secs(1);
        self.due = self.due.max(earliest) + self.span(changes);
        if self.due <= now {
            return;
        }
        let since = *self
            .held_since
            .get_or_insert_with(|| Clock.unix_milliseconds());
        let report = ThrottleReport {
            since,
            changes_waiting: changes,
            changes_per_second: self.per_second.get(),
        };
        self.shown.send_modify(|it| it.now = Some(report));
        sleep_until(self.due).await;
        self.shown.send_modify(|it| {
            it.now = None;
            it.total += now.elapsed();
        });
    }

    /// How long so many changes take at an even pace.
    fn span(&self, changes: usize) -> Duration {
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        Duration::from_secs(1).saturating_mul(changes) / self.per_second.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shows_what_it_holds_back_and_for_how_long() {
        let (shown, mut throttle) = watch::channel(Throttle::default());
        let mut pace = Pace::new(NonZeroU32::new(100).unwrap(), shown);

        let waiting = tokio::spawn(async move {
            pace.wait_for(20).await;
            pace
        });
        let held = throttle.wait_for(|it| it.now.is_some()).await.unwrap().now;
        let held = held.unwrap();
        assert_eq!((held.changes_waiting, held.changes_per_second), (20, 100));

        let mut pace = waiting.await.unwrap();
        let after = *throttle.borrow();
        assert_eq!(after.now, None);
        assert!(Duration::ZERO < after.total, "{after:?}");

        // A long pause earns a second's worth.
        pace.due = Instant::now() - PAUSE - PAUSE;
        pace.wait_for(100).await;
        assert_eq!(*throttle.borrow(), after);
        assert_eq!(pace.held_since, None);
    }
}
