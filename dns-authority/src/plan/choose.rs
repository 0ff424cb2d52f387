//! Makes one choice for one client at one moment, and says why.

use std::net::IpAddr;

use smallvec::SmallVec;
use topology::geo::Kilometers;
use topology::health::Health;
use topology::{maglev, select};

use super::evaluate::{Dependency, Scene};
use super::{Backup, Candidate, Pick, Selector};
use crate::geo::Fix;

/// One choice that was made, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'a> {
    pub pick: &'a Pick,
    pub picked: Picked<'a>,
    pub basis: Basis,
    pub dependency: Dependency,
    /// What chose among the usable candidates.
    pub selector: Selector,
    /// How many candidates it chose among.
    pub usable_count: usize,
}

/// Candidates: most choices are among a few.
pub type Picked<'a> = SmallVec<[&'a Candidate; 4]>;

/// The state of the candidates as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// No candidate is healthy; all are answered from, because a broken prober is likelier than
    /// every target being down (or none, if the record says so).
    AllUnhealthy,
    /// Candidates of this set (counted from 0) are healthy.
    Healthy { set: usize },
    /// No check has come to a verdict yet, and the record asks for SERVFAIL until then.
    Incomplete,
    /// None is healthy, and in this set are some that were not probed to a verdict yet.
    Unknown { set: usize },
}

/// Chooses among the candidates of `pick`. `entropy` is the chance of this choice.
pub(super) fn choose<'a>(pick: &'a Pick, scene: &Scene<'_>, entropy: u64) -> Part<'a> {
    let (basis, pool) = usable(pick, scene);
    let selector = match (basis, pick.backup) {
        (Basis::AllUnhealthy, Backup::Select(selector)) => selector,
        _ => pick.selector,
    };
    let usable_count = pool.len();
    let choosing = Choosing {
        pick,
        scene,
        entropy,
    };
    let (picked, mut dependency) = choosing.select(pool, selector);
    if pick.sets.iter().flatten().any(|it| scene.is_parting(it)) {
        dependency = Dependency::Address;
    }
    Part {
        pick,
        picked,
        basis,
        dependency,
        selector,
        usable_count,
    }
}

/// The candidates that count, and what they have in common.
fn usable<'a>(pick: &'a Pick, scene: &Scene<'_>) -> (Basis, Picked<'a>) {
    // From what is wanted to what will do: what is being drained is better than what is not usable.
    for (with_room, with_enough, is_spared) in [
        (true, true, true),
        (false, true, true),
        (false, false, true),
        (false, false, false),
    ] {
        for (set, candidates) in pick.sets.iter().enumerate() {
            let mut pool = with_health(candidates, Health::Healthy, scene);
            let enough = pool.len() * 1000 >= candidates.len() * pick.leave_below_permille as usize;
            if with_enough && !enough {
                continue;
            }
            pool.retain(|it| {
                (!with_room || !is_full(pick, it, scene)) && (!is_spared || scene.takes_part(it))
            });
            if !pool.is_empty() {
                return (Basis::Healthy { set }, pool);
            }
        }
        let is_plain = pick.spill_above_permille.is_none() && pick.leave_below_permille == 0;
        if is_plain && scene.scales.is_empty() {
            break;
        }
    }
    for is_spared in [true, false] {
        for (set, candidates) in pick.sets.iter().enumerate() {
            let mut pool = with_health(candidates, Health::Unknown, scene);
            pool.retain(|it| !is_spared || scene.takes_part(it));
            if pool.is_empty() {
                continue;
            }
            return match pick.fail_on_incomplete_check {
                true => (Basis::Incomplete, Picked::new()),
                false => (Basis::Unknown { set }, pool),
            };
        }
    }
    let mut all: Picked<'_> = match pick.backup {
        Backup::Empty => Picked::new(),
        Backup::Select(_) => pick.sets.iter().flatten().collect(),
    };
    if all.iter().any(|it| scene.takes_part(it)) {
        all.retain(|it| scene.takes_part(it));
    }
    (Basis::AllUnhealthy, all)
}

