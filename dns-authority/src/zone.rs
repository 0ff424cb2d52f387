//! A zone in memory.

mod data;
mod generate;
mod lex;
mod parse;
mod show;
mod signed;

pub(crate) use data::data_from_text;
pub(crate) use lex::Character;
pub(crate) use parse::{Source, zone};
pub(crate) use show::Shown as ShownData;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dnssec::signer::Signer;
use crate::journal::View;
use crate::plan::Plan;
use crate::store::{Builder, Found, NewSet, Node, Set, Store, Traits, Value};
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
    /// Signs what the zone says, if anything does.
    signer: Option<Arc<Signer>>,
    /// Why it answers nothing, if it does not.
    lack: Option<Lack>,
}

/// Why a copy of another server's zone answers nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It was not received yet.
    Absent,
    /// Its primary has been silent for longer than the zone allows.
    Expired,
}

impl Lack {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Absent => "the zone has not come from its primary yet",
            Self::Expired => "the zone has expired: its primary does not answer",
        }
    }
}

impl Zone {
    /// # Errors
    ///
    /// There is no SOA at the origin.
    pub(crate) fn new(origin: Folded, store: Store, plans: Vec<Plan>) -> Result<Self, NoSoa> {
        let traits = store.traits(origin.length());
        Self::of(origin, (store, traits), plans.into())
    }

    fn of(
        origin: Folded,
        (store, traits): (Store, Traits),
        plans: Arc<[Plan]>,
    ) -> Result<Self, NoSoa> {
        let soa = store.find(origin.octets()).and_then(|it| it.set(kind::SOA));
        let soa = soa.and_then(|it| Some((it.data().next()?, it.ttl)));
        let no_soa = || NoSoa(Shown(origin.octets()).to_string());
        let (data, ttl) = soa.ok_or_else(no_soa)?;
        Ok(Self {
            negative_ttl: ttl.min(minimum(data)),
            traits,
            origin,
            store,
            plans,
            signer: None,
            lack: None,
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

    /// Whether it has LUA records.
    pub fn has_plans(&self) -> bool {
        !self.plans.is_empty()
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

    /// This version with these sets, and no others, at these names.
    ///
    /// # Errors
    ///
    /// What would not go together.
    pub fn with(&self, changes: &[(Vec<u8>, Vec<NewSet>)]) -> Result<Self, String> {
        let store = self.store.with(self.origin(), changes)?;
        let plans = Arc::clone(&self.plans);
        // To look through all names would cost more than the change.
        let mut traits = self.traits;
        for (name, sets) in changes {
            let is_origin = name.len() == self.origin.length();
            traits.has_cuts |= !is_origin && sets.iter().any(|it| it.kind == kind::NS);
            traits.has_dnames |= sets.iter().any(|it| it.kind == kind::DNAME);
        }
        let zone = Self::of(self.origin.clone(), (store, traits), plans);
        zone.map_err(|it| it.to_string())
    }

    /// The place of a zone that is to come.
    pub(crate) fn absent(origin: &Folded) -> Self {
        let mut builder = Builder::new(origin.octets());
        let soa = [0; 22];
        builder.push(0, origin.octets(), kind::SOA, 0, Value::Data(&soa));
        let store = builder.finish().expect("a zone of one record");
        let zone = Self::of(origin.clone(), (store, Traits::default()), Arc::default());
        Self {
            lack: Some(Lack::Absent),
            ..zone.expect("it has an SOA")
        }
    }

    /// The same zone, lacking something else, or nothing.
    pub(crate) fn lacking(&self, lack: Option<Lack>) -> Self {
        Self {
            lack,
            ..self.clone()
        }
    }

    /// Why it answers nothing, if it does not.
    pub fn lack(&self) -> Option<Lack> {
        self.lack
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Shows the version as copies have it.
    pub fn view<T>(&self, with: impl FnOnce(View<'_>) -> T) -> T {
        let expand = |number| {
            let picks = self.plan(number).picks();
            let candidates = picks.iter().flat_map(|it| it.sets.iter().flatten());
            let mut data: Vec<_> = candidates.filter_map(|it| it.data.clone()).collect();
            data.sort();
            data.dedup();
            data
        };
        with(View {
            store: &self.store,
            expand: &expand,
        })
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
        self.find_below(name, 0)
    }

    /// The zone that the name above `name` belongs to.
    pub fn find_above(&self, name: &Folded) -> Option<&Zone> {
        self.find_below(name, 1)
    }

    fn find_below(&self, name: &Folded, skipped: usize) -> Option<&Zone> {
        let suffixes = (skipped..=name.labels()).map(|it| name.suffix(it));
        let mut zones = suffixes.filter_map(|it| self.0.get(it));
        zones.next().map(|it| &**it)
    }
}

#[cfg(test)]
mod tests;
