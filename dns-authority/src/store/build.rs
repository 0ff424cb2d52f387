//! Makes a store of a zone's records, in whatever order they come.

use std::sync::Arc;

use super::node::{Node, Set};
use super::{SHARD_NAMES, Shard, Store, folded_hash, parent, shard_of};
use crate::wire::{kind, name};

/// Records on their way into a store.
#[derive(Debug)]
pub struct Builder {
    /// In lower case.
    origin: Vec<u8>,
    /// Each record: line, owner, type, time to live, data.
    records: Vec<u8>,
    /// The hash of each record's owner, and where the record begins.
    index: Vec<(u64, u64)>,
    /// Above the owner that came last, in lower case: all of that is there already.
    last_parent: Vec<u8>,
}

/// What a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// As it travels, names in full.
    Data(&'a [u8]),
    /// The number of a plan of the zone.
    Plan(u32),
}

/// A zone that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Mistake {
    /// Of the record that makes it wrong.
    pub line: u32,
    pub what: String,
}

/// Marks a name that exists because of names below it.
const NO_KIND: u16 = 0;

impl Builder {
    /// For the zone at this name.
    pub fn new(origin: &[u8]) -> Self {
        Self {
            origin: origin.to_ascii_lowercase(),
            records: Vec::new(),
            index: Vec::new(),
            last_parent: Vec::new(),
        }
    }

    /// Takes a record of a name that belongs to the zone; `line` is where it stands.
    pub fn push(&mut self, line: u32, owner: &[u8], kind: u16, ttl: u32, value: Value<'_>) {
        self.push_names_above(owner);
        self.push_record(line, owner, kind, ttl, value);
    }

    fn push_names_above(&mut self, owner: &[u8]) {
        let is_last = |it: &&[u8]| it.eq_ignore_ascii_case(&self.last_parent);
        let is_origin = owner.eq_ignore_ascii_case(&self.origin);
        let Some(above) = parent(owner).filter(|it| !is_origin && !is_last(it)) else {
            return;
        };
        self.last_parent = above.to_ascii_lowercase();
        let mut name = above;
        while self.origin.len() < name.len() {
            self.push_record(0, name, NO_KIND, 0, Value::Data(&[]));
            name = parent(name).expect("it is longer than the origin");
        }
    }

    fn push_record(&mut self, line: u32, owner: &[u8], kind: u16, ttl: u32, value: Value<'_>) {
        let place = self.records.len() as u64;
        self.index.push((folded_hash(owner), place));
        self.records.extend(line.to_be_bytes());
        self.records.extend_from_slice(owner);
        self.records.extend(kind.to_be_bytes());
        self.records.extend(ttl.to_be_bytes());
        let (is_plan, data) = match value {
            Value::Data(data) => (false, data),
            Value::Plan(number) => (true, &number.to_be_bytes()[..]),
        };
        self.records.push(u8::from(is_plan));
        let length = u16::try_from(data.len()).expect("data is at most 65,535 octets");
        self.records.extend(length.to_be_bytes());
        self.records.extend_from_slice(data);
    }

    /// # Errors
    ///
    /// A name has a CNAME beside something else, or two, or there are two SOA records.
    pub fn finish(mut self) -> Result<Store, Mistake> {
        // A record's place tells the order of those of one name.
        self.index.sort_unstable();
        let names = self.index.chunk_by(|a, b| a.0 == b.0).count();
        let count = (names / SHARD_NAMES).max(1).next_power_of_two();
        let mut shards = vec![Vec::new(); count];
        let mut names = 0;
        for of_hash in self.index.chunk_by(|a, b| a.0 == b.0) {
            let mut records: Vec<Record<'_>> = of_hash.iter().map(|it| self.record(it.1)).collect();
            // Different names have the same hash once in a lifetime.
            while let Some(first) = records.first().copied() {
                let is_same = |it: &Record<'_>| it.owner.eq_ignore_ascii_case(first.owner);
                let (same, others) = records.into_iter().partition(is_same);
                write_node(same, &mut shards[shard_of(of_hash[0].0, count)])?;
                names += 1;
                records = others;
            }
        }
        drop((self.index, self.records));
        let shards: Vec<Shard> = shards.into_iter().map(Shard::new).collect();
        Ok(count_children(shards, names, &self.origin))
    }

