//! A zone in memory.

mod data;
mod generate;
mod lex;
mod parse;
mod show;

pub(crate) use data::data_from_text;
pub(crate) use lex::Character;
pub(crate) use parse::{Source, zone};
pub(crate) use show::Shown as ShownData;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::Plan;
use crate::store::{Found, Node, Set, Store, Traits};
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};

/// A zone that was read completely and makes sense: it has one SOA, at its origin, and no name has
/// a CNAME beside something else.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Folded,
    store: Store,
    traits: Traits,
    plans: Arc<[Plan]>,
    negative_ttl: u32,
}

impl Zone {
    /// # Errors
    ///
    /// There is no SOA at the origin.
    pub(crate) fn new(origin: Folded, store: Store, plans: Vec<Plan>) -> Result<Self, NoSoa> {
        let soa = store.find(origin.octets()).and_then(|it| it.set(kind::SOA));
        let soa = soa.and_then(|it| Some((it.data().next()?, it.ttl)));
        let no_soa = || NoSoa(Shown(origin.octets()).to_string());
        let (data, ttl) = soa.ok_or_else(no_soa)?;
        Ok(Self {
            negative_ttl: ttl.min(minimum(data)),
            traits: store.traits(origin.length()),
            origin,
            store,
            plans: plans.into(),
        })
    }

    pub fn origin(&self) -> &[u8] {
        self.origin.octets()
    }

    /// Looks up a name that belongs to the zone.
    pub fn find(&self, name: &Folded) -> Found<'_> {
        self.store.lookup(name, self.origin.labels(), self.traits)
    }

    pub fn node(&self, name: &Folded) -> Option<Node<'_>> {
        self.store.find(name.octets())
    }

    /// The origin as the zone writes it, and its SOA.
    pub fn soa(&self) -> (&[u8], Set<'_>) {
        let node = self.node(&self.origin).expect("made with it");
        (node.owner(), node.set(kind::SOA).expect("made with it"))
    }

    /// For how many seconds it may be believed that something is not there.
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// Every name with what is at it, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.store.nodes()
    }

    /// How many names there are, those included that exist only through names below them.
    pub fn names(&self) -> usize {
        self.store.len()
    }

    /// Each plan with the name that it answers for.
    pub fn plans(&self) -> impl Iterator<Item = (&[u8], &Plan)> {
        let nodes = self.nodes().filter(|_| !self.plans.is_empty());
        nodes.flat_map(move |node| {
            let numbers = node.sets().flat_map(|it| it.plans());
            numbers.map(move |it| (node.owner(), self.plan(it)))
        })
    }

    pub fn plan(&self, number: usize) -> &Plan {
        &self.plans[number]
    }
}

/// The last of an SOA's numbers: for how many seconds absence may be believed (RFC 2308 section 4).
fn minimum(soa: &[u8]) -> u32 {
    soa.last_chunk().map_or(0, |it| u32::from_be_bytes(*it))
}

/// A zone of this name begins with nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the zone has no SOA record at {0}")]
pub struct NoSoa(String);

/// The zones that are served, by origin in lower case.
#[derive(Clone, Debug, Default)]
pub struct Zones(pub BTreeMap<Box<[u8]>, Arc<Zone>>);

impl Zones {
    /// Adds a zone, or puts it in the place of the one with the same origin.
    pub fn insert(&mut self, zone: Arc<Zone>) {
        self.0.insert(zone.origin().into(), zone);
    }

    /// Adds a zone, unless there is one with the same origin.
    pub fn add_missing(&mut self, zone: &Arc<Zone>) {
        let zones = self.0.entry(zone.origin().into());
        zones.or_insert_with(|| Arc::clone(zone));
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Zone>> {
        self.0.values()
    }

    /// The zone that `name` belongs to: the one with the longest origin.
    pub fn find(&self, name: &Folded) -> Option<&Zone> {
        let suffixes = (0..=name.labels()).map(|it| name.suffix(it));
        let mut zones = suffixes.filter_map(|it| self.0.get(it));
        zones.next().map(|it| &**it)
    }
}

#[cfg(test)]
mod tests;
