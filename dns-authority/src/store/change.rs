//! Makes a store that differs from another in what is at some names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::contradiction;
use super::node::{Node, Set};
use super::{SHARD_NAMES, Shard, Store, folded_hash, hash, parent, shard_of};

/// The records of one type, as they are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSet {
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    /// Of each record, as it travels, names in full.
    pub data: Vec<Vec<u8>>,
    /// Numbers of plans.
    pub plans: Vec<u32>,
}

/// Shards are made smaller again when they have grown to so many times what they were.
const GROWTH_MAX: usize = 4;

/// A node that is about to change.
#[derive(Clone, Debug, Default)]
struct Draft {
    owner: Vec<u8>,
    children: u32,
    sets: Vec<u8>,
    exists: bool,
}

impl Store {
    /// The store of the zone at `origin` with these sets, and no others, at these names. A name that has
    /// none is gone, unless there are names below it.
    ///
    /// # Errors
    ///
    /// What would not go together at a name.
    pub fn with(&self, origin: &[u8], changes: &[(Vec<u8>, Vec<NewSet>)]) -> Result<Self, String> {
        let mut drafts = Drafts {
            store: self,
            origin,
            drafts: BTreeMap::new(),
            added: 0,
        };
        for (owner, sets) in changes {
            drafts.set(owner, sets)?;
        }
        let names = self.names.saturating_add_signed(drafts.added);
        let mut changed = BTreeMap::<usize, BTreeMap<Vec<u8>, Draft>>::new();
        for (name, draft) in drafts.drafts {
            let shard = self.shard_of(hash(&name));
            changed.entry(shard).or_default().insert(name, draft);
        }
        let mut shards = self.shards.clone();
        for (index, drafts) in changed {
            shards[index] = Arc::new(shards[index].with(&drafts));
        }
        let store = Self { shards, names };
        Ok(if GROWTH_MAX * SHARD_NAMES * store.shards.len() < names {
            store.spread()
        } else {
            store
        })
    }

    /// The same in more shards.
    fn spread(&self) -> Self {
        let count = (self.names / SHARD_NAMES).max(1).next_power_of_two();
        let mut shards = vec![Vec::new(); count];
        for node in self.nodes() {
            node.write(&mut shards[shard_of(folded_hash(node.owner()), count)]);
        }
        let shards = shards.into_iter().map(|it| Arc::new(Shard::new(it)));
        Self {
            shards: shards.collect(),
            names: self.names,
        }
    }
}

impl Shard {
    fn with(&self, drafts: &BTreeMap<Vec<u8>, Draft>) -> Self {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in self.nodes() {
            if !drafts.contains_key(&node.owner().to_ascii_lowercase()) {
                node.write(&mut nodes);
            }
        }
        for draft in drafts.values().filter(|it| it.exists) {
            draft.node().write(&mut nodes);
        }
        Self::new(nodes)
    }
}

/// Nodes that are about to change, by their names in lower case.
struct Drafts<'a> {
    store: &'a Store,
    origin: &'a [u8],
    drafts: BTreeMap<Vec<u8>, Draft>,
    /// Names that there will be more, or fewer.
    added: isize,
}

impl Drafts<'_> {
    fn set(&mut self, owner: &[u8], sets: &[NewSet]) -> Result<(), String> {
        let mut sets: Vec<&NewSet> = sets.iter().collect();
        sets.sort_by_key(|it| it.kind);
        let mut encoded = Vec::new();
        for set in sets {
            let mut data = Vec::new();
            for record in &set.data {
                let length = u16::try_from(record.len()).map_err(|_| "a record is too long")?;
                data.extend(length.to_be_bytes());
                data.extend_from_slice(record);
            }
            if !set.data.is_empty() || !set.plans.is_empty() {
                Set::write(set.kind, set.ttl, &set.plans, &data, &mut encoded);
            }
        }
        let is_there = !encoded.is_empty();
        let draft = self.draft(owner);
        draft.sets = encoded;
        if let Some(what) = contradiction(&draft.node()) {
            return Err(what);
        }
        if is_there {
            self.make(owner);
        } else {
            self.end(owner);
        }
        Ok(())
    }

    fn draft(&mut self, owner: &[u8]) -> &mut Draft {
        let name = owner.to_ascii_lowercase();
        let known = self.store.find(&name);
        self.drafts.entry(name).or_insert_with(|| match known {
            Some(node) => Draft {
                owner: node.owner().to_vec(),
                children: node.children(),
                sets: node.encoded_sets().to_vec(),
                exists: true,
            },
            None => Draft {
                owner: owner.to_vec(),
                ..Draft::default()
            },
        })
    }

    /// Has the name exist, and with it all names above.
    fn make(&mut self, owner: &[u8]) {
        let draft = self.draft(owner);
        if std::mem::replace(&mut draft.exists, true) {
            return;
        }
        self.added += 1;
        if let Some(above) = self.above(owner) {
            self.draft(above).children += 1;
            self.make(above);
        }
    }

    /// Ends a name that is there for nothing, and those above that were there for it.
    fn end(&mut self, owner: &[u8]) {
        let is_origin = owner.eq_ignore_ascii_case(self.origin);
        let draft = self.draft(owner);
        let is_of_use = !draft.sets.is_empty() || 0 < draft.children || is_origin;
        if is_of_use || !std::mem::replace(&mut draft.exists, false) {
            return;
        }
        self.added -= 1;
        if let Some(above) = self.above(owner) {
            self.draft(above).children -= 1;
            self.end(above);
        }
    }

    fn above<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        parent(name).filter(|it| self.origin.len() <= it.len())
    }
}

impl Draft {
    fn node(&self) -> Node<'_> {
        Node::new(&self.owner, self.children, &self.sets)
    }
}