    fn record(&self, place: u64) -> Record<'_> {
        let start = usize::try_from(place).expect("it lies in memory");
        let (line, rest) = self.records[start..].split_first_chunk().expect("a line");
        let (owner, rest) = rest.split_at(name::length(rest));
        let (fixed, rest) = rest.split_first_chunk::<9>().expect("what follows a name");
        let &[k0, k1, t0, t1, t2, t3, is_plan, l0, l1] = fixed;
        Record {
            line: u32::from_be_bytes(*line),
            owner,
            kind: u16::from_be_bytes([k0, k1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            is_plan: is_plan != 0,
            data: &rest[..usize::from(u16::from_be_bytes([l0, l1]))],
        }
    }
}

#[derive(Clone, Copy)]
struct Record<'a> {
    line: u32,
    owner: &'a [u8],
    kind: u16,
    ttl: u32,
    is_plan: bool,
    data: &'a [u8],
}

/// Writes the node of records that have one owner.
fn write_node(mut records: Vec<Record<'_>>, nodes: &mut Vec<u8>) -> Result<(), Mistake> {
    let owner = records[0].owner;
    records.retain(|it| it.kind != NO_KIND);
    // Stable: records of one type stay in the order of the file.
    records.sort_by_key(|it| it.kind);
    let mut sets = Vec::new();
    for set in records.chunk_by(|a, b| a.kind == b.kind) {
        write_set(set, &mut sets);
    }
    let node = Node::new(owner, 0, &sets);
    if let Some(what) = contradiction(&node) {
        let line = records.iter().map(|it| it.line).max().unwrap_or_default();
        return Err(Mistake { line, what });
    }
    node.write(nodes);
    Ok(())
}

fn write_set(records: &[Record<'_>], sets: &mut Vec<u8>) {
    let ttl = records.iter().map(|it| it.ttl).min().unwrap_or_default();
    let mut plans = Vec::new();
    let mut data = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if record.is_plan {
            let number = record.data.first_chunk().expect("a plan's number");
            plans.push(u32::from_be_bytes(*number));
            continue;
        }
        let is_same = |it: &Record<'_>| !it.is_plan && it.data == record.data;
        if !records[..index].iter().any(is_same) {
            let length = u16::try_from(record.data.len()).expect("as it was taken");
            data.extend(length.to_be_bytes());
            data.extend_from_slice(record.data);
        }
    }
    Set::write(records[0].kind, ttl, &plans, &data, sets);
}

/// What cannot be at one name together.
pub(super) fn contradiction(node: &Node<'_>) -> Option<String> {
    let owner = name::Shown(node.owner());
    let number = |kind| {
        node.set(kind)
            .map(|it| it.data().count() + it.plans().count())
    };
    match (number(kind::CNAME), node.sets().count()) {
        (None, _) | (Some(1), 1) => (),
        (Some(_), _) => {
            return Some(format!(
                "{owner} has a CNAME and can have nothing beside it"
            ));
        }
    }
    if number(kind::SOA).is_some_and(|it| 1 < it) {
        return Some("the zone has a second SOA".to_owned());
    }
    let has_two = number(kind::DNAME).is_some_and(|it| 1 < it);
    has_two.then(|| format!("{owner} has a second DNAME"))
}

/// Tells every name how many there are right below it.
fn count_children(mut shards: Vec<Shard>, names: usize, origin: &[u8]) -> Store {
    let count = shards.len();
    let mut parents: Vec<(usize, u32)> = Vec::with_capacity(names);
    for shard in &shards {
        for node in shard.nodes() {
            let above = parent(node.owner()).filter(|_| origin.len() < node.owner().len());
            let Some(above) = above.map(<[u8]>::to_ascii_lowercase) else {
                continue;
            };
            let hash = super::hash(&above);
            let shard = shard_of(hash, count);
            if let Some(place) = shards[shard].place(hash, &above) {
                parents.push((shard, place));
            }
        }
    }
    for (shard, place) in parents {
        shards[shard].add_child(place);
    }
    Store {
        shards: shards.into_iter().map(Arc::new).collect(),
        names,
    }
}

impl Shard {
    fn place(&self, hash: u64, name: &[u8]) -> Option<u32> {
        let is_it = |place: &u32| self.owner(*place).eq_ignore_ascii_case(name);
        self.places.find(hash, is_it).copied()
    }

    fn add_child(&mut self, place: u32) {
        let at = super::at(place) + self.owner(place).len();
        let children = Node::read(&self.nodes[super::at(place)..]).children() + 1;
        self.nodes[at..at + 4].copy_from_slice(&children.to_be_bytes());
    }
}
