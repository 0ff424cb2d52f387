//! Counts, by name, what is still outstanding: readiness waits for one such set, the drain for
//! another.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The set of names that somebody still holds.
///
/// It is as large as the number of different names, and names come from the code, not from outside.
#[derive(Clone, Debug)]
pub(crate) struct Holds {
    counts: watch::Sender<BTreeMap<Arc<str>, usize>>,
}

/// Keeps its name in the set until it is dropped. A clone holds the same name once more.
#[derive(Debug)]
pub(crate) struct Hold {
    holds: Holds,
    name: Arc<str>,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self {
            counts: watch::Sender::new(BTreeMap::new()),
        }
    }

    pub(crate) fn hold(&self, name: impl Into<Arc<str>>) -> Hold {
        let name = name.into();
        self.counts.send_modify(|counts| {
            *counts.entry(Arc::clone(&name)).or_default() += 1;
        });
        Hold {
            holds: self.clone(),
            name,
        }
    }

    /// The names still held, in alphabetical order, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        self.counts
            .borrow()
            .keys()
            .map(|it| it.to_string())
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.borrow().is_empty()
    }

    /// Returns once nothing is held.
    pub(crate) async fn emptied(&self) {
        self.counts
            .subscribe()
            .wait_for(BTreeMap::is_empty)
            .await
            .expect("the sender is ours");
    }

    fn release(&self, name: &str) {
        self.counts.send_modify(|counts| {
            if let Some(count) = counts.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(name);
                }
            }
        });
    }
}

impl Hold {
    /// Another name in the same set.
    pub(crate) fn beside(&self, name: impl Into<Arc<str>>) -> Self {
        self.holds.hold(name)
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.beside(Arc::clone(&self.name))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.release(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_holder_until_its_last_hold_is_dropped() {
        let holds = Holds::new();
        let udp = holds.hold("udp");
        let second = udp.clone();
        let tcp = udp.beside("tcp");
        assert_eq!(holds.names(), ["tcp", "udp"]);

        drop(udp);
        assert_eq!(holds.names(), ["tcp", "udp"]);

        drop(tcp);
        drop(second);
        assert!(holds.is_empty());
    }
}
