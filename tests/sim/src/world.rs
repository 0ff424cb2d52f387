//! The mesh as a whole: time, links, and what happens to it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::Millis;
use crate::check::{Check, Fault, backends, compare};
use crate::follower::Link;
use crate::input::address;
use crate::site::{Neighbours, Site, name};
use crate::store::Store;

/// How long a mesh may take to agree once nothing disturbs it: a clock that was set back an hour must
/// not prolong it.
const BOUND: Millis = 60_000;

/// Steps in which things happen, some hundred milliseconds apart.
const STEPS: u32 = 120;

/// A seed under which the mesh was wrong.
#[derive(Debug)]
pub struct Broken {
    seed: u64,
    at: Millis,
    fault: Fault,
    /// What happened last, oldest first.
    history: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recent = self.history.len().saturating_sub(40);
        writeln!(formatter, "{}", self.history[recent..].join("\n"))?;
        write!(
            formatter,
            "seed {}, after {} ms: {}",
            self.seed, self.at, self.fault
        )
    }
}

/// Runs the mesh of `seed` through its troubles and to its peace; the milliseconds that this took.
///
/// # Errors
///
/// If it was wrong at any time, or did not come to agree.
pub fn run(seed: u64) -> Result<Millis, Broken> {
    let mut world = World::new(seed);
    match world.live() {
        Ok(()) => Ok(world.now),
        Err(fault) => Err(Broken {
            seed,
            at: world.now,
            fault,
            history: world.history,
        }),
    }
}

