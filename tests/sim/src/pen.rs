//! Writes one part of the own store as `kvstore::writer` does: puts from the last key to the first, then
//! deletes, then what announces the rest; under a lease, and again whatever was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Millis;
use crate::store::{Store, Table};

/// Short, so that leases end within a simulation.
const LEASE_TTL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Pen {
    /// Whoever writes beside it has leases of its own.
    number: i64,
    owned: Vec<String>,
    last: Vec<String>,
    /// Nothing is deleted before it is known.
    desired: Option<Table>,
    leases: i64,
    lease: i64,
    /// Whether the last look found nothing to write, and in which state of the store.
    pub(crate) is_idle: bool,
    idle_at: (u64, i64),
}

impl Pen {
    pub(crate) fn new(number: i64, owned: Vec<String>, last: Vec<String>) -> Self {
        Self {
            number,
            owned,
            last,
            desired: None,
            leases: 0,
            lease: 0,
            is_idle: false,
            idle_at: (0, 0),
        }
    }

    pub(crate) fn set(&mut self, table: Table) {
        self.is_idle = false;
        self.desired = Some(table);
    }

    pub(crate) fn put(&mut self, key: String, value: Vec<u8>) {
        self.is_idle = false;
        self.desired.get_or_insert_default().insert(key, value);
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.is_idle = false;
        if let Some(desired) = &mut self.desired {
            desired.remove(key);
        }
    }

    /// Writes at most `operations` of what is missing, and says whether anything was.
    pub(crate) fn write(&mut self, store: &mut Store, operations: usize, now: Millis) -> bool {
        let Some(desired) = &self.desired else {
            return false;
        };
        if !store.keep_alive(self.lease, now) {
            self.leases += 1;
            self.lease = self.number * 1_000_000 + self.leases;
            // The id is new, so the store cannot refuse it.
            store.grant(self.lease, LEASE_TTL, now);
        }
        let state = (store.instance, store.revision());
        if self.is_idle && self.idle_at == state {
            return false;
        }
        let mut present = Table::new();
        let mut leases = BTreeMap::new();
        for name in &self.owned {
            present.extend(store.table(name));
            leases.extend(store.leases(name));
        }
        let is_last = |key: &str| self.last.iter().any(|it| key.starts_with(it.as_str()));
        let mut puts: Vec<(String, Vec<u8>)> = desired
            .iter()
            .filter(|(key, value)| {
                present.get(*key) != Some(value) || leases.get(*key) != Some(&self.lease)
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .rev()
            .collect();
        puts.sort_by_key(|(key, _)| is_last(key));
        let firsts = puts.iter().filter(|(key, _)| !is_last(key)).count();
        let mut deletes: Vec<String> = present
            .into_keys()
            .rev()
            .filter(|it| !desired.contains_key(it))
            .collect();
        if 0 < firsts {
            puts.truncate(firsts.min(operations));
            deletes.clear();
        } else if !deletes.is_empty() {
            puts.clear();
            deletes.truncate(operations);
        } else {
            puts.truncate(operations);
        }
        self.is_idle = puts.is_empty() && deletes.is_empty();
        if self.is_idle {
            self.idle_at = state;
            return false;
        }
        store.write(puts, deletes, self.lease);
        true
    }
}
