//! A value that tasks wait for. They are woken in the order in which they came: those of a
//! `tokio::sync::watch` are woken in any, and a seed would not give one run.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Handles to one value; [`close`](Self::close) ends all waiting.
#[derive(Clone, Debug)]
pub(crate) struct Signal<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    /// `None` once it is closed.
    value: Mutex<Option<T>>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: Mutex::new(Some(value)),
            changed: Notify::new(),
        }))
    }

    /// `change` tells whether there is anything new for those who wait.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        if value.as_mut().is_some_and(change) {
            self.0.changed.notify_waiters();
        }
    }

    pub(crate) fn close(&self) {
        let mut value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        *value = None;
        self.0.changed.notify_waiters();
    }

    /// The value as soon as it is as wanted, or `None` once it is closed.
    pub(crate) async fn wait_for(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let value = self.now()?;
            if is_wanted(&value) {
                return Some(value);
            }
            changed.await;
        }
    }

    fn now(&self) -> Option<T> {
        let value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        value.clone()
    }
}
