//! The names of a zone and what is at them, in memory, as they travel.
//!
//! Names are spread over shards by their hashes; a shard is one piece of memory with its nodes one after
//! the other, and a table of where each is. A lookup reads two places of memory. A change makes the
//! shards anew that it touches, a few kilobytes each, and shares all others with the store before it,
//! so that answers never wait for it.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::wire::name;

mod build;
mod change;
mod lookup;
mod node;

pub use build::{Builder, Mistake, Value};
pub use change::NewSet;
pub use lookup::{Found, Traits};
pub use node::{Node, Set};

/// Everything at the names of a zone, its empty ones included: those that have nothing but names below.
#[derive(Clone, Debug)]
pub struct Store {
    /// As many as a power of two.
    shards: Box<[Arc<Shard>]>,
    names: usize,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    /// Where each node begins in `nodes`.
    places: HashTable<u32>,
    nodes: Box<[u8]>,
}

/// Names in a shard when a store is built: to make one anew takes a few microseconds.
const SHARD_NAMES: usize = 256;

impl Store {
    /// What is at a name, given in lower case.
    pub fn find(&self, name: &[u8]) -> Option<Node<'_>> {
        let hash = hash(name);
        self.shards[self.shard_of(hash)].find(hash, name)
    }

    /// How many names there are, empty ones included.
    pub fn len(&self) -> usize {
        self.names
    }

    pub fn is_empty(&self) -> bool {
        self.names == 0
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.shards.iter().flat_map(|it| it.nodes())
    }

    fn shard_of(&self, hash: u64) -> usize {
        shard_of(hash, self.shards.len())
    }
}

impl Shard {
    fn find(&self, hash: u64, name: &[u8]) -> Option<Node<'_>> {
        let is_it = |place: &u32| self.owner(*place).eq_ignore_ascii_case(name);
        let place = self.places.find(hash, is_it)?;
        Some(Node::read(&self.nodes[at(*place)..]))
    }

    /// The name, but for what follows if it is the beginning of a longer one, which it never is: names
    /// end with the root.
    fn owner(&self, place: u32) -> &[u8] {
        let node = &self.nodes[at(place)..];
        &node[..name::length(node)]
    }

    fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let mut rest = &self.nodes[..];
        std::iter::from_fn(move || {
            let node = (!rest.is_empty()).then(|| Node::read(rest))?;
            rest = &rest[node.length()..];
            Some(node)
        })
    }

    /// Of encoded nodes.
    fn new(nodes: Vec<u8>) -> Self {
        let mut shard = Self {
            places: HashTable::new(),
            nodes: nodes.into_boxed_slice(),
        };
        let mut place = 0;
        let mut places = Vec::new();
        for node in shard.nodes() {
            places.push((folded_hash(node.owner()), place));
            place += u32::try_from(node.length()).expect("a shard is far below 4 GiB");
        }
        shard
            .places
            .reserve(places.len(), |_| unreachable!("it is empty"));
        let nodes = &shard.nodes;
        for (hash, place) in places {
            let rehash = |place: &u32| {
                let node = &nodes[at(*place)..];
                folded_hash(&node[..name::length(node)])
            };
            shard.places.insert_unique(hash, place, rehash);
        }
        shard
    }
}

fn at(place: u32) -> usize {
    usize::try_from(place).expect("usize has 32 bits or more")
}

/// Of so many shards, which is a power of two, the one that names with this hash are in.
fn shard_of(hash: u64, shards: usize) -> usize {
    // The table uses the bits at both ends.
    let bits = (hash >> 24) & 0xffff_ffff;
    usize::try_from(bits).expect("32 bits") & (shards - 1)
}

/// Of a name in lower case. The same in every process: only those who write zones choose what is in
/// a table.
fn hash(name: &[u8]) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(name);
    hasher.finish()
}

fn folded_hash(name: &[u8]) -> u64 {
    let mut folded = [0; name::NAME_BYTES_MAX];
    let folded = &mut folded[..name.len()];
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    hash(folded)
}

/// The name without its first label; `None` of the root.
fn parent(name: &[u8]) -> Option<&[u8]> {
    match name.split_first() {
        Some((length @ 1.., rest)) => rest.get(usize::from(*length)..),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests;