struct World {
    rng: SmallRng,
    now: Millis,
    origin: Instant,
    sites: Vec<Site>,
    links: BTreeMap<(usize, usize), Link>,
    instances: u64,
    check: Check,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let origin = origin();
        let clusters = rng.random_range(2..5);
        let sites = (0..clusters).map(|it| Site::new(it, clusters, rng.random_bool(0.4), origin));
        Self {
            sites: sites.collect(),
            links: BTreeMap::new(),
            now: 0,
            origin,
            instances: 100,
            check: Check::new(clusters),
            history: Vec::new(),
            rng,
        }
    }

    fn live(&mut self) -> Result<(), Fault> {
        for index in 0..self.sites.len() {
            self.change_truth(index)?;
            self.start(index)?;
        }
        for _ in 0..STEPS {
            if self.rng.random_bool(0.3) {
                self.happen()?;
            }
            self.step()?;
        }
        self.make_peace()?;
        let deadline = self.now + BOUND;
        loop {
            self.step()?;
            match self.agree() {
                Ok(()) => return Ok(()),
                Err(fault) if deadline <= self.now => return Err(fault),
                Err(_) => (),
            }
        }
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.now += self.rng.random_range(5..300);
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        order.shuffle(&mut self.rng);
        for index in order {
            let (before, rest) = self.sites.split_at_mut(index);
            let Some((site, after)) = rest.split_first_mut() else {
                continue;
            };
            let others = before.iter().chain(after.iter());
            let neighbours = neighbours(index, others, &self.links);
            site.advance(&neighbours, self.now, &mut self.check, &mut self.rng)?;
        }
        Ok(())
    }

    /// One thing that happens to a mesh.
    fn happen(&mut self) -> Result<(), Fault> {
        let index = self.rng.random_range(0..self.sites.len());
        let event = self.rng.random_range(0..100);
        self.history
            .push(format!("{} ms: event {event} at c{index}", self.now));
        match event {
            0..35 => self.change_truth(index)?,
            35..60 => {
                let other = self.rng.random_range(0..self.sites.len());
                let links = [Link::Up, Link::Up, Link::Silent, Link::Refused];
                let link = links[self.rng.random_range(0..links.len())];
                self.links.insert((index, other), link);
            }
            60..72 => self.kill(index),
            72..80 => self.start(index)?,
            80..86 => self.sites[index].store.compact(),
            86..88 => self.wipe(index),
            88..91 => {
                let choice = self.rng.random_range(0..10);
                if self.sites[index].store.revoke(choice) {
                    self.check.forgive(index);
                    self.observe(index)?;
                }
            }
            91..94 => self.sites[index].skew += self.rng.random_range(-3_600_000..3_600_000),
            94..96 => {
                self.sites[index].store_away_until = self.now + self.rng.random_range(0..100_000);
            }
            96..98 => self.peer_or_part(index)?,
            _ => self.renumber(index)?,
        }
        Ok(())
    }

    fn change_truth(&mut self, index: usize) -> Result<(), Fault> {
        let site = &mut self.sites[index];
        for _ in 0..self.rng.random_range(1..4) {
            let (service, backend) = (self.rng.random_range(0..4), self.rng.random_range(1..6));
            let backends = site.truth.entry(service).or_default();
            match self.rng.random_range(0..10) {
                0 => drop(site.truth.remove(&service)),
                1..4 => drop(backends.remove(&backend)),
                _ => drop(backends.insert(backend)),
            }
        }
        site.tell_objects(self.now, &mut self.check, &mut self.rng)
    }

    fn kill(&mut self, index: usize) {
        self.instances += 1;
        self.sites[index].kill(self.instances, self.origin);
    }

    /// An etcd comes back without what it had, while its API server may run on.
    fn wipe(&mut self, index: usize) {
        if self.sites[index].external {
            self.instances += 1;
            self.sites[index].store = Store::new(self.instances, self.origin);
        }
    }

    fn start(&mut self, index: usize) -> Result<(), Fault> {
        if self.sites[index].process.is_some() {
            return Ok(());
        }
        self.sites[index].start(self.now, &mut self.check, &mut self.rng)
    }

    /// The cluster comes back under another id.
    fn renumber(&mut self, index: usize) -> Result<(), Fault> {
        self.kill(index);
        let ids = u32::try_from(self.sites.len()).expect("few clusters");
        self.sites[index].id += ids;
        self.start(index)
    }

    /// Some other cluster's configuration is taken away, or given back.
    fn peer_or_part(&mut self, index: usize) -> Result<(), Fault> {
        let other = self.rng.random_range(0..self.sites.len());
        let site = &mut self.sites[index];
        if other == index {
            return Ok(());
        }
        let is_peered = !site.remotes.remove(&name(other));
        if is_peered {
            site.remotes.insert(name(other));
        }
        self.check.peered(index, other, is_peered);
        site.tell_remotes(self.now, &mut self.check, &mut self.rng)
    }

    fn make_peace(&mut self) -> Result<(), Fault> {
        self.history.push(format!("{} ms: peace", self.now));
        self.links.clear();
        let clusters = self.sites.len();
        for index in 0..clusters {
            let site = &mut self.sites[index];
            site.store_away_until = 0;
            for other in (0..clusters).filter(|it| *it != index) {
                site.remotes.insert(name(other));
                self.check.peered(index, other, true);
            }
            site.tell_remotes(self.now, &mut self.check, &mut self.rng)?;
            self.start(index)?;
        }
        Ok(())
    }

    fn observe(&mut self, index: usize) -> Result<(), Fault> {
        self.check
            .observe(index, &self.sites[index].store, self.now)
    }

    /// Whether every store shows what is true of every cluster.
    fn agree(&self) -> Result<(), Fault> {
        for site in &self.sites {
            let others = self.sites.iter().filter(|it| it.index != site.index);
            let neighbours = neighbours(site.index, others.clone(), &self.links);
            if !site.is_settled(&neighbours) {
                return Err(format!("c{} is still reading", site.index));
            }
            let prefix = format!("cilium/state/services/v1/{}/", name(site.index));
            let published = backends(&site.store.table(&prefix));
            let truth = site.truth.iter().flat_map(|(service, backends)| {
                let address = |it: &u8| address(site.index, *service, *it);
                backends
                    .iter()
                    .map(move |it| (format!("s{service}"), address(it), site.id))
            });
            if published != truth.collect() {
                return Err(format!("c{} does not publish what is true", site.index));
            }
            for other in others {
                compare(site.index, &site.store, &other.store)
                    .map_err(|fault| format!("in c{}: {fault}", other.index))?;
            }
        }
        Ok(())
    }
}

fn neighbours<'a>(
    reader: usize,
    others: impl Iterator<Item = &'a Site>,
    links: &BTreeMap<(usize, usize), Link>,
) -> Neighbours<'a> {
    let neighbour = |site: &'a Site| {
        let link = links
            .get(&(reader, site.index))
            .copied()
            .unwrap_or(Link::Up);
        let store = site.is_serving().then_some(&site.store);
        (site.name(), (link, store))
    };
    others.map(neighbour).collect()
}

/// Leases are counted from here; only differences matter.
#[expect(
    clippy::disallowed_methods,
    reason = "the store counts in instants, and there is no other way to get one"
)]
fn origin() -> Instant {
    Instant::now()
}
