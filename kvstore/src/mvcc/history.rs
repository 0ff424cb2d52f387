//! What happened, in order, for watches: bounded, and never with a hole.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use etcd_client::proto::{PbEvent, PbKeyValue};

use super::entry::{Entry, Versions};
use super::key_range::KeyRange;

/// Events kept for watches that fell behind: the list itself then takes some megabytes. What it holds
/// beyond the keys as they are is bounded in bytes.
pub(super) const EVENTS_MAX: usize = 500_000;

/// Events and bytes that a watch reads in one step; a step always has at least one whole revision.
const STEP_EVENTS_MAX: usize = 1_000;
const STEP_BYTES_MAX: usize = 1 << 20;

/// Every change since the last compaction, ordered by revision.
#[derive(Debug, Default)]
pub(super) struct History {
    events: VecDeque<Arc<Entry>>,
}

/// Which events a watch wants, and with how much of the past.
#[derive(Clone, Debug)]
pub struct EventFilter {
    pub range: KeyRange,
    pub deletes: bool,
    pub prev_kv: bool,
    pub puts: bool,
}

/// Events of whole revisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub events: Vec<PbEvent>,
}

/// The revision asked for is below `compact_revision`, the oldest that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    pub compact_revision: i64,
}

impl History {
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.events.push_back(entry);
    }

    pub(super) fn forget_before(&mut self, revision: i64) -> impl Iterator<Item = Arc<Entry>> {
        let count = self.position(revision);
        self.events.drain(..count)
    }

    /// Gives back memory that a larger history needed.
    pub(super) fn shrink(&mut self) {
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        EVENTS_MAX < self.events.len()
    }

    /// The second oldest revision with events.
    pub(super) fn second_revision(&self) -> Option<i64> {
        let first = self.events.front()?.mod_revision;
        let second = self.events.get(self.position(first + 1))?;
        Some(second.mod_revision)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.events.iter()
    }

    /// Events up to and including `revision`, oldest first.
    pub(super) fn through(&self, revision: i64) -> impl Iterator<Item = &Arc<Entry>> {
        self.events.iter().take(self.position(revision + 1))
    }

    /// The last revision of a step that starts at `from`, or `None` if the step ends now.
    pub(super) fn horizon(&self, from: i64) -> Option<i64> {
        let mut bytes = 0;
        let mut last = from;
        for (count, entry) in self.events.range(self.position(from)..).enumerate() {
            if STEP_EVENTS_MAX <= count || STEP_BYTES_MAX <= bytes {
                return Some(last);
            }
            last = last.max(entry.mod_revision);
            bytes += entry.bytes();
        }
        None
    }

    pub(super) fn batch(
        &self,
        filter: &EventFilter,
        from: i64,
        through: i64,
        keys: &BTreeMap<Arc<[u8]>, Versions>,
    ) -> Batch {
        let events = self
            .events
            .range(self.position(from)..)
            .take_while(|it| it.mod_revision <= through)
            .filter(|it| filter.passes(it))
            .map(|it| event(it, filter.prev_kv.then_some(keys)))
            .collect();
        Batch { events }
    }

    /// The index of the first event at or after `revision`.
    fn position(&self, revision: i64) -> usize {
        self.events.partition_point(|it| it.mod_revision < revision)
    }
}

impl EventFilter {
    fn passes(&self, entry: &Entry) -> bool {
        let wanted = if entry.is_tombstone() {
            self.deletes
        } else {
            self.puts
        };
        wanted && self.range.contains(&entry.key)
    }
}

fn event(entry: &Entry, keys: Option<&BTreeMap<Arc<[u8]>, Versions>>) -> PbEvent {
    let previous = keys
        .and_then(|keys| keys.get(&entry.key))
        .and_then(|versions| versions.at(entry.mod_revision - 1));
    let kv = if entry.is_tombstone() {
        PbKeyValue {
            key: entry.key.to_vec(),
            mod_revision: entry.mod_revision,
            ..PbKeyValue::default()
        }
    } else {
        entry.to_message()
    };
    PbEvent {
        r#type: i32::from(entry.is_tombstone()),
        kv: Some(kv),
        prev_kv: previous.map(|it| it.to_message()),
    }
}
