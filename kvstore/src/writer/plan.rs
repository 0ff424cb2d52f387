//! Decides which writes bring the store to the desired table, in which order and under which leases.

mod batch;
mod lane;
mod leases;
mod observation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use topology::diff::Change;

use crate::follower::covers;
use crate::measures::Measures;
use lane::{Flight, Item, Lane, Queue};
use leases::Leases;

/// Keys and values are shared with whoever desires them, and with the store if it is in the process.
pub type Key = Arc<str>;
pub type Value = Arc<[u8]>;

/// A larger record could never be written, so it is left out.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// The desired table, what is known of the store, and the difference.
#[derive(Debug)]
pub struct Plan {
    last_prefixes: Vec<String>,
    operations_max: usize,
    /// Commands taken in.
    generation: u64,
    rows: BTreeMap<Key, Row>,
    lanes: Vec<Lane>,
    lanes_by_name: BTreeMap<String, usize>,
    /// Prefixes of which every desired key is known, so that others may be deleted; with their lanes.
    known: BTreeMap<String, usize>,
    /// Lanes with something to write, the next to have its turn first.
    turns: VecDeque<usize>,
    flights: Vec<Flight>,
    flights_started: u64,
    leases: Leases,
    /// Keys whose value somebody else changed.
    contested: BTreeSet<Key>,
    measures: Measures,
}

/// A key that is desired, or that the store has, or both.
#[derive(Debug, Default)]
struct Row {
    desired: Option<Value>,
    lane: usize,
    queue: Queue,
    is_in_flight: bool,
    /// The one that the store has it under, possibly none of ours; 0 if the store lacks it.
    lease: i64,
    /// Of our last write.
    revision: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new lease is needed.
    Grant,
    /// Nothing can be done now: the store is as desired, or a transaction must land first.
    Idle,
    /// One transaction.
    Write {
        number: u64,
        operations: Vec<Operation>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Delete { key: Key },
    Put { key: Key, value: Value, lease: i64 },
}

impl Plan {
    pub fn new(last_prefixes: Vec<String>, keys_per_lease: usize, operations_max: usize) -> Self {
        Self {
            last_prefixes,
            operations_max,
            generation: 0,
            rows: BTreeMap::new(),
            lanes: Vec::new(),
            lanes_by_name: BTreeMap::new(),
            known: BTreeMap::new(),
            turns: VecDeque::new(),
            flights: Vec::new(),
            flights_started: 0,
            leases: Leases::new(keys_per_lease),
            contested: BTreeSet::new(),
            measures: Measures::default(),
        }
    }

    /// Counts what waits and what fails.
    pub fn measured(self, measures: Measures) -> Self {
        Self { measures, ..self }
    }

    /// Replaces all that the lane desires, which lies under `prefixes` or was desired before.
    pub fn set(&mut self, lane: &str, prefixes: &[String], table: BTreeMap<Key, Value>) {
        self.generation += 1;
        let lane = self.lane(lane);
        let named = prefixes.iter().map(|it| (it.clone(), lane));
        self.known.extend(named);
        for key in self.undesired_in(lane, prefixes, &table) {
            if let Some(row) = self.rows.get_mut(&key) {
                row.desired = None;
                row.hand_over(&key, lane, &self.lanes);
            }
            self.mark(&key);
        }
        let changes = table
            .into_iter()
            .map(|(key, value)| Change::Put(key, value));
        self.change(lane, changes.collect());
    }

    pub fn apply(&mut self, lane: &str, changes: Vec<Change<Key, Value>>) {
        self.generation += 1;
        let lane = self.lane(lane);
        self.change(lane, changes);
    }

    pub fn handle_granted(&mut self, lease: i64) {
        self.leases.add(lease);
    }

    /// The transaction `number` is in the store, as `revision`.
    pub fn handle_written(&mut self, number: u64, revision: i64) {
        let Some(index) = self.flights.iter().position(|it| it.number == number) else {
            return;
        };
        for key in self.flights.swap_remove(index).keys {
            let Some(row) = self.rows.get_mut(&key) else {
                continue;
            };
            row.is_in_flight = false;
            row.revision = revision;
            self.drop_if_gone(&key);
        }
    }

    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.counts().keys().copied()
    }

    /// The last generation up to which everything is in the store.
    pub fn settled_generation(&self) -> u64 {
        let waiting = self.turns.iter().map(|it| &self.lanes[*it]);
        let waiting = waiting.filter_map(Lane::oldest_generation);
        let flying = self.flights.iter().filter_map(Flight::oldest_generation);
        let oldest = waiting.chain(flying).min();
        oldest.map_or(self.generation, |it| it - 1)
    }

