//! Decides which writes bring the store to the desired table, and under which leases.

use std::collections::{BTreeMap, BTreeSet};

use topology::diff::{Change, diff};

/// etcd's default bound on the operations of a transaction.
pub(super) const BATCH_OPERATIONS_MAX: usize = 128;

/// Keys and values in one transaction: well below etcd's bound on a request, 1.5 MiB.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A larger record could never be written, so it is left out.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// The desired table, what is known of the store, and the difference.
#[derive(Debug)]
pub(super) struct Plan {
    last_prefixes: Vec<String>,
    keys_per_lease: usize,
    desired: BTreeMap<String, Vec<u8>>,
    /// False until a table was set: until then no key is known to be unwanted.
    known: bool,
    /// The lease of each key that the store holds; possibly one that is not ours.
    stored: BTreeMap<String, i64>,
    /// Our leases and how many keys each has.
    leases: BTreeMap<i64, usize>,
    dirty: Dirty,
    /// Keys whose value somebody else changed.
    contested: BTreeSet<String>,
}

/// Keys that differ, or may differ, between the desired table and the store.
#[derive(Debug, Default)]
struct Dirty {
    puts: BTreeSet<String>,
    deletes: BTreeSet<String>,
    last_puts: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new lease is needed.
    Grant,
    /// The store is as desired.
    Idle,
    /// One transaction.
    Write(Vec<Operation>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Delete {
        key: String,
    },
    Put {
        key: String,
        value: Vec<u8>,
        lease: i64,
    },
}

impl Plan {
    pub(super) fn new(last_prefixes: Vec<String>, keys_per_lease: usize) -> Self {
        Self {
            last_prefixes,
            keys_per_lease: keys_per_lease.max(1),
            desired: BTreeMap::new(),
            known: false,
            stored: BTreeMap::new(),
            leases: BTreeMap::new(),
            dirty: Dirty::default(),
            contested: BTreeSet::new(),
        }
    }

    pub(super) fn set(&mut self, mut desired: BTreeMap<String, Vec<u8>>) {
        desired.retain(|key, value| fits(key, value));
        let changed: Vec<String> = diff(&self.desired, &desired)
            .into_iter()
            .map(|change| match change {
                Change::Delete(key) | Change::Put(key, _) => key,
            })
            .collect();
        self.desired = desired;

        let first = !std::mem::replace(&mut self.known, true);
        let unwanted = if first { self.unwanted() } else { Vec::new() };
        for key in changed.into_iter().chain(unwanted) {
            self.mark(key);
        }
    }

    pub(super) fn apply(&mut self, changes: Vec<Change<String, Vec<u8>>>) {
        for change in changes {
            let key = match change {
                Change::Delete(key) => {
                    self.desired.remove(&key);
                    key
                }
                Change::Put(key, value) if fits(&key, &value) => {
                    self.desired.insert(key.clone(), value);
                    key
                }
                Change::Put(..) => continue,
            };
            self.mark(key);
        }
    }

    /// Puts first, then deletes, then the puts that announce the rest.
    pub(super) fn next(&self) -> Step {
        let mut batch = Batch::new(self);
        let puts = self.dirty.puts.iter().map(|key| (key, true));
        let deletes = self.dirty.deletes.iter().map(|key| (key, false));
        let last_puts = self.dirty.last_puts.iter().map(|key| (key, true));
        for (key, put) in puts.chain(deletes).chain(last_puts) {
            let added = match self.desired.get(key).filter(|_| put) {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            };
            match added {
                Added::Yes => (),
                Added::NeedsLease if batch.operations.is_empty() => return Step::Grant,
                Added::NeedsLease | Added::Full => break,
            }
        }
        if batch.operations.is_empty() {
            Step::Idle
        } else {
            Step::Write(batch.operations)
        }
    }

    pub(super) fn handle_granted(&mut self, lease: i64) {
        self.leases.insert(lease, 0);
    }

    pub(super) fn handle_written(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            match operation {
                Operation::Delete { key } => {
                    self.dirty.remove(&key);
                    self.release(&key);
                }
                Operation::Put { key, lease, .. } => {
                    self.dirty.remove(&key);
                    self.release(&key);
                    *self.leases.entry(lease).or_default() += 1;
                    self.stored.insert(key, lease);
                }
            }
        }
    }

    /// Takes in what a new connection found: the keys under the owned prefixes, each with its lease,
    /// and which of our leases are alive. Whatever is not certainly as desired is written again.
    pub(super) fn handle_found(&mut self, found: BTreeMap<String, i64>, alive: &BTreeSet<i64>) {
        self.leases = alive.iter().map(|lease| (*lease, 0)).collect();
        for lease in found.values() {
            if let Some(count) = self.leases.get_mut(lease) {
                *count += 1;
            }
        }
        let lost = self.desired.keys().filter(|key| {
            let lease = found.get(*key);
            !lease.is_some_and(|it| self.leases.contains_key(it))
        });
        let lost: Vec<String> = lost.cloned().collect();
        self.stored = found;

        for key in lost.into_iter().chain(self.unwanted()) {
            self.mark(key);
        }
    }

