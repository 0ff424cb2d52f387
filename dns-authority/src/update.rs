//! Decides what an update does to a zone (RFC 2136 section 3): all of it, or nothing.
//!
//! Records that choose their answers belong to the zone's file, and those that prove answers to the
//! server: no update touches either.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::{self, Record, soa_serial, with_serial};
use crate::serial;
use crate::store::{NewSet, Store};
use crate::wire::name::Folded;
use crate::wire::whole::Entry;
use crate::wire::{CLASS_IN, code, kind};

/// What is at each name after an update, for [`Store::with`]. Names are in lower case.
pub type Changes = Vec<(Vec<u8>, Vec<NewSet>)>;

/// Classes that mean something else in updates (RFC 2136 section 2.4).
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;

/// Types that are questions, not records.
const KIND_MAILB: u16 = 253;
const KIND_MAILA: u16 = 254;

/// Types of which there is one record at a name at most.
const SINGLE: [u16; 3] = [kind::CNAME, kind::SOA, kind::DNAME];

/// What the server makes itself: RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM, CDS and CDNSKEY.
const SERVERS_OWN: [u16; 7] = [46, 47, 48, 50, 51, 59, 60];

/// What the update makes of the zone at `origin`, which is in lower case; nothing if all is as it should
/// be already.
///
/// # Errors
///
/// The response code: a prerequisite is not met, the update breaks a rule, or is not allowed.
pub fn apply(
    store: &Store,
    origin: &[u8],
    prerequisites: &[Entry],
    updates: &[Entry],
) -> Result<Changes, u16> {
    check_prerequisites(store, origin, prerequisites)?;
    for update in updates {
        check_form(store, origin, update)?;
    }
    let mut draft = Draft {
        store,
        origin,
        names: BTreeMap::new(),
    };
    for update in updates {
        draft.apply(update);
    }
    draft.changes()
}

/// RFC 2136 section 3.2.
fn check_prerequisites(store: &Store, origin: &[u8], entries: &[Entry]) -> Result<(), u16> {
    let mut exact = BTreeMap::<(Vec<u8>, u16), BTreeSet<&[u8]>>::new();
    for entry in entries {
        let name = of_zone(origin, &entry.owner)?;
        if entry.ttl != 0 {
            return Err(code::FORMAT_ERROR);
        }
        let node = store.find(&name);
        let is_used = node.is_some_and(|it| it.sets().next().is_some());
        let has_set = node.is_some_and(|it| it.set(entry.kind).is_some());
        let is_any = entry.kind == kind::ANY;
        let outcome = match entry.class {
            CLASS_ANY | CLASS_NONE if !entry.data.is_empty() => code::FORMAT_ERROR,
            CLASS_ANY if is_any && !is_used => code::NO_NAME,
            CLASS_ANY if !is_any && !has_set => code::NO_SET,
            CLASS_NONE if is_any && is_used => code::NAME_EXISTS,
            CLASS_NONE if !is_any && has_set => code::SET_EXISTS,
            CLASS_ANY | CLASS_NONE => code::NO_ERROR,
            CLASS_IN if is_question(entry.kind) => code::FORMAT_ERROR,
            CLASS_IN => {
                exact
                    .entry((name, entry.kind))
                    .or_default()
                    .insert(&entry.data);
                code::NO_ERROR
            }
            _ => code::FORMAT_ERROR,
        };
        if outcome != code::NO_ERROR {
            return Err(outcome);
        }
    }
    for ((name, kind), expected) in exact {
        let set = store.find(&name).and_then(|it| it.set(kind));
        let set = set.ok_or(code::NO_SET)?;
        if set.has_plans() || set.data().collect::<BTreeSet<_>>() != expected {
            return Err(code::NO_SET);
        }
    }
    Ok(())
}

/// RFC 2136 section 3.4.1, and what we do not allow.
fn check_form(store: &Store, origin: &[u8], entry: &Entry) -> Result<(), u16> {
    let name = of_zone(origin, &entry.owner)?;
    let is_empty = entry.data.is_empty() && entry.ttl == 0;
    let is_fit = match entry.class {
        CLASS_IN => !is_question(entry.kind) && !entry.data.is_empty(),
        CLASS_ANY => is_empty && (entry.kind == kind::ANY || !is_question(entry.kind)),
        CLASS_NONE => entry.ttl == 0 && !is_question(entry.kind) && !entry.data.is_empty(),
        _ => false,
    };
    if !is_fit {
        return Err(code::FORMAT_ERROR);
    }
    let sets = || store.find(&name).into_iter().flat_map(|it| it.sets());
    let is_choosing = match entry.kind {
        kind::ANY | kind::CNAME => sets().any(|it| it.has_plans()),
        wanted => sets().any(|it| it.kind == wanted && it.has_plans()),
    };
    let is_astray = entry.kind == kind::SOA && name != origin;
    match is_choosing || is_astray || SERVERS_OWN.contains(&entry.kind) {
        true => Err(code::REFUSED),
        false => Ok(()),
    }
}

