//! Decides whether the process is ready: it is once nothing that it waits for is outstanding.

use std::sync::Arc;

use crate::hold::{Hold, Holds};

/// The set of things that the process waits for before it counts as ready.
///
/// Hand each starting task a [`guard`](Self::guard) before the admin endpoint is served, and forget
/// about it: whatever happens to the task, readiness cannot be reported too early.
#[derive(Clone, Debug)]
pub struct Readiness {
    awaited: Holds,
}

/// Keeps the process unready until it is dropped.
#[derive(Debug)]
#[must_use = "a guard that is dropped at once delays nothing"]
pub struct ReadinessGuard {
    #[expect(dead_code, reason = "it is held, and what it does is being dropped")]
    hold: Hold,
}

impl Readiness {
    pub fn new() -> Self {
        Self {
            awaited: Holds::new(),
        }
    }

    /// Delays readiness until the guard is dropped. `what` is the state that is waited for, as
    /// `/ready` shows it: "the mesh is synced".
    pub fn guard(&self, what: impl Into<Arc<str>>) -> ReadinessGuard {
        ReadinessGuard {
            hold: self.awaited.hold(what),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.awaited.is_empty()
    }

    /// What readiness waits for, in alphabetical order; empty once the process is ready.
    pub fn waiting(&self) -> Vec<String> {
        self.awaited.names()
    }

    /// Returns once the process is ready.
    pub async fn ready(&self) {
        self.awaited.emptied().await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_every_guard() {
        let readiness = Readiness::new();
        let synced = readiness.guard("the mesh is synced");
        let attached = readiness.guard(String::from("the programs are attached"));
        assert_eq!(
            readiness.waiting(),
            ["the mesh is synced", "the programs are attached"]
        );

        drop(attached);
        assert!(!readiness.is_ready());

        drop(synced);
        readiness.ready().await;
        assert_eq!(readiness.waiting(), Vec::<String>::new());
    }

    #[test]
    fn is_lost_again_to_a_guard_handed_out_later() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());

        let ending = readiness.guard("the process is ending");

        assert!(!readiness.is_ready());
        drop(ending);
    }
}
