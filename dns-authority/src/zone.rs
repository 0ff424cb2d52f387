//! A zone in memory: what is at each name, in the order of the DNS.

mod lex;
mod parse;
mod rdata;

pub(crate) use lex::Character;
pub(crate) use parse::zone;
pub(crate) use rdata::rdata_from_text;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};

use crate::plan::Plan;

/// A zone that was read completely and makes sense: it has one SOA, at its origin, and no name has
/// a CNAME beside something else.
#[derive(Clone, Debug)]
pub struct Zone {
    pub origin: Name,
    pub soa: SOA,
    pub soa_ttl: u32,
    /// By owner, in canonical order (RFC 4034 section 6.1), which ignores case and puts every name
    /// just before those below it.
    nodes: BTreeMap<Name, Node>,
    /// Whether parts of the zone are delegated, so that lookups have to look for it.
    has_cuts: bool,
}

/// What a zone says of a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The name does not exist.
    Absent,
    /// The name is at or below this one, which is delegated to other servers.
    Delegated(&'a Name, &'a RecordSet),
    /// The name exists, and has no records.
    Empty,
    Node(&'a Node),
    /// The name does not exist, and this wildcard stands in for it (RFC 4592).
    Wildcard(&'a Name, &'a Node),
}

/// Everything at one name.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// At most one per type.
    sets: Vec<RecordSet>,
}

/// The records of one type at one name.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSet {
    pub kind: RecordType,
    /// In seconds; the least of all its records.
    pub ttl: u32,
    pub fixed: Vec<RData>,
    /// What LUA records answer, beside the fixed ones.
    pub plans: Vec<Plan>,
}

impl Zone {
    pub(crate) fn new(
        origin: Name,
        (soa, soa_ttl): (SOA, u32),
        nodes: BTreeMap<Name, Node>,
    ) -> Self {
        let is_cut =
            |(name, node): (&Name, &Node)| *name != origin && node.set(RecordType::NS).is_some();
        let has_cuts = nodes.iter().any(is_cut);
        Self {
            origin,
            soa,
            soa_ttl,
            nodes,
            has_cuts,
        }
    }

    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Looks `name` up, which belongs to the zone, as RFC 1034 section 4.3.2 and RFC 4592 say.
    pub fn find(&self, name: &Name) -> Found<'_> {
        if let Some((cut, servers)) = self.cut_above(name) {
            return Found::Delegated(cut, servers);
        }
        if let Some(node) = self.nodes.get(name) {
            return Found::Node(node);
        }
        if self.exists(name) {
            return Found::Empty;
        }

        let mut encloser = name.base_name();
        while encloser != self.origin && !self.exists(&encloser) {
            encloser = encloser.base_name();
        }
        // A name so long that no wildcard fits before it has none.
        let wildcard = encloser.prepend_label("*").ok();
        let found = wildcard.and_then(|it| self.nodes.get_key_value(&it));
        found.map_or(Found::Absent, |(name, node)| Found::Wildcard(name, node))
    }

    /// The delegation nearest to the origin that `name` is at or below.
    fn cut_above(&self, name: &Name) -> Option<(&Name, &RecordSet)> {
        if !self.has_cuts {
            return None;
        }
        let mut found = None;
        let mut ancestor = name.clone();
        while ancestor != self.origin {
            if let Some((cut, node)) = self.nodes.get_key_value(&ancestor)
                && let Some(servers) = node.set(RecordType::NS)
            {
                found = Some((cut, servers));
            }
            ancestor = ancestor.base_name();
        }
        found
    }

    /// Whether `name` exists: it has records, or a name below it has (RFC 8020).
    fn exists(&self, name: &Name) -> bool {
        let mut from = self.nodes.range((Bound::Included(name), Bound::Unbounded));
        from.next().is_some_and(|(next, _)| name.zone_of(next))
    }

    pub fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// How many records there are; a LUA record counts as one.
    pub fn records_count(&self) -> usize {
        let sets = self.nodes.values().flat_map(|it| &it.sets);
        sets.map(|it| it.fixed.len() + it.plans.len()).sum()
    }
}

impl Node {
    pub fn set(&self, kind: RecordType) -> Option<&RecordSet> {
        self.sets.iter().find(|it| it.kind == kind)
    }

    /// Adds a set whose type the node does not have yet.
    pub(crate) fn push(&mut self, set: RecordSet) {
        debug_assert!(self.set(set.kind).is_none(), "one set per type");
        self.sets.push(set);
    }

    pub fn sets(&self) -> &[RecordSet] {
        &self.sets
    }
}

/// The zones that are served, by origin.
#[derive(Clone, Debug, Default)]
pub struct Zones(pub BTreeMap<Name, Arc<Zone>>);

impl Zones {
    /// The zone that `name` belongs to: the one with the longest origin.
    pub fn find(&self, name: &Name) -> Option<&Zone> {
        let mut origin = name.clone();
        loop {
            if let Some(zone) = self.0.get(&origin) {
                return Some(zone);
            }
            if origin.is_root() {
                return None;
            }
            origin = origin.base_name();
        }
    }
}

#[cfg(test)]
mod tests;