    /// Transactions on their way.
    pub fn flight_count(&self) -> usize {
        self.flights.len()
    }

    fn change(&mut self, lane: usize, changes: Vec<Change<Key, Value>>) {
        let mut changed = Vec::new();
        for change in changes {
            match change {
                Change::Delete(key) => {
                    let Some(row) = self.rows.get_mut(&key) else {
                        continue;
                    };
                    row.desired = None;
                    changed.push(key);
                }
                Change::Put(key, value) if fits(&key, &value) => {
                    let row = self.rows.entry(Arc::clone(&key)).or_default();
                    row.hand_over(&key, lane, &self.lanes);
                    if row.desired.as_ref() != Some(&value) {
                        row.desired = Some(value);
                        changed.push(key);
                    }
                }
                Change::Put(key, _) => self.lanes[lane].backlog.fail(&key),
            }
        }
        // Backwards, so that what lies below a key is there before what relies on it.
        for key in changed.iter().rev() {
            self.mark(key);
        }
    }

    /// Keys that the store has under `prefixes`, or that the lane wanted, and that `table` lacks.
    fn undesired_in(
        &self,
        lane: usize,
        prefixes: &[String],
        table: &BTreeMap<Key, Value>,
    ) -> Vec<Key> {
        let is_undesired = |key: &Key| !table.contains_key(key);
        if self.lanes.len() == 1 {
            // Also keys outside the prefixes.
            let wanted =
                |key: &Key, row: &Row| row.desired.is_some() || self.lane_of(key) == Some(lane);
            let keys = self.rows.iter().filter(|(key, row)| wanted(key, row));
            return keys
                .map(|it| it.0)
                .filter(|it| is_undesired(it))
                .cloned()
                .collect();
        }
        let mut keys = Vec::new();
        for prefix in prefixes {
            let start = Bound::Included(prefix.as_str());
            let from_prefix = self.rows.range::<str, _>((start, Bound::Unbounded));
            let covered = from_prefix.take_while(|(key, _)| covers(prefix, key));
            keys.extend(
                covered
                    .map(|it| it.0)
                    .filter(|it| is_undesired(it))
                    .cloned(),
            );
        }
        keys
    }

    fn lane(&mut self, name: &str) -> usize {
        if let Some(lane) = self.lanes_by_name.get(name) {
            return *lane;
        }
        let lane = self.lanes.len();
        self.lanes.push(Lane::new(self.measures.backlog(name)));
        self.lanes_by_name.insert(name.to_owned(), lane);
        lane
    }

    /// Whose key it is, if every desired key around it is known.
    fn lane_of(&self, key: &str) -> Option<usize> {
        let up_to_key = (Bound::Unbounded, Bound::Included(key));
        let candidates = self.known.range::<str, _>(up_to_key).rev();
        let mut covering = candidates.filter(|(prefix, _)| covers(prefix, key));
        covering.next().map(|it| *it.1)
    }

    /// Queues a key to be put, or to be deleted if nobody wants it.
    fn mark(&mut self, key: &Key) {
        let Some(row) = self.rows.get_mut(key) else {
            return;
        };
        let announces = |it: &String| key.starts_with(it.as_str());
        let queue = match row.desired {
            None => Queue::Deletes,
            Some(_) if self.last_prefixes.iter().any(announces) => Queue::Announcements,
            Some(_) => Queue::Puts,
        };
        if row.queue == queue {
            return;
        }
        let was_waiting = std::mem::replace(&mut row.queue, queue) != Queue::None;
        let number = row.lane;
        let lane = &mut self.lanes[number];
        if !was_waiting {
            lane.backlog.enter(key);
        }
        let item = Item {
            generation: self.generation,
            key: Arc::clone(key),
        };
        lane.push(queue, item);
        if !std::mem::replace(&mut lane.is_waiting, true) {
            self.turns.push_back(number);
        }
    }
}

impl Row {
    /// Makes it the key of `lane`.
    fn hand_over(&mut self, key: &str, lane: usize, lanes: &[Lane]) {
        let former = std::mem::replace(&mut self.lane, lane);
        if former != lane && self.queue != Queue::None {
            lanes[former].backlog.leave(key);
            lanes[lane].backlog.enter(key);
        }
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