/// The name in lower case, if it belongs to the zone.
fn of_zone(origin: &[u8], owner: &[u8]) -> Result<Vec<u8>, u16> {
    let name = Folded::read(owner).map_err(|_| code::FORMAT_ERROR)?;
    let mut suffixes = (0..=name.labels()).map(|it| name.suffix(it));
    match suffixes.any(|it| it == origin) {
        true => Ok(name.octets().to_vec()),
        false => Err(code::NOT_OF_ZONE),
    }
}

fn is_question(kind: u16) -> bool {
    matches!(
        kind,
        0 | kind::OPT | kind::TSIG | kind::IXFR | kind::AXFR | KIND_MAILB | KIND_MAILA | kind::ANY
    )
}

/// The zone while it changes.
struct Draft<'a> {
    store: &'a Store,
    origin: &'a [u8],
    names: BTreeMap<Vec<u8>, Vec<NewSet>>,
}

impl Draft<'_> {
    /// RFC 2136 section 3.4.2.
    fn apply(&mut self, entry: &Entry) {
        let name = entry.owner.to_ascii_lowercase();
        let is_origin = name == self.origin;
        let sets = self.sets(name);
        // The zone keeps its SOA and its servers.
        let is_kept = |kind| is_origin && [kind::SOA, kind::NS].contains(&kind);
        match entry.class {
            CLASS_IN => add(sets, entry),
            CLASS_ANY if entry.kind == kind::ANY => sets.retain(|it| is_kept(it.kind)),
            CLASS_ANY => sets.retain(|it| it.kind != entry.kind || is_kept(it.kind)),
            _ => {
                for set in sets.iter_mut().filter(|it| it.kind == entry.kind) {
                    if !is_kept(set.kind) || set.kind == kind::NS && 1 < set.data.len() {
                        set.data.retain(|it| *it != entry.data);
                    }
                }
                sets.retain(|it| !it.data.is_empty() || !it.plans.is_empty());
            }
        }
    }

    fn sets(&mut self, name: Vec<u8>) -> &mut Vec<NewSet> {
        let node = self.store.find(&name);
        let sets = self.names.entry(name);
        sets.or_insert_with(|| node.map(journal::sets).unwrap_or_default())
    }

    /// What differs from the zone, with a new serial if the update did not set one.
    fn changes(mut self) -> Result<Changes, u16> {
        let store = self.store;
        let before = |name: &[u8]| store.find(name).map(journal::sets).unwrap_or_default();
        self.names.retain(|name, sets| *sets != before(name));
        if self.names.is_empty() {
            return Ok(Vec::new());
        }
        let old = self.serial()?;
        let sets = self.sets(self.origin.to_vec());
        let soa = sets.iter_mut().find(|it| it.kind == kind::SOA);
        let soa = soa.and_then(|it| it.data.first_mut());
        let soa = soa.ok_or(code::SERVER_FAILURE)?;
        if soa_serial(soa) == Some(old) {
            *soa = with_serial(soa, serial::next(old)).into_vec();
        }
        Ok(self.names.into_iter().collect())
    }

    fn serial(&self) -> Result<u32, u16> {
        let soa = self
            .store
            .find(self.origin)
            .and_then(|it| it.set(kind::SOA));
        let serial = soa.and_then(|it| soa_serial(it.data().next()?));
        serial.ok_or(code::SERVER_FAILURE)
    }
}

/// Adds a record, unless it does not go with what is there: that is passed over in silence.
fn add(sets: &mut Vec<NewSet>, entry: &Entry) {
    let is_alias = entry.kind == kind::CNAME;
    if sets.iter().any(|it| (it.kind == kind::CNAME) != is_alias) {
        return;
    }
    if entry.kind == kind::SOA {
        let current = sets.iter().find(|it| it.kind == kind::SOA);
        let current = current.and_then(|it| soa_serial(it.data.first()?));
        let is_newer = |new| current.is_some_and(|it| serial::is_newer(new, it));
        if !soa_serial(&entry.data).is_some_and(is_newer) {
            return;
        }
    }
    if SINGLE.contains(&entry.kind) {
        sets.retain(|it| it.kind != entry.kind);
    }
    let record = Record {
        owner: entry.owner.as_slice().into(),
        kind: entry.kind,
        ttl: entry.ttl,
        data: entry.data.as_slice().into(),
    };
    journal::add(sets, &record);
    sets.sort_by_key(|it| it.kind);
}

#[cfg(test)]
mod tests;
