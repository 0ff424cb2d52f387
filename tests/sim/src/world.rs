//! The mesh as a whole: time, links, and what happens to it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use kvstore::chance;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use topology::health::Health;
use topology::id::ClusterName;

use crate::Millis;
use crate::check::{Check, Fault, compare};
use crate::process::Surroundings;
use crate::server::Audience;
use crate::shown::Seen;
use crate::site::{Neighbours, Site, name};
use crate::wire::{Defect, Link};

mod agreement;
mod partition;

/// How long a mesh may take to agree once nothing disturbs it: a clock that was set back an hour must
/// not prolong it.
const BOUND: Millis = 60_000;

/// How long it must stay agreed: what agrees by accident does not stay so.
const CALM: Millis = 3_000;

/// Steps in which things happen, some hundred milliseconds apart.
const STEPS: u32 = 120;

/// Revisions that may be new in one step.
const SEEN_MAX: usize = 16_384;

/// A seed under which the mesh was wrong.
#[derive(Debug)]
pub struct Broken {
    seed: u64,
    at: Millis,
    fault: Fault,
    /// What happened last, oldest first.
    history: Vec<String>,
}

/// A mesh that was right all the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// How long it ran.
    pub virtual_milliseconds: u64,
    /// Of all that its stores showed, and when: the same seed gives the same.
    pub digest: u64,
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

/// Runs the mesh of `seed` through its troubles and to its peace, with something wrong in it on
/// purpose if there is a `defect`.
///
/// # Errors
///
/// If it was wrong at any time, or did not come to agree.
pub fn run(seed: u64, defect: Option<Defect>) -> Result<Report, Broken> {
    simulate(seed, defect, async |world| world.live().await)
}

/// Runs the mesh of `seed` until it agrees, and then first without the ways between API servers, and
/// then without the ways between pods.
///
/// # Errors
///
/// If anybody counted as lost without need, or too late.
pub fn part(seed: u64) -> Result<Report, Broken> {
    simulate(seed, None, async |world| world.fall_apart().await)
}