fn with_health<'a>(set: &'a [Candidate], health: Health, scene: &Scene<'_>) -> Picked<'a> {
    set.iter()
        .filter(|it| scene.usability(it) == health)
        .collect()
}

fn is_full(pick: &Pick, candidate: &Candidate, scene: &Scene<'_>) -> bool {
    let load = || scene.measures.load(&candidate.text);
    let limit = pick.spill_above_permille;
    limit.is_some_and(|limit| load().is_some_and(|load| limit <= load))
}

/// A choice that is being made.
struct Choosing<'a, 's> {
    pick: &'a Pick,
    scene: &'s Scene<'s>,
    entropy: u64,
}

impl<'a> Choosing<'a, '_> {
    fn select(&self, pool: Picked<'a>, selector: Selector) -> (Picked<'a>, Dependency) {
        if pool.len() < 2 {
            return (pool, Dependency::Nothing);
        }
        let reported = |it: &Candidate| match it.check {
            Some(check) => self
                .scene
                .measures
                .weights
                .get(&check)
                .copied()
                .unwrap_or(it.weight),
            None => it.weight,
        };
        let own = |it: &Candidate| it.weight;
        match selector {
            Selector::All => (pool, Dependency::Nothing),
            Selector::First => (pool[..1].into(), Dependency::Nothing),
            Selector::Random => (at(&pool, self.entropy), Dependency::Nothing),
            Selector::Sample => (self.sample(pool), Dependency::Nothing),
            Selector::WeightedRandom => (weighted(&pool, self.entropy, own), Dependency::Nothing),
            Selector::WeightedHashed => (weighted(&pool, self.client_hash(), own), self.client()),
            Selector::SelfWeighted => {
                (weighted(&pool, self.client_hash(), reported), self.client())
            }
            Selector::NameHashed => {
                let hash = maglev::hash(self.scene.question.name, 0);
                (weighted(&pool, hash, own), Dependency::Nothing)
            }
            Selector::Consistent => (self.consistent(pool), self.client()),
            Selector::Hashed => (self.hashed(&pool), self.client()),
            Selector::Closest => self.closest(&pool),
            Selector::Latency => self.fastest(&pool),
            Selector::LeastLoad => (self.least_loaded(&pool), Dependency::Nothing),
        }
    }

    /// What of the client a hash depends on.
    fn client(&self) -> Dependency {
        let (bits, length) = match self.scene.who {
            IpAddr::V4(_) => (self.pick.client_bits.0, 32),
            IpAddr::V6(_) => (self.pick.client_bits.1, 128),
        };
        match bits < length {
            true => Dependency::Prefix(bits),
            false => Dependency::Address,
        }
    }

    fn client_hash(&self) -> u64 {
        hash_of(self.scene.who, self.pick.client_bits, b"")
    }

    /// The highest score wins: the order of the list does not matter, and a candidate that goes moves
    /// only its own clients.
    fn hashed(&self, pool: &Picked<'a>) -> Picked<'a> {
        let score =
            |it: &Candidate| hash_of(self.scene.who, self.pick.client_bits, it.text.as_bytes());
        let best = pool
            .iter()
            .max_by(|a, b| score(a).cmp(&score(b)).then_with(|| a.text.cmp(&b.text)));
        best.copied().into_iter().collect()
    }

    fn consistent(&self, pool: Picked<'a>) -> Picked<'a> {
        let place = self.client_hash().checked_rem(self.pick.table.len() as u64);
        let place = place.and_then(|it| usize::try_from(it).ok());
        let index = place.map(|it| self.pick.table[it] as usize);
        let set = self.pick.sets.first();
        match index.and_then(|it| set?.get(it)) {
            Some(candidate) => [candidate].into_iter().collect(),
            // All weights are 0.
            None => self.hashed(&pool),
        }
    }

    fn sample(&self, mut pool: Picked<'a>) -> Picked<'a> {
        let mut chance = self.entropy;
        for place in 0..self.pick.sample.min(pool.len()) {
            let rest = pool.len() - place;
            pool.swap(place, place + below(chance, rest));
            chance = mix(chance.wrapping_add(0x9e37_79b9_7f4a_7c15));
        }
        pool.truncate(self.pick.sample);
        pool
    }

    /// The nearest to the client; equally near ones go by chance, whatever the order of the pool. Holds
    /// where all candidates rank alike, so that it holds whatever dies.
    fn closest(&self, pool: &Picked<'a>) -> (Picked<'a>, Dependency) {
        let fix = self.scene.atlas.locate(self.scene.who);
        let (mut nearest, prefix_length): (Picked<'_>, u8) = match &self.pick.ranking {
            None => {
                let (nearest, _) = select::nearest(fix.location, pool, |it| it.location);
                (nearest.into_iter().copied().collect(), fix.prefix_length)
            }
            Some(ranking) => {
                let (ranks, prefix_length) = ranking.find(self.scene.who);
                let rank = |it: &&Candidate| ranks.of(it.location);
                let least = pool.iter().map(rank).min();
                let nearest = pool.iter().copied().filter(|it| Some(rank(it)) == least);
                (nearest.collect(), prefix_length)
            }
        };
        nearest.sort_by(|a, b| a.text.cmp(&b.text));
        let dependency = Dependency::Location(Fix {
            prefix_length,
            ..fix
        });
        (at(&nearest, self.entropy), dependency)
    }

    fn fastest(&self, pool: &Picked<'a>) -> (Picked<'a>, Dependency) {
        let measures = self.scene.measures;
        let measured = pool
            .iter()
            .filter_map(|it| Some((measures.round_trip(&it.text)?, *it)));
        let least = measured.min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.text.cmp(&b.1.text)));
        match least {
            Some((_, candidate)) => ([candidate].into_iter().collect(), Dependency::Nothing),
            None => self.closest(pool),
        }
    }

    fn least_loaded(&self, pool: &Picked<'a>) -> Picked<'a> {
        let load = |it: &Candidate| self.scene.measures.load(&it.text);
        let least = pool.iter().filter_map(|it| load(it)).min();
        let mut lightest: Picked<'_> = pool
            .iter()
            .copied()
            .filter(|it| load(it) == least)
            .collect();
        lightest.sort_by(|a, b| a.text.cmp(&b.text));
        at(&lightest, self.entropy)
    }
}

/// How far `candidate` is from the client, if both places are known.
pub(crate) fn distance(candidate: &Candidate, client: Fix) -> Option<Kilometers> {
    Some(client.location?.distance_to(candidate.location?))
}

fn at<'a>(pool: &Picked<'a>, entropy: u64) -> Picked<'a> {
    let found = (!pool.is_empty()).then(|| pool[below(entropy, pool.len())]);
    found.into_iter().collect()
}

