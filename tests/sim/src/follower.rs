//! Reads a remote cluster's store as `kvstore::follower` does: lists, watches, resumes, and lists again
//! when what happened in between is forgotten.

use std::collections::VecDeque;

use kvstore::follower::{Change, Record, Update};
use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::Millis;
use crate::store::Store;

/// What the way to the remote's store is like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// Somebody answers, and says no: the process is down, and its host is not.
    Refused,
    /// Nothing comes back.
    Silent,
    Up,
}

/// How long until silence counts as a loss, as `kvstore::store::Link` has it.
const SILENCE: Millis = 2_000;

#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) generation: u64,
    prefixes: Vec<String>,
    /// Whether the store permits only single prefixes, so that each has a watch of its own.
    apart: bool,
    /// The store's instance, and for each prefix the first revision that was not seen.
    position: Option<(u64, Vec<i64>)>,
    connected: bool,
    told_lost: bool,
    silent_since: Option<Millis>,
    retry_at: Millis,
    /// Updates on their way, each with the time at which it arrives; in order, as a stream is.
    under_way: VecDeque<(Millis, Update)>,
}

impl Follower {
    pub(crate) fn new(generation: u64, prefixes: Vec<String>, apart: bool) -> Self {
        Self {
            generation,
            prefixes,
            apart,
            position: None,
            connected: false,
            told_lost: false,
            silent_since: None,
            retry_at: 0,
            under_way: VecDeque::new(),
        }
    }

    /// Reads what there is to read; `store` is absent while nobody serves it.
    pub(crate) fn read(
        &mut self,
        link: Link,
        store: Option<&Store>,
        now: Millis,
        rng: &mut SmallRng,
    ) {
        let arrival = now + rng.random_range(1..200);
        match (link, store) {
            (Link::Up, Some(store)) => {
                self.silent_since = None;
                if self.connected && self.is_other(store) {
                    self.lose("the connection was closed", false, arrival);
                }
                if self.connected || self.retry_at <= now {
                    self.session(store, arrival, rng);
                }
            }
            (Link::Silent, _) => {
                let since = *self.silent_since.get_or_insert(now);
                if since + SILENCE <= now {
                    self.lose("silence", true, arrival);
                }
            }
            (Link::Refused, _) | (Link::Up, None) => {
                self.silent_since = None;
                self.lose("refused", false, arrival);
                self.retry_at = now + rng.random_range(50..400);
            }
        }
    }

    /// The updates that have arrived by `now`.
    pub(crate) fn arrived(&mut self, now: Millis) -> Vec<Update> {
        let count = self.under_way.iter().take_while(|it| it.0 <= now).count();
        self.under_way.drain(..count).map(|it| it.1).collect()
    }

    /// Whether everything in `store` was read and has arrived.
    pub(crate) fn is_current(&self, store: &Store) -> bool {
        let is_seen = |next: &i64| store.revision() < *next;
        self.under_way.is_empty()
            && self.connected
            && self.position.as_ref().is_some_and(|(instance, next)| {
                *instance == store.instance && next.iter().any(is_seen)
            })
    }

    fn session(&mut self, store: &Store, arrival: Millis, rng: &mut SmallRng) {
        if !std::mem::replace(&mut self.connected, true) {
            self.told_lost = false;
            let cluster_id = store.instance;
            self.send(arrival, Update::Connected { cluster_id });
            let resumes = !self.is_other(store);
            if !resumes {
                self.position = None;
            }
        }
        match self.position.take() {
            None => self.list(store, arrival),
            Some((_, next)) => self.watch(store, next, arrival, rng),
        }
    }

    fn list(&mut self, store: &Store, arrival: Millis) {
        let records = self.prefixes.iter().flat_map(|it| store.table(it));
        let records = records.map(|(key, value)| Record {
            key,
            value,
            mod_revision: store.revision(),
        });
        let records = records.collect();
        self.send(arrival, Update::Listed(records));
        let next = vec![store.revision() + 1; self.prefixes.len()];
        self.position = Some((store.instance, next));
    }

    fn watch(&mut self, store: &Store, mut next: Vec<i64>, arrival: Millis, rng: &mut SmallRng) {
        let mut events = Vec::new();
        for (prefix, next) in self.prefixes.iter().zip(&mut next) {
            let Some(seen) = store.events(prefix, *next) else {
                // Forgotten: only a list helps.
                return self.list(store, arrival);
            };
            *next = store.revision() + 1;
            events.extend(seen);
        }
        if !self.apart {
            events.sort_by_key(|it| it.2);
        }
        let changes: Vec<Change> = events.into_iter().map(change).collect();
        if !changes.is_empty() {
            if rng.random_bool(0.05) {
                self.send(arrival, Update::Changed(changes.clone()));
            }
            self.send(arrival, Update::Changed(changes));
        }
        self.position = Some((store.instance, next));
    }

    fn lose(&mut self, reason: &str, silent: bool, arrival: Millis) {
        self.connected = false;
        if !std::mem::replace(&mut self.told_lost, true) {
            let reason = reason.to_owned();
            self.send(arrival, Update::Lost { reason, silent });
        }
    }

    /// Whether `store` is another than the one that was seen before, or an older state of it.
    fn is_other(&self, store: &Store) -> bool {
        self.position.as_ref().is_some_and(|(instance, next)| {
            *instance != store.instance || next.iter().any(|it| store.revision() + 1 < *it)
        })
    }

    fn send(&mut self, arrival: Millis, update: Update) {
        let last = self.under_way.back().map_or(0, |it| it.0);
        self.under_way.push_back((arrival.max(last), update));
    }
}

fn change((key, value, mod_revision): crate::store::Event) -> Change {
    match value {
        Some(value) => Change::Put(Record {
            key,
            value,
            mod_revision,
        }),
        None => Change::Delete { key, mod_revision },
    }
}
