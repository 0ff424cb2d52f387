//! Picks a plan's answer for one client at one moment, and says why.

use std::net::IpAddr;

use smallvec::{SmallVec, smallvec};
use topology::geo::Kilometers;
use topology::health::Health;
use topology::select;

use super::{Backup, Candidate, Plan, Selector};
use crate::check::CheckId;
use crate::geo::{Atlas, Fix};

/// What a choice depends on beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub atlas: &'a Atlas,
    /// By [`CheckId`]; a check without an entry is unknown.
    pub health: &'a [Health],
    /// The client, or the resolver that asks for it.
    pub who: IpAddr,
    /// Chance, drawn once per query.
    pub entropy: u64,
}

impl Scene<'_> {
    pub fn health_of(&self, check: CheckId) -> Health {
        self.health
            .get(check.index())
            .copied()
            .unwrap_or(Health::Unknown)
    }

    /// A candidate that nobody checks counts as healthy.
    fn usability(&self, candidate: &Candidate) -> Health {
        candidate
            .check
            .map_or(Health::Healthy, |it| self.health_of(it))
    }
}

/// What is answered, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    pub picked: Picked<'a>,
    pub basis: Basis,
    pub dependency: Dependency,
    /// What chose among the usable candidates.
    pub selector: Selector,
    /// How many candidates it chose among.
    pub usable_count: usize,
}

/// Candidates: most plans have a few.
pub type Picked<'a> = SmallVec<[&'a Candidate; 4]>;

/// The state of the plan's candidates as a whole.
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

/// What of the client the choice depends on, hence for whom it may be cached (RFC 7871).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dependency {
    Address,
    Location(Fix),
    Nothing,
}

/// Chooses among the candidates of `plan`.
pub fn evaluate<'a>(plan: &'a Plan, scene: &Scene<'_>) -> Choice<'a> {
    let basis = basis(plan, scene);
    let nothing = |basis, selector| Choice {
        picked: SmallVec::new(),
        basis,
        dependency: Dependency::Nothing,
        selector,
        usable_count: 0,
    };
    let (pool, selector) = match (basis, plan.backup) {
        (Basis::Incomplete, _) => return nothing(basis, plan.selector),
        (Basis::AllUnhealthy, Backup::Empty) => return nothing(basis, plan.selector),
        (Basis::AllUnhealthy, Backup::Select(selector)) => {
            (plan.sets.iter().flatten().collect(), selector)
        }
        (Basis::Healthy { set }, _) => (in_set(plan, set, Health::Healthy, scene), plan.selector),
        (Basis::Unknown { set }, _) => (in_set(plan, set, Health::Unknown, scene), plan.selector),
    };

    let usable_count = pool.len();
    let (picked, dependency) = choose(pool, selector, scene);
    Choice {
        picked,
        basis,
        dependency,
        selector,
        usable_count,
    }
}

fn basis(plan: &Plan, scene: &Scene<'_>) -> Basis {
    let best = |set: &Vec<Candidate>| set.iter().map(|it| scene.usability(it)).min();
    let first_with = |health| plan.sets.iter().position(|set| best(set) == Some(health));

    if let Some(set) = first_with(Health::Healthy) {
        return Basis::Healthy { set };
    }
    match first_with(Health::Unknown) {
        Some(_) if plan.fail_on_incomplete_check => Basis::Incomplete,
        Some(set) => Basis::Unknown { set },
        None => Basis::AllUnhealthy,
    }
}

fn in_set<'a>(plan: &'a Plan, set: usize, health: Health, scene: &Scene<'_>) -> Picked<'a> {
    plan.sets[set]
        .iter()
        .filter(|it| scene.usability(it) == health)
        .collect()
}

/// Chooses within `pool`, which is not empty.
fn choose<'a>(pool: Picked<'a>, selector: Selector, scene: &Scene<'_>) -> (Picked<'a>, Dependency) {
    if pool.len() < 2 {
        return (pool, Dependency::Nothing);
    }
    match selector {
        Selector::All => (pool, Dependency::Nothing),
        Selector::Random => (at(&pool, scene.entropy), Dependency::Nothing),
        Selector::WeightedRandom => (weighted(&pool, scene.entropy), Dependency::Nothing),
        Selector::WeightedHashed => (
            weighted(&pool, hash_of(scene.who, b"")),
            Dependency::Address,
        ),
        Selector::Hashed => {
            // The highest score wins: the order of the list does not matter, and a candidate that
            // goes moves only its own clients.
            let score = |it: &Candidate| hash_of(scene.who, it.text.as_bytes());
            let best = pool
                .iter()
                .max_by(|a, b| score(a).cmp(&score(b)).then_with(|| a.text.cmp(&b.text)));
            (best.copied().into_iter().collect(), Dependency::Address)
        }
        Selector::Closest => {
            let fix = scene.atlas.locate(scene.who);
            (
                closest(&pool, fix, scene.entropy),
                Dependency::Location(fix),
            )
        }
    }
}

/// The candidate nearest to `client`; equally near ones go by chance, whatever the order of the pool.
fn closest<'a>(pool: &[&'a Candidate], client: Fix, entropy: u64) -> Picked<'a> {
    let (nearest, _) = select::nearest(client.location, pool, |it| it.location);
    let mut nearest: Picked<'_> = nearest.into_iter().copied().collect();
    nearest.sort_by(|a, b| a.text.cmp(&b.text));
    at(&nearest, entropy)
}

/// How far `candidate` is from the client, if both places are known.
pub(crate) fn distance(candidate: &Candidate, client: Fix) -> Option<Kilometers> {
    Some(client.location?.distance_to(candidate.location?))
}

fn at<'a>(pool: &[&'a Candidate], entropy: u64) -> Picked<'a> {
    let index = entropy.checked_rem(pool.len() as u64).unwrap_or(0);
    let index = usize::try_from(index).expect("less than the length of the pool");
    pool.get(index).copied().into_iter().collect()
}

/// The candidate whose share of the sum of all weights holds `point`.
fn weighted<'a>(pool: &[&'a Candidate], point: u64) -> Picked<'a> {
    let sum: u64 = pool.iter().map(|it| u64::from(it.weight)).sum();
    let Some(mut point) = point.checked_rem(sum) else {
        return at(pool, point);
    };
    for candidate in pool {
        let weight = u64::from(candidate.weight);
        if point < weight {
            return smallvec![*candidate];
        }
        point -= weight;
    }
    SmallVec::new()
}

/// FNV-1a over the address and `salt`, mixed so that every bit of the result depends on each input.
fn hash_of(who: IpAddr, salt: &[u8]) -> u64 {
    let octets = match who {
        IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
        IpAddr::V6(it) => it.octets(),
    };
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for octet in octets.iter().chain(salt) {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