    /// Somebody else deleted `key`, or its lease ended.
    pub(super) fn handle_deleted(&mut self, key: &str) {
        self.release(key);
        self.dirty.deletes.remove(key);
        if self.desired.contains_key(key) {
            self.mark(key.to_owned());
        }
    }

    /// Somebody put `value` under `key`, maybe we. The answer waits for [`reassert`](Self::reassert).
    pub(super) fn handle_put(&mut self, key: &str, value: &[u8]) {
        let is_as_desired = match self.desired.get(key) {
            Some(desired) => desired == value,
            None => !self.known,
        };
        if is_as_desired {
            self.contested.remove(key);
        } else {
            self.contested.insert(key.to_owned());
        }
    }

    /// Puts again what others changed. To be called now and then: two writers that want different
    /// things would otherwise fight as fast as the store can.
    pub(super) fn reassert(&mut self) {
        for key in std::mem::take(&mut self.contested) {
            self.mark(key);
        }
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    fn unwanted(&self) -> Vec<String> {
        if !self.known {
            return Vec::new();
        }
        self.stored
            .keys()
            .filter(|key| !self.desired.contains_key(*key))
            .cloned()
            .collect()
    }

    fn mark(&mut self, key: String) {
        self.dirty.remove(&key);
        let list = if !self.desired.contains_key(&key) {
            &mut self.dirty.deletes
        } else if self
            .last_prefixes
            .iter()
            .any(|it| key.starts_with(it.as_str()))
        {
            &mut self.dirty.last_puts
        } else {
            &mut self.dirty.puts
        };
        list.insert(key);
    }

    fn release(&mut self, key: &str) {
        if let Some(lease) = self.stored.remove(key)
            && let Some(count) = self.leases.get_mut(&lease)
        {
            *count = count.saturating_sub(1);
        }
    }
}

impl Dirty {
    fn remove(&mut self, key: &str) {
        self.puts.remove(key);
        self.deletes.remove(key);
        self.last_puts.remove(key);
    }
}

/// One transaction being filled.
struct Batch<'a> {
    plan: &'a Plan,
    operations: Vec<Operation>,
    bytes: usize,
    /// Leases with room for more keys, and how much.
    room: BTreeMap<i64, usize>,
}

enum Added {
    Full,
    NeedsLease,
    Yes,
}

impl<'a> Batch<'a> {
    fn new(plan: &'a Plan) -> Self {
        let room = plan.leases.iter().filter_map(|(lease, count)| {
            let room = plan.keys_per_lease.checked_sub(*count)?;
            (0 < room).then_some((*lease, room))
        });
        Self {
            operations: Vec::new(),
            bytes: 0,
            room: room.collect(),
            plan,
        }
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Added {
        if !self.fits(key.len() + value.len()) {
            return Added::Full;
        }
        let Some(lease) = self.lease(key) else {
            return Added::NeedsLease;
        };
        self.bytes += key.len() + value.len();
        self.operations.push(Operation::Put {
            key: key.to_owned(),
            value: value.to_vec(),
            lease,
        });
        Added::Yes
    }

    fn delete(&mut self, key: &str) -> Added {
        if !self.fits(key.len()) {
            return Added::Full;
        }
        self.bytes += key.len();
        self.operations.push(Operation::Delete {
            key: key.to_owned(),
        });
        Added::Yes
    }

    fn fits(&self, bytes: usize) -> bool {
        self.operations.is_empty()
            || (self.operations.len() < BATCH_OPERATIONS_MAX
                && self.bytes + bytes <= BATCH_BYTES_MAX)
    }

    /// The key's own lease if it has one of ours, or the first with room.
    fn lease(&mut self, key: &str) -> Option<i64> {
        let own = self
            .plan
            .stored
            .get(key)
            .filter(|it| self.plan.leases.contains_key(it));
        if let Some(lease) = own {
            return Some(*lease);
        }

        let mut slot = self.room.first_entry()?;
        let lease = *slot.key();
        *slot.get_mut() -= 1;
        if *slot.get() == 0 {
            slot.remove();
        }
        Some(lease)
    }
}

fn fits(key: &str, value: &[u8]) -> bool {
    let bytes = key.len() + value.len();
    if RECORD_BYTES_MAX < bytes {
        tracing::error!(
            key,
            bytes,
            "a record of more than a mebibyte is left out: the store would refuse it"
        );
    }
    bytes <= RECORD_BYTES_MAX
}

#[cfg(test)]
mod tests;