/// A number below `limit`, which is not 0.
pub(super) fn below(entropy: u64, limit: usize) -> usize {
    usize::try_from(entropy % limit as u64).expect("less than a usize")
}

/// The candidate whose share of the sum of all weights holds `point`.
fn weighted<'a>(pool: &Picked<'a>, point: u64, weight: impl Fn(&Candidate) -> u32) -> Picked<'a> {
    let sum: u64 = pool.iter().map(|it| u64::from(weight(it))).sum();
    let Some(mut point) = point.checked_rem(sum) else {
        return at(pool, point);
    };
    for candidate in pool {
        let weight = u64::from(weight(candidate));
        if point < weight {
            return [*candidate].into_iter().collect();
        }
        point -= weight;
    }
    Picked::new()
}

/// FNV-1a over the address and `salt`, mixed so that every bit of the result depends on each input.
/// Addresses that share as many bits as `bits` says for their family count as one.
fn hash_of(who: IpAddr, bits: (u8, u8), salt: &[u8]) -> u64 {
    let octets = match who {
        IpAddr::V4(it) => {
            let kept = it.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits.0)).unwrap_or(0);
            (0xffff_0000_0000 | u128::from(kept)).to_be_bytes()
        }
        IpAddr::V6(it) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(bits.1)).unwrap_or(0);
            (it.to_bits() & kept).to_be_bytes()
        }
    };
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for octet in octets.iter().chain(salt) {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}

/// Spreads the bits of `hash`, for one more number out of it.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
