//! Keeps the keys of the zones that are signed: takes changed files over, and rolls keys over where that
//! is this authority's to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;
use topology::report::Problem;
use tracing::{info, warn};

use crate::config::{SigningOptions, Wish};
use crate::dnssec::directory::{Directory, Stamp};
use crate::dnssec::keys::{KEYS_TTL, Keys, Stage};
use crate::dnssec::parent;
use crate::dnssec::roll::{Parent, Policy, Step, advance};
use crate::dnssec::signer::Desk;
use crate::wire::name::Shown;
use crate::zone::{Zone, Zones};

/// The keys of all zones, and what is signed by them.
#[derive(Default)]
pub(super) struct Signing {
    options: SigningOptions,
    directory: Option<Directory>,
    desk: Arc<Desk>,
    /// By the zone's name in lower case.
    zones: BTreeMap<Box<[u8]>, Signed>,
    parents: Option<Parents>,
}

/// A zone, and what it is signed with.
#[derive(Default)]
struct Signed {
    keys: Option<Keys>,
    /// The file that was looked at last.
    stamp: Option<Stamp>,
    /// What is wrong with the file as it is now.
    unreadable: Option<String>,
    /// Why a step that is due is not taken.
    unwritten: Option<String>,
    /// The zone as it was read, and as it is published.
    published: Option<(Arc<Zone>, Arc<Zone>)>,
}

/// What the parents of zones were seen to have, and which are to be asked.
struct Parents {
    wanted: watch::Sender<Vec<Box<[u8]>>>,
    seen: watch::Receiver<BTreeMap<Box<[u8]>, Parent>>,
}

const DAY: u64 = 24 * 3600;
/// Secondary servers, and copies of files of keys, are this far behind at most.
const PROPAGATION: u64 = 3600;
/// DS records of most parents live as long, or less.
const PARENT_TTL_MIN: u64 = DAY;
/// So that a zone whose times to live were just made shorter is not rolled over by them.
const ZONE_TTL_MIN: u64 = DAY;
/// Nobody waits for a parent, which is somebody else's server.
const PARENT_INTERVAL: Duration = Duration::from_mins(5);

impl Signing {
    /// Reads the keys that there are, and makes those that are missing.
    pub(super) fn open(options: SigningOptions, zones: &Zones, now: u64) -> anyhow::Result<Self> {
        let signing = Self {
            directory: options.dnssec_dir.as_deref().map(Directory::new),
            desk: Arc::new(Desk::new(now)),
            parents: options.dnssec_parent.map(Parents::follow),
            options,
            zones: BTreeMap::new(),
        };
        let Some(directory) = signing.directory.clone() else {
            return Ok(signing);
        };
        for Wish {
            origin,
            algorithm,
            denial,
            is_split,
        } in &signing.options.dnssec
        {
            if !zones.0.contains_key(origin.octets()) {
                bail!("--dnssec names {origin:?}, which no --zone serves: add the zone");
            }
            if directory.read(origin.octets())?.is_none() {
                let keys = Keys::generate(origin.octets(), *algorithm, *is_split, *denial, now)?;
                directory.write(&keys)?;
                info!(zone = ?origin, %algorithm, "made keys");
            }
        }
        for zone in zones.iter() {
            directory
                .read(zone.origin())
                .context("cannot sign with the keys in --dnssec-dir")?;
        }
        Ok(signing)
    }

    /// The zones, those signed that have keys.
    pub(super) fn signed(&mut self, mut zones: Zones) -> Zones {
        let Some(directory) = &self.directory else {
            return zones;
        };
        self.zones.retain(|origin, _| zones.0.contains_key(origin));
        for (origin, zone) in &mut zones.0 {
            // Later changes of its keys are looked for once a tick.
            let signed = self.zones.entry(origin.clone()).or_insert_with(|| {
                let mut signed = Signed::default();
                signed.look_at(directory, origin);
                signed
            });
            if let Some(published) = signed.publish(zone, &self.desk) {
                *zone = published;
            }
        }
        zones
    }

    /// Takes the time, changed files, and steps of roll-overs; whether zones are to be published anew.
    pub(super) fn handle_tick(&mut self, now: u64) -> bool {
        self.desk.tell(now);
        let Some(directory) = &self.directory else {
            return false;
        };
        let mut is_changed = false;
        for (origin, signed) in &mut self.zones {
            is_changed |= signed.look_at(directory, origin);
        }
        for wish in &self.options.dnssec {
            let Some(signed) = self.zones.get_mut(wish.origin.octets()) else {
                continue;
            };
            let policy = policy(&self.options, signed);
            let parent = self
                .parents
                .as_ref()
                .and_then(|it| it.of(wish.origin.octets()));
            is_changed |= signed.roll(wish, directory, now, &policy, parent.as_ref());
        }
        self.ask_parents();
        is_changed
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let of_zone = |it: &Signed| [it.unreadable.clone(), it.unwritten.clone()];
        let problems = self.zones.values().flat_map(of_zone).flatten();
        problems.map(|what| Problem {
            what,
            remedy: "look at --dnssec-dir; until then the zone is signed as it was".to_owned(),
        })
    }