fn simulate(
    seed: u64,
    defect: Option<Defect>,
    story: impl AsyncFnOnce(&mut World) -> Result<(), Fault>,
) -> Result<Report, Broken> {
    chance::repeat(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing");
    runtime.block_on(async {
        let mut world = World::new(seed, defect);
        match story(&mut world).await {
            Ok(()) => Ok(Report {
                virtual_milliseconds: world.now,
                digest: world.digest.finish(),
            }),
            Err(fault) => Err(Broken {
                seed,
                at: world.now,
                fault,
                history: world.history,
            }),
        }
    })
}

struct World {
    rng: SmallRng,
    defect: Option<Defect>,
    now: Millis,
    audience: Audience,
    seen: mpsc::Receiver<Seen>,
    names: Vec<ClusterName>,
    sites: Vec<Site>,
    links: BTreeMap<(usize, usize), Link>,
    lives: u64,
    check: Check,
    digest: DefaultHasher,
    history: Vec<String>,
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (sender, seen) = mpsc::channel(SEEN_MAX);
        let audience = Audience {
            seen: sender,
            origin: Instant::now(),
        };
        let clusters = rng.random_range(2..5);
        let is_external = |rng: &mut SmallRng| rng.random_bool(0.4);
        let sites = (0..clusters).map(|index| {
            let external = is_external(&mut rng) || defect == Some(Defect::LostWrites);
            Site::new(index, clusters, external, audience.clone())
        });
        let sites: Vec<Site> = sites.collect();
        Self {
            names: sites.iter().map(Site::name).collect(),
            sites,
            defect,
            audience,
            seen,
            links: BTreeMap::new(),
            now: 0,
            lives: 100,
            check: Check::new(clusters),
            digest: DefaultHasher::new(),
            history: Vec::new(),
            rng,
        }
    }

    async fn live(&mut self) -> Result<(), Fault> {
        for index in 0..self.sites.len() {
            self.change_truth(index).await?;
            self.start(index).await?;
        }
        for _ in 0..STEPS {
            if self.rng.random_bool(0.3) {
                self.happen().await?;
            }
            self.step().await?;
        }
        self.make_peace().await?;
        self.come_to_agree().await
    }

    /// Runs until all have agreed for a while.
    async fn come_to_agree(&mut self) -> Result<(), Fault> {
        let deadline = self.now + BOUND;
        let mut agreed_since = None;
        loop {
            self.step().await?;
            match self.agree() {
                Ok(()) => {
                    let since = *agreed_since.get_or_insert(self.now);
                    if since + CALM <= self.now {
                        return Ok(());
                    }
                }
                Err(fault) if deadline <= self.now => return Err(fault),
                Err(_) => agreed_since = None,
            }
        }
    }

    async fn step(&mut self) -> Result<(), Fault> {
        sleep(Duration::from_millis(self.rng.random_range(5..300))).await;
        let elapsed = self.audience.origin.elapsed().as_millis();
        self.now = u64::try_from(elapsed).expect("simulations are short");
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        order.shuffle(&mut self.rng);
        for index in order {
            self.see()?;
            let (before, rest) = self.sites.split_at_mut(index);
            let Some((site, after)) = rest.split_first_mut() else {
                continue;
            };
            let others = before.iter().chain(after.iter());
            let neighbours = neighbours(index, others, &self.links);
            for (other, _) in &neighbours {
                if compare(other.index, &other.shown, &site.shown).is_ok() {
                    self.check.mirrored(index, other.index);
                }
            }
            let rng = &mut self.rng;
            let is_repeated = || rng.random_bool(0.05);
            let advance = site.advance(&neighbours, self.now, is_repeated, &mut self.check);
            advance.await?;
        }
        Ok(())
    }

    /// Looks at every revision since the last time, in their order.
    fn see(&mut self) -> Result<(), Fault> {
        let seen = std::iter::from_fn(|| self.seen.try_recv().ok());
        let mut seen: Vec<Seen> = seen.collect();
        // Of what is new at the same time, the runtime's order is not the seed's.
        seen.sort_by_key(|it| (it.at, it.site, it.life, it.revision));
        for seen in seen {
            seen.hash(&mut self.digest);
            self.sites[seen.site].see(seen, &mut self.check)?;
        }
        Ok(())
    }

    /// One thing that happens to a mesh.
    async fn happen(&mut self) -> Result<(), Fault> {
        let index = self.rng.random_range(0..self.sites.len());
        let event = self.rng.random_range(0..100);
        self.history
            .push(format!("{} ms: event {event} at c{index}", self.now));
        match event {
            0..30 => self.change_truth(index).await?,
            30..35 => self.report(index).await,
            35..60 => {
                let other = self.rng.random_range(0..self.sites.len());
                let links = [Link::Up, Link::Up, Link::Silent, Link::Refused];
                let link = links[self.rng.random_range(0..links.len())];
                self.links.insert((index, other), link);
            }
            60..72 => self.kill(index).await?,
            72..80 => self.start(index).await?,
            80..86 => self.compact(index).await?,
            86..88 => self.wipe(index)?,
            88..91 => self.revoke(index).await?,
            91..94 => self.sites[index].skew += self.rng.random_range(-3_600_000..3_600_000),
            94..96 => {
                self.sites[index].store_away_until = self.now + self.rng.random_range(0..100_000);
            }
            96..98 => self.peer_or_part(index).await?,
            _ => self.renumber(index).await?,
        }
        Ok(())
    }

    async fn change_truth(&mut self, index: usize) -> Result<(), Fault> {
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
        site.tell_objects(self.now, &mut self.check).await
    }

    /// What agents say moves traffic, and no record.
    async fn report(&mut self, index: usize) {
        let health = [Health::Healthy, Health::Unhealthy, Health::Unknown];
        let health = health[self.rng.random_range(0..health.len())];
        let (node, other) = (
            self.rng.random_range(0..3),
            self.rng.random_range(0..self.sites.len()),
        );
        let other = self.sites[other].name();
        self.sites[index].report(node, &other, health).await;
    }

    async fn kill(&mut self, index: usize) -> Result<(), Fault> {
        self.see()?;
        self.lives += 1;
        let (life, audience) = (self.lives, self.audience.clone());
        self.sites[index].kill(life, self.now, audience).await;
        Ok(())
    }

    /// An etcd comes back without what it had, while its API server may run on.
    fn wipe(&mut self, index: usize) -> Result<(), Fault> {
        self.see()?;
        if self.sites[index].external {
            self.lives += 1;
            let (life, audience) = (self.lives, self.audience.clone());
            self.sites[index].replace_store(life, audience);
        }
        Ok(())
    }

    async fn compact(&mut self, index: usize) -> Result<(), Fault> {
        self.see()?;
        let site = &self.sites[index];
        site.server.compact(site.shown.revision).await;
        Ok(())
    }

    async fn revoke(&mut self, index: usize) -> Result<(), Fault> {
        self.see()?;
        let choice = self.rng.random_range(0..10);
        let now = self.now;
        let site = &mut self.sites[index];
        site.forgive(now);
        site.server.revoke(choice).await;
        Ok(())
    }

    async fn start(&mut self, index: usize) -> Result<(), Fault> {
        let site = &mut self.sites[index];
        if site.process.is_some() {
            return Ok(());
        }
        let surroundings = Surroundings {
            clusters: &self.names,
            seed: self.rng.random(),
            defect: self.defect,
        };
        site.start(&surroundings, self.now, &mut self.check).await
    }

    /// The cluster comes back under another id.
    async fn renumber(&mut self, index: usize) -> Result<(), Fault> {
        self.kill(index).await?;
        let ids = u32::try_from(self.sites.len()).expect("few clusters");
        self.sites[index].id += ids;
        self.start(index).await
    }

    /// Some other cluster's configuration is taken away, or given back.
    async fn peer_or_part(&mut self, index: usize) -> Result<(), Fault> {
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
        site.tell_remotes(self.now, &mut self.check).await
    }

    async fn make_peace(&mut self) -> Result<(), Fault> {
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
            site.tell_remotes(self.now, &mut self.check).await?;
            self.start(index).await?;
        }
        Ok(())
    }
}

fn neighbours<'a>(
    reader: usize,
    others: impl Iterator<Item = &'a Site>,
    links: &BTreeMap<(usize, usize), Link>,
) -> Neighbours<'a> {
    let link = |site: &Site| links.get(&(reader, site.index)).copied();
    others
        .map(|site| (site, link(site).unwrap_or(Link::Up)))
        .collect()
}
