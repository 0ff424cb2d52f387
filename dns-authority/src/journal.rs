//! What changed in a zone from version to version, for those who keep copies of it (RFC 1995), and for
//! the next life of this process.
//!
//! Versions are compared as everybody sees them who has no LUA records: each stands for all of its
//! candidates.

pub mod file;
pub mod frame;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::store::{NewSet, Node, Store};
use crate::wire::kind;

/// A record of class IN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// As it travels.
    pub owner: Box<[u8]>,
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    /// As it travels, names in full.
    pub data: Box<[u8]>,
}

/// What makes one version of a zone of another, their SOA records included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub from: u32,
    pub to: u32,
    pub removed: Vec<Record>,
    pub added: Vec<Record>,
}

/// The last differences of a zone, each of which goes on where the one before ends.
#[derive(Clone, Debug, Default)]
pub struct History {
    differences: VecDeque<Arc<Difference>>,
    /// In all of them.
    records: usize,
}

/// Records that a history keeps: whoever is further behind takes the whole zone, which is then the
/// shorter way for all zones but the largest.
const RECORDS_MAX: usize = 100_000;

/// What a plan answers at most: the data of all its candidates.
pub type Expand<'a> = &'a dyn Fn(usize) -> Vec<Box<[u8]>>;

/// A version of a zone, as copies have it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub store: &'a Store,
    pub expand: Expand<'a>,
}

impl History {
    /// Adds what changed last. A difference that goes on elsewhere begins a new history.
    pub fn push(&mut self, difference: Arc<Difference>) {
        if self
            .differences
            .back()
            .is_some_and(|it| it.to != difference.from)
        {
            *self = Self::default();
        }
        self.records += difference.len();
        self.differences.push_back(difference);
        while RECORDS_MAX < self.records {
            let Some(oldest) = self.differences.pop_front() else {
                return;
            };
            self.records -= oldest.len();
        }
    }

    /// What changed since the version with this serial; `None` if that is not known any more.
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<Difference>>> {
        let first = self.differences.iter().position(|it| it.from == serial)?;
        Some(self.differences.iter().skip(first).cloned().collect())
    }

    /// The serial of the version that it ends with.
    pub fn last(&self) -> Option<u32> {
        self.differences.back().map(|it| it.to)
    }
}

impl Difference {
    /// Between two versions as a whole.
    pub fn between(old: View<'_>, new: View<'_>) -> Self {
        let mut difference = Self::default();
        for node in new.store.nodes() {
            let before = old.store.find(&node.owner().to_ascii_lowercase());
            difference.compare(before.map(|it| old.records(it)), Some(new.records(node)));
        }
        for node in old.store.nodes() {
            if new.store.find(&node.owner().to_ascii_lowercase()).is_none() {
                difference.compare(Some(old.records(node)), None);
            }
        }
        difference.number()
    }

    /// Between two versions that differ at these names alone, which are in lower case.
    pub fn at<'a>(old: View<'_>, new: View<'_>, names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut difference = Self::default();
        for name in names {
            let before = old.store.find(name).map(|it| old.records(it));
            difference.compare(before, new.store.find(name).map(|it| new.records(it)));
        }
        difference.number()
    }

    fn compare(&mut self, before: Option<Vec<Record>>, after: Option<Vec<Record>>) {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let is_same = |a: &Record, b: &Record| (a.kind, a.ttl, &a.data) == (b.kind, b.ttl, &b.data);
        let lacks = |them: &[Record], it: &Record| !them.iter().any(|other| is_same(it, other));
        self.removed
            .extend(before.iter().filter(|it| lacks(&after, it)).cloned());
        self.added
            .extend(after.iter().filter(|it| lacks(&before, it)).cloned());
    }

    /// Sees to it that the SOA records come first, and reads the serials from them.
    fn number(mut self) -> Self {
        for (records, serial) in [
            (&mut self.removed, &mut self.from),
            (&mut self.added, &mut self.to),
        ] {
            if let Some(place) = records.iter().position(|it| it.kind == kind::SOA) {
                records.swap(0, place);
                *serial = soa_serial(&records[0].data).unwrap_or_default();
            }
        }
        self
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.removed.len() + self.added.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it makes of each name that it touches, for [`Store::with`]. What is to go and is gone already,
    /// or to come and is there, makes no difference; plans stay.
    pub fn changes(&self, store: &Store) -> Vec<(Vec<u8>, Vec<NewSet>)> {
        let mut names = BTreeMap::<Vec<u8>, Vec<NewSet>>::new();
        let mut at = |it: &Record, with: &dyn Fn(&mut Vec<NewSet>, &Record)| {
            let folded = it.owner.to_ascii_lowercase();
            let sets = names
                .entry(folded)
                .or_insert_with_key(|name| store.find(name).map(sets).unwrap_or_default());
            with(sets, it);
        };
        for record in &self.removed {
            at(record, &remove);
        }
        for record in &self.added {
            at(record, &add);
        }
        names.into_iter().collect()
    }
}