    /// Those that wait for their parents are asked for.
    fn ask_parents(&self) {
        let Some(parents) = &self.parents else {
            return;
        };
        let waiting = self.options.dnssec.iter().filter(|wish| {
            let signed = self.zones.get(wish.origin.octets());
            let keys = signed.and_then(|it| it.keys.as_ref());
            keys.is_some_and(|it| it.entry().any(|it| it.stage == Stage::Submitted))
        });
        let waiting: Vec<Box<[u8]>> = waiting.map(|it| it.origin.octets().into()).collect();
        parents.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != waiting;
            *wanted = waiting;
            is_new
        });
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(0)
    }
}

fn policy(options: &SigningOptions, signed: &Signed) -> Policy {
    let zone_ttl = signed
        .published
        .as_ref()
        .map_or(0, |(zone, _)| zone.ttl_max());
    Policy {
        keys_ttl: KEYS_TTL.into(),
        zone_ttl: u64::from(zone_ttl).max(ZONE_TTL_MIN),
        parent_ttl: PARENT_TTL_MIN,
        propagation: PROPAGATION,
        zone_lifetime: Some(options.dnssec_zsk_lifetime * DAY),
        entry_lifetime: options.dnssec_ksk_lifetime.map(|it| it * DAY),
    }
}

impl Signed {
    /// Reads the keys anew if their file is another; whether they are others.
    fn look_at(&mut self, directory: &Directory, origin: &[u8]) -> bool {
        let stamp = directory.stamp(origin);
        if stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        match directory.read(origin) {
            Ok(Some(keys)) => {
                self.unreadable = None;
                info!(zone = %Shown(origin), keys = keys.keys.len(), "signs with the keys of the file");
                self.keys = Some(keys);
                self.published = None;
                return true;
            }
            Ok(None) => {
                let path = directory.path(origin);
                self.unreadable = Some(format!("the keys are gone from {}", path.display()));
            }
            Err(error) => self.unreadable = Some(format!("{error:#}")),
        }
        warn!(
            problem = self.unreadable,
            "signs with the keys as they were"
        );
        false
    }

    /// Takes the steps that are due; whether there were any. What is not on disk has not happened.
    fn roll(
        &mut self,
        wish: &Wish,
        directory: &Directory,
        now: u64,
        policy: &Policy,
        parent: Option<&Parent>,
    ) -> bool {
        let Some(known) = self.keys.as_ref().filter(|_| self.unreadable.is_none()) else {
            return false;
        };
        let mut keys = known.clone();
        keys.denial = wish.denial;
        let steps = advance(&mut keys, now, policy, parent).context("cannot make a key");
        let steps = match steps {
            Ok(steps) if steps.is_empty() && keys.denial == known.denial => return false,
            other => other,
        };
        let written = steps.and_then(|steps| directory.write(&keys).map(|()| steps));
        match written {
            Ok(steps) => {
                for Step { tag, role, stage } in steps {
                    info!(zone = ?wish.origin, tag, %role, stage = ?stage, "a key goes on");
                }
                self.unwritten = None;
                self.stamp = directory.stamp(&keys.origin);
                self.keys = Some(keys);
                self.published = None;
                true
            }
            Err(error) => {
                // Tried again, and told once.
                let problem = Some(format!("{error:#}"));
                if self.unwritten != problem {
                    warn!(problem, "keys do not roll over");
                    self.unwritten = problem;
                }
                false
            }
        }
    }

    /// The zone signed, if there are keys.
    fn publish(&mut self, zone: &Arc<Zone>, desk: &Arc<Desk>) -> Option<Arc<Zone>> {
        let keys = self.keys.as_ref()?;
        let known = self.published.as_ref();
        if let Some((_, published)) = known.filter(|(read, _)| Arc::ptr_eq(read, zone)) {
            return Some(Arc::clone(published));
        }
        match zone.signed(keys, Arc::clone(desk)) {
            Ok(signed) => {
                let signed = Arc::new(signed);
                self.published = Some((Arc::clone(zone), Arc::clone(&signed)));
                Some(signed)
            }
            Err(problem) => {
                self.unwritten = Some(problem);
                None
            }
        }
    }
}

impl Parents {
    /// Asks `address` for the zones that wait, until nobody wants to know any more.
    fn follow(address: SocketAddr) -> Self {
        let (wanted, mut zones) = watch::channel(Vec::<Box<[u8]>>::new());
        let (tell, seen) = watch::channel(BTreeMap::new());
        tokio::spawn(async move {
            loop {
                let waiting = zones.borrow_and_update().clone();
                for origin in waiting {
                    match parent::ask(address, &origin).await {
                        Ok(parent) => {
                            tell.send_modify(|it| drop(it.insert(origin, parent)));
                        }
                        Err(error) => {
                            let error = format!("{error:#}");
                            warn!(zone = %Shown(&origin), error, "the parent is not known");
                        }
                    }
                }
                let changed = tokio::time::timeout(PARENT_INTERVAL, zones.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return;
                }
            }
        });
        Self { wanted, seen }
    }

    fn of(&self, origin: &[u8]) -> Option<Parent> {
        self.seen.borrow().get(origin).cloned()
    }
}
