//! Keeps the versions of zones: what files say, with the changes that others made on top; copies of other
//! servers' zones; and what changed from version to version.
//!
//! A change is on disk before anybody hears of it. Whoever raises the serial of a zone's file above that of
//! the last change takes the zone back: the changes are dropped then.

mod copy;
mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::catalog;
use crate::journal::file::JournalFile;
use crate::journal::{Difference, History};
use crate::serial;
use crate::transfer::incoming::Fetched;
use crate::update::Changes;
use crate::wire::code;
use crate::wire::name::{Folded, Shown};
use crate::zone::{Zone, Zones};
use copy::Copy;
use kept::Kept;

/// The histories of all zones, by origin in lower case.
pub type Histories = BTreeMap<Box<[u8]>, Arc<History>>;

/// Says what to change in a version of a zone, or why nothing.
pub type Change = Box<dyn FnOnce(&Zone) -> Result<Changes, Refused> + Send>;

/// Why a zone stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For DNS.
    pub code: u16,
    /// For people.
    pub what: String,
}

impl From<u16> for Refused {
    fn from(code: u16) -> Self {
        let what = code::Shown(code).to_string();
        Self { code, what }
    }
}

/// All zones in the versions that are served.
#[derive(Debug)]
pub struct Keeper {
    /// Where journals are; `None` if nothing is to be kept.
    directory: Option<PathBuf>,
    kept: BTreeMap<Box<[u8]>, Kept>,
    /// Of other servers' zones.
    copies: BTreeMap<Box<[u8]>, Copy>,
    catalog: Option<Catalog>,
    /// Whether others copy zones, so that a version without a new serial never reaches them.
    minds_serials: bool,
    /// For those who give zones out.
    histories: Arc<ArcSwap<Histories>>,
    /// What is wrong, by origin.
    problems: BTreeMap<Box<[u8]>, String>,
}

/// The list of zones.
#[derive(Debug)]
struct Catalog {
    origin: Folded,
    members: BTreeSet<Box<[u8]>>,
    /// `None` before the first.
    zone: Option<Arc<Zone>>,
}

