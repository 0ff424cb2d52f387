//! Ends a process in an orderly way: one trigger tells many watchers to finish, and waits for them.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use crate::hold::{Hold, Holds};

/// What a task holds while it has work that must not be cut off.
///
/// The task waits for [`started`](Self::started), finishes what it does, and drops its `Drain`. The
/// process ends once all of them are dropped, or at the deadline.
#[derive(Clone, Debug)]
pub struct Drain {
    started: watch::Receiver<bool>,
    hold: Hold,
}

/// Starts the drain and waits for its end. [`run`](crate::run) holds the one of the process.
#[derive(Debug)]
pub struct DrainTrigger {
    start: watch::Sender<bool>,
    watchers: Holds,
}

/// Some watchers outlived the deadline.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not everything ended within {} s: still running are {}", .deadline.as_secs_f32(), .names.join(", "))]
pub struct Unfinished {
    pub deadline: Duration,
    /// Who still runs, in alphabetical order.
    pub names: Vec<String>,
}

impl Drain {
    /// A drain that has not started, with its first watcher, which is called `name`.
    pub fn new(name: impl Into<Arc<str>>) -> (DrainTrigger, Self) {
        let (start, started) = watch::channel(false);
        let watchers = Holds::new();
        let hold = watchers.hold(name);
        (DrainTrigger { start, watchers }, Self { started, hold })
    }

    /// A watcher under a name of its own, so that an overdue task can be told from the others.
    pub fn named(&self, name: impl Into<Arc<str>>) -> Self {
        Self {
            started: self.started.clone(),
            hold: self.hold.beside(name),
        }
    }

    /// Returns once the drain has started, or its trigger is gone. May be cancelled and called
    /// again, so it fits into a `select!`.
    pub async fn started(&mut self) {
        // The error says that nobody can start the drain any more, which is the end as well.
        let _ = self.started.wait_for(|it| *it).await;
    }

    pub fn has_started(&self) -> bool {
        *self.started.borrow()
    }
}

impl DrainTrigger {
    pub fn start(&self) {
        self.start.send_replace(true);
    }

    /// Returns once every watcher is dropped, or names those left at the deadline.
    pub async fn completed(&self, deadline: Duration) -> Result<(), Unfinished> {
        tokio::time::timeout(deadline, self.watchers.emptied())
            .await
            .map_err(|_| self.unfinished(deadline))
    }

    pub(crate) fn unfinished(&self, deadline: Duration) -> Unfinished {
        Unfinished {
            deadline,
            names: self.watchers.names(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn completes_only_after_every_watcher_has_finished() {
        let (trigger, mut main) = Drain::new("main");
        let connection = main.named("connection");
        let mut completed = pin!(trigger.completed(HANG));
        assert!(!main.has_started());

        trigger.start();
        main.started().await;
        drop(main);
        assert!(is_pending(&mut completed).await);

        drop(connection);
        completed.await.unwrap();
    }

    #[tokio::test]
    async fn names_those_that_outlive_the_deadline() {
        let (trigger, main) = Drain::new("main");
        let listeners = (main.named("udp listener"), main.named("udp listener"));
        drop(main);
        trigger.start();

        let error = trigger
            .completed(Duration::from_millis(5))
            .await
            .unwrap_err();

        assert_eq!(error.names, ["udp listener"]);
        assert_eq!(
            error.to_string(),
            "not everything ended within 0.005 s: still running are udp listener"
        );
        drop(listeners);
    }

    #[tokio::test]
    async fn starts_for_watchers_whose_trigger_is_gone() {
        let (trigger, mut main) = Drain::new("main");
        drop(trigger);

        main.started().await;
    }

    /// Long enough that only a hang reaches it.
    const HANG: Duration = Duration::from_secs(60);

    async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = tokio::task::yield_now() => true,
        }
    }
}
