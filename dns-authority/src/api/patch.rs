//! Decides what a patch of PowerDNS's API does to a zone.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::keeper::Refused;
use crate::update::{self, Changes};
use crate::wire::name::{self, Folded};
use crate::wire::whole::Entry;
use crate::wire::{CLASS_IN, code, kind};
use crate::zone::{Zone, data_from_text};

/// Sets of records that are to be as they are here. What else a client sends is not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Patch {
    #[serde(default)]
    pub(super) rrsets: Vec<SetPatch>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SetPatch {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    changetype: String,
    ttl: Option<u32>,
    #[serde(default)]
    records: Vec<RecordPatch>,
}

#[derive(Debug, Deserialize)]
struct RecordPatch {
    content: String,
    #[serde(default)]
    disabled: bool,
}

/// A set, read and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    owner: Vec<u8>,
    kind: u16,
    ttl: u32,
    what: What,
    data: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    // What goes makes room for what comes.
    Delete,
    Prune,
    Extend,
    Replace,
}

const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;
const TTL_MAX: u32 = (1 << 31) - 1;

impl Patch {
    /// What is to be at each name.
    pub(super) fn changes(&self, zone: &Zone) -> Result<Changes, Refused> {
        let mut wishes = Vec::new();
        let mut seen = BTreeSet::new();
        for set in &self.rrsets {
            let wish = set.read(zone).map_err(|what| {
                let what = format!("RRset {} IN {}: {what}", set.name, set.kind);
                Refused {
                    code: code::REFUSED,
                    what,
                }
            })?;
            if !seen.insert((wish.owner.to_ascii_lowercase(), wish.kind, wish.what)) {
                let what = format!("Duplicate RRset {} IN {}", set.name, set.kind);
                return Err(Refused {
                    code: code::REFUSED,
                    what,
                });
            }
            wishes.push(wish);
        }
        wishes.sort_by_key(|it| it.what);
        let entries: Vec<Entry> = wishes.iter().flat_map(|it| it.entries(zone)).collect();
        let changes = update::apply(zone.store(), zone.origin(), &[], &entries)?;
        match wishes.iter().find(|it| !it.is_granted(&changes, zone)) {
            None => Ok(changes),
            Some(wish) => {
                let owner = name::Shown(&wish.owner);
                let kind = kind::Shown(wish.kind);
                let what = format!("RRset {owner} IN {kind}: Conflicts with pre-existing RRset");
                Err(Refused {
                    code: code::REFUSED,
                    what,
                })
            }
        }
    }
}

impl SetPatch {
    fn read(&self, zone: &Zone) -> Result<Wish, String> {
        let owner =
            name::parse(&self.name, &[0]).map_err(|it| format!("Name is malformed: {it}"))?;
        let folded = Folded::read(&owner).map_err(|it| it.to_string())?;
        if !self.name.ends_with('.') {
            return Err("Name is not absolute: it lacks the last dot".to_owned());
        }
        let mut suffixes = (0..=folded.labels()).map(|it| folded.suffix(it));
        if !suffixes.any(|it| it == zone.origin()) {
            return Err("Name is out of zone".to_owned());
        }
        let kind = self.kind(folded.octets() == zone.origin())?;
        let what = match &*self.changetype.to_ascii_uppercase() {
            "DELETE" => What::Delete,
            "EXTEND" => What::Extend,
            "PRUNE" => What::Prune,
            "REPLACE" => What::Replace,
            other => return Err(format!("Changetype `{other}` is not known")),
        };
        let ttl = match self.ttl {
            Some(ttl) if ttl <= TTL_MAX => ttl,
            None if [What::Delete, What::Prune].contains(&what) => 0,
            Some(_) | None => return Err("ttl is missing, or above 2147483647".to_owned()),
        };
        let data = match what {
            What::Delete => Vec::new(),
            What::Extend | What::Prune | What::Replace => self.data(kind)?,
        };
        // PowerDNS takes a replacement by nothing for what it is.
        let what = match what {
            What::Replace if data.is_empty() => What::Delete,
            What::Delete | What::Extend | What::Prune | What::Replace => what,
        };
        Ok(Wish {
            owner,
            kind,
            ttl,
            what,
            data,
        })
    }

    /// ExternalDNS says ALIAS for names of other zones, and takes CNAME for the same when it reads.
    fn kind(&self, is_origin: bool) -> Result<u16, String> {
        match &*self.kind.to_ascii_uppercase() {
            "ALIAS" if is_origin => Err("ALIAS cannot be at the top of a zone here".to_owned()),
            "ALIAS" => Ok(kind::CNAME),
            "LUA" => Err("LUA records belong to the zone's file".to_owned()),
            other => kind::named(other).ok_or_else(|| "Unknown type given".to_owned()),
        }
    }

    fn data(&self, kind: u16) -> Result<Vec<Vec<u8>>, String> {
        let data = self.records.iter().map(|record| {
            if record.disabled {
                return Err("disabled records are not kept here".to_owned());
            }
            let data = data_from_text(kind, &record.content, &[0]);
            data.map_err(|it| format!("Record content `{}`: {it}", record.content))
        });
        data.collect()
    }
}

impl Wish {
    /// As an update says it.
    fn entries(&self, zone: &Zone) -> Vec<Entry> {
        let entry = |class, data: &[u8]| Entry {
            owner: self.owner.clone(),
            kind: self.kind,
            class,
            ttl: if class == CLASS_IN { self.ttl } else { 0 },
            data: data.to_vec(),
        };
        let each = |class| self.data.iter().map(move |it| entry(class, it));
        match self.what {
            What::Delete => vec![entry(CLASS_ANY, &[])],
            What::Extend => each(CLASS_IN).collect(),
            What::Prune => each(CLASS_NONE).collect(),
            // An update keeps the servers of a zone, so that those that go do so one by one.
            What::Replace if self.kind == kind::NS => {
                let set = Folded::read(&self.owner)
                    .ok()
                    .and_then(|it| zone.node(&it)?.set(kind::NS));
                let old = set.into_iter().flat_map(|it| it.data());
                let gone = old.filter(|it| !self.data.iter().any(|data| data == it));
                each(CLASS_IN)
                    .chain(gone.map(|it| entry(CLASS_NONE, it)))
                    .collect()
            }
            What::Replace => [entry(CLASS_ANY, &[])]
                .into_iter()
                .chain(each(CLASS_IN))
                .collect(),
        }
    }

    /// Whether the set is what it was to be: an update passes over what does not go together.
    fn is_granted(&self, changes: &Changes, zone: &Zone) -> bool {
        if self.what != What::Replace || self.kind == kind::SOA {
            return true;
        }
        let owner = self.owner.to_ascii_lowercase();
        match changes.iter().find(|(name, _)| *name == owner) {
            Some((_, sets)) => {
                let set = sets.iter().find(|it| it.kind == self.kind);
                set.is_some_and(|it| self.data.iter().all(|data| it.data.contains(data)))
            }
            // Nothing had to change.
            None => zone
                .store()
                .find(&owner)
                .is_some_and(|it| it.set(self.kind).is_some()),
        }
    }
}