/// The sets of a node, to be changed.
pub fn sets(node: Node<'_>) -> Vec<NewSet> {
    let number = |it| u32::try_from(it).expect("as it was taken");
    let sets = node.sets().map(|it| NewSet {
        kind: it.kind,
        ttl: it.ttl,
        data: it.data().map(<[u8]>::to_vec).collect(),
        plans: it.plans().map(number).collect(),
    });
    sets.collect()
}

fn remove(sets: &mut Vec<NewSet>, record: &Record) {
    for set in sets.iter_mut().filter(|it| it.kind == record.kind) {
        set.data.retain(|it| **it != *record.data);
    }
    sets.retain(|it| !it.data.is_empty() || !it.plans.is_empty());
}

/// The time to live of what comes last is that of the whole set (RFC 2181 section 5.2).
pub fn add(sets: &mut Vec<NewSet>, record: &Record) {
    let Some(set) = sets.iter_mut().find(|it| it.kind == record.kind) else {
        return sets.push(NewSet {
            kind: record.kind,
            ttl: record.ttl,
            data: vec![record.data.to_vec()],
            plans: Vec::new(),
        });
    };
    set.ttl = record.ttl;
    if !set.data.iter().any(|it| **it == *record.data) {
        set.data.push(record.data.to_vec());
    }
}

impl View<'_> {
    /// What a copy has at a name.
    pub fn records(&self, node: Node<'_>) -> Vec<Record> {
        let mut records = Vec::new();
        for set in node.sets() {
            let fixed = set.data().map(Box::from);
            let chosen = set.plans().flat_map(|it| (self.expand)(it));
            // A name has one other name at most.
            let most = if set.kind == kind::CNAME {
                1
            } else {
                usize::MAX
            };
            let start = records.len();
            for data in fixed.chain(chosen) {
                let record = Record {
                    owner: node.owner().into(),
                    kind: set.kind,
                    ttl: set.ttl,
                    data,
                };
                if records.len() - start < most && !records[start..].contains(&record) {
                    records.push(record);
                }
            }
        }
        records
    }
}

impl Record {
    /// How many octets it takes in a message that compresses nothing.
    pub fn wire_bytes(&self) -> usize {
        self.owner.len() + 10 + self.data.len()
    }
}

/// The serial in the data of an SOA record, whose last five numbers are of four octets each.
pub fn soa_serial(data: &[u8]) -> Option<u32> {
    let numbers = data.last_chunk::<20>()?;
    numbers.first_chunk().map(|it| u32::from_be_bytes(*it))
}

/// The data of an SOA record with another serial.
pub fn with_serial(data: &[u8], serial: u32) -> Box<[u8]> {
    let mut data: Box<[u8]> = data.into();
    if let Some(numbers) = data.last_chunk_mut::<20>() {
        numbers[..4].copy_from_slice(&serial.to_be_bytes());
    }
    data
}

#[cfg(test)]
mod tests;