impl Keeper {
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            kept: BTreeMap::new(),
            copies: BTreeMap::new(),
            catalog: None,
            minds_serials: false,
            histories: Arc::default(),
            problems: BTreeMap::new(),
        }
    }

    /// Has it said when a zone changes without a new serial: others copy zones.
    pub fn mind_serials(&mut self) {
        self.minds_serials = true;
    }

    /// Keeps a list of all zones of files, as a zone with this name.
    pub fn list_at(&mut self, origin: Folded) {
        self.catalog = Some(Catalog {
            origin,
            members: BTreeSet::new(),
            zone: None,
        });
    }

    pub fn histories(&self) -> Arc<ArcSwap<Histories>> {
        Arc::clone(&self.histories)
    }

    /// The serial of each zone, by origin.
    pub fn serials(&self) -> BTreeMap<Box<[u8]>, u32> {
        let zones = self.zones();
        let served = zones.iter().filter(|it| it.lack().is_none());
        served.map(|it| (it.origin().into(), it.serial())).collect()
    }

    /// What is wrong with zones now, a sentence each.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let copies = self.copies.values().filter_map(Copy::problem);
        self.problems.values().cloned().chain(copies)
    }

    /// Begins to keep a copy of another server's zone; returns when that vouched for it last, in seconds
    /// since 1970.
    pub fn follow(&mut self, origin: &Folded) -> Option<u64> {
        let (copy, error) = Copy::open(origin, self.directory.as_deref());
        if let Some(error) = error {
            warn!(zone = ?origin, %error, "cannot read the copy of an earlier life");
        }
        let confirmed = copy.confirmed;
        self.copies.insert(origin.octets().into(), copy);
        confirmed
    }

    /// Takes over what a primary said at this time, in seconds since 1970; returns the new version.
    ///
    /// # Errors
    ///
    /// The response code. The copy is as it was then.
    pub fn install(
        &mut self,
        origin: &[u8],
        fetched: Fetched,
        now: u64,
    ) -> Result<Option<Arc<Zone>>, Refused> {
        let copy = self.copies.get_mut(origin).ok_or(code::NOT_AUTHORITATIVE)?;
        if let Err(error) = copy.install(fetched, now) {
            error!(zone = %Shown(origin), error, "cannot take a new version over");
            return Err(code::SERVER_FAILURE.into());
        }
        let zone = Arc::clone(&copy.zone);
        self.publish();
        Ok(Some(zone))
    }

    /// Serves a copy no more that its primary does not vouch for.
    pub fn expire(&mut self, origin: &[u8]) -> Option<Arc<Zone>> {
        let copy = self.copies.get_mut(origin)?;
        if copy.zone.lack().is_none() {
            error!(zone = %Shown(origin), "no primary vouched for the copy in time: it is served no more");
            copy.expire();
        }
        Some(Arc::clone(&copy.zone))
    }

    /// Takes over zones as files have them; returns what is to be served.
    pub fn load(&mut self, files: &Zones) -> Zones {
        self.kept.retain(|origin, _| files.0.contains_key(origin));
        self.problems
            .retain(|origin, _| files.0.contains_key(origin));
        for base in files.iter() {
            match self.kept.remove(base.origin()) {
                Some(kept) if Arc::ptr_eq(&kept.base, base) => {
                    self.kept.insert(base.origin().into(), kept);
                }
                Some(kept) => self.reload(kept, base),
                None => self.open(base),
            }
        }
        self.publish();
        self.zones()
    }

    /// Brings the list of zones up to date at this time, in seconds since 1970, which gives its serial: so
    /// it goes up from life to life.
    pub fn renew_list(&mut self, now: u64) {
        let members: BTreeSet<Box<[u8]>> = self.kept.keys().cloned().collect();
        let Some(catalog) = &mut self.catalog else {
            return;
        };
        let last = catalog.zone.as_ref().map(|it| it.serial());
        if last.is_some() && catalog.members == members {
            return;
        }
        let serial = u32::try_from(now).unwrap_or(u32::MAX);
        let serial = last.map_or(serial, |it| serial.max(serial::next(it)));
        let zone = catalog::zone(&catalog.origin, members.iter().map(|it| &**it), serial);
        match zone {
            Ok(zone) => catalog.zone = Some(Arc::new(zone)),
            Err(error) => error!(catalog = ?catalog.origin, error, "cannot list zones there"),
        }
        catalog.members = members;
    }

    /// What is to be served.
    pub fn zones(&self) -> Zones {
        let mut zones = Zones::default();
        for kept in self.kept.values() {
            zones.insert(Arc::clone(&kept.served));
        }
        if let Some(zone) = self.catalog.as_ref().and_then(|it| it.zone.as_ref()) {
            zones.insert(Arc::clone(zone));
        }
        for copy in self.copies.values() {
            zones.insert(Arc::clone(&copy.zone));
        }
        zones
    }

    /// Changes a zone; returns the new version, or `None` if all was as it should be.
    ///
    /// # Errors
    ///
    /// It cannot be made, or not kept; the zone is as it was then.
    pub fn change(&mut self, origin: &[u8], change: Change) -> Result<Option<Arc<Zone>>, Refused> {
        let kept = self.kept.get_mut(origin).ok_or_else(|| Refused {
            code: code::NOT_AUTHORITATIVE,
            what: "the zone is not from a file here, so it is changed elsewhere".to_owned(),
        })?;
        let changes = change(&kept.served)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let zone = kept.served.with(&changes).map_err(|what| {
            info!(zone = %Shown(origin), what, "refused a change");
            Refused {
                code: code::REFUSED,
                what,
            }
        })?;
        let names = changes.iter().map(|(name, _)| &name[..]);
        let difference = kept
            .served
            .view(|old| zone.view(|new| Difference::at(old, new, names)));
        let directory = self.directory.as_deref();
        if let Err(error) = kept.write(origin, directory, &difference) {
            error!(zone = %Shown(origin), %error, "cannot keep a change, so it is not made");
            return Err(code::SERVER_FAILURE.into());
        }
        kept.served = Arc::new(zone);
        Arc::make_mut(&mut kept.history).push(Arc::new(difference));
        let served = Arc::clone(&kept.served);
        self.publish();
        Ok(Some(served))
    }

    /// A zone that was not there before: its changes are those of an earlier life.
    fn open(&mut self, base: &Arc<Zone>) {
        let mut kept = Kept::new(base);
        let path = self
            .directory
            .as_deref()
            .map(|it| path(it, "zone", base.origin()));
        let opened = path
            .filter(|it| it.exists())
            .map(|it| JournalFile::open(&it));
        match opened.transpose() {
            Ok(None) => (),
            Ok(Some((journal, frames))) => {
                kept.journal = Some(journal);
                let problem = kept.replay(frames);
                self.note(base.origin(), problem);
            }
            Err(error) => {
                let what = format!(
                    "cannot read the changes of {}: {error}",
                    Shown(base.origin())
                );
                self.note(base.origin(), Some(what));
            }
        }
        self.kept.insert(base.origin().into(), kept);
    }

    fn reload(&mut self, mut kept: Kept, base: &Arc<Zone>) {
        let origin = base.origin();
        let problem = kept.rebase(base, self.minds_serials);
        self.note(origin, problem);
        self.kept.insert(origin.into(), kept);
    }

    fn note(&mut self, origin: &[u8], problem: Option<String>) {
        match problem {
            None => drop(self.problems.remove(origin)),
            Some(problem) => {
                if self.problems.get(origin) != Some(&problem) {
                    warn!(problem, "the versions of a zone do not go together");
                }
                self.problems.insert(origin.into(), problem);
            }
        }
    }

    fn publish(&self) {
        let histories = self.kept.iter();
        let histories = histories.map(|(origin, kept)| (origin.clone(), Arc::clone(&kept.history)));
        let copies = self.copies.iter();
        let copies = copies.map(|(origin, copy)| (origin.clone(), Arc::clone(&copy.history)));
        let histories = histories.chain(copies);
        self.histories.store(Arc::new(histories.collect()));
    }
}

/// Where the changes of a zone are. Whatever a name has in it, a file's name has only what is harmless.
fn path(directory: &Path, what: &str, origin: &[u8]) -> PathBuf {
    let shown = Shown(origin).to_string();
    let harmless = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    let name: String = shown
        .chars()
        .map(|it| match harmless(it) {
            true => it.to_string(),
            false => format!("%{:02x}", u32::from(it)),
        })
        .collect();
    directory.join(format!("{what}-{name}journal"))
}

#[cfg(test)]
mod tests;
