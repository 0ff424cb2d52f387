//! Picks a plan's answer for one client at one moment, and says why.

use std::net::IpAddr;

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
    pub picked: Vec<&'a Candidate>,
    pub basis: Basis,
    pub dependency: Dependency,
    /// What chose among the usable candidates.
    pub selector: Selector,
    /// How many candidates it chose among.
    pub usable_count: usize,
}

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
        picked: Vec::new(),
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

fn in_set<'a>(plan: &'a Plan, set: usize, health: Health, scene: &Scene<'_>) -> Vec<&'a Candidate> {
    plan.sets[set]
        .iter()
        .filter(|it| scene.usability(it) == health)
        .collect()
}

/// Chooses within `pool`, which is not empty.
fn choose<'a>(
    pool: Vec<&'a Candidate>,
    selector: Selector,
    scene: &Scene<'_>,
) -> (Vec<&'a Candidate>, Dependency) {
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
fn closest<'a>(pool: &[&'a Candidate], client: Fix, entropy: u64) -> Vec<&'a Candidate> {
    let (nearest, _) = select::nearest(client.location, pool, |it| it.location);
    let mut nearest: Vec<&Candidate> = nearest.into_iter().copied().collect();
    nearest.sort_by(|a, b| a.text.cmp(&b.text));
    at(&nearest, entropy)
}

/// How far `candidate` is from the client, if both places are known.
pub(crate) fn distance(candidate: &Candidate, client: Fix) -> Option<Kilometers> {
    Some(client.location?.distance_to(candidate.location?))
}

fn at<'a>(pool: &[&'a Candidate], entropy: u64) -> Vec<&'a Candidate> {
    let index = entropy.checked_rem(pool.len() as u64).unwrap_or(0);
    let index = usize::try_from(index).expect("less than the length of the pool");
    pool.get(index).copied().into_iter().collect()
}

/// The candidate whose share of the sum of all weights holds `point`.
fn weighted<'a>(pool: &[&'a Candidate], point: u64) -> Vec<&'a Candidate> {
    let sum: u64 = pool.iter().map(|it| u64::from(it.weight)).sum();
    let Some(mut point) = point.checked_rem(sum) else {
        return at(pool, point);
    };
    for candidate in pool {
        let weight = u64::from(candidate.weight);
        if point < weight {
            return vec![candidate];
        }
        point -= weight;
    }
    Vec::new()
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
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::rr::RData;
    use hickory_proto::rr::rdata::A;
    use proptest::prelude::*;
    use topology::geo::Location;

    use super::*;

    #[test]
    fn answers_the_nearest_healthy_candidate() {
        check(Selector::Closest, "1H 2H 3H", "1 Healthy { set: 0 }");
        check(Selector::Closest, "1U 2H 3H", "2 Healthy { set: 0 }");
        check(Selector::Closest, "1? 2U 3H", "3 Healthy { set: 0 }");
    }

    #[test]
    fn prefers_the_unknown_to_the_unhealthy() {
        check(Selector::Closest, "1U 2? 3?", "2 Unknown { set: 0 }");
        check(Selector::All, "1U 2? 3?", "2 3 Unknown { set: 0 }");
    }

    #[test]
    fn goes_on_to_the_next_set_only_if_it_must() {
        check(Selector::All, "1U | 2H 3U | 1H", "2 Healthy { set: 1 }");
        check(Selector::All, "1? | 2H", "2 Healthy { set: 1 }");
        check(Selector::All, "1U | 2?", "2 Unknown { set: 1 }");
    }

    #[test]
    fn answers_from_all_sets_when_everything_is_down() {
        let mut plan = plan("1U | 2U 3U");
        plan.0.selector = Selector::Random;
        plan.0.backup = Backup::Select(Selector::All);
        check_plan(&plan, "1 2 3 AllUnhealthy");

        plan.0.backup = Backup::Empty;
        check_plan(&plan, " AllUnhealthy");
    }

    #[test]
    fn fails_while_incomplete_only_if_asked_to() {
        let mut plan = plan("1? 2U");
        plan.0.fail_on_incomplete_check = true;
        check_plan(&plan, " Incomplete");

        let mut plan = self::plan("1U 2U");
        plan.0.fail_on_incomplete_check = true;
        plan.0.backup = Backup::Select(Selector::All);
        check_plan(&plan, "1 2 AllUnhealthy");
    }

    #[test]
    fn gives_each_candidate_its_share() {
        let (mut plan, health) = plan("1H 2H 3H");
        plan.selector = Selector::WeightedRandom;
        plan.sets[0][1].weight = 3;
        plan.sets[0][2].weight = 0;

        let mut counts = BTreeMap::new();
        for entropy in 0..400 {
            let choice = evaluate(
                &plan,
                &Scene {
                    entropy,
                    ..scene(&health)
                },
            );
            *counts.entry(choice.picked[0].text.clone()).or_insert(0) += 1;
        }
        assert_eq!(
            counts,
            BTreeMap::from([("1".to_owned(), 100), ("2".to_owned(), 300)])
        );
    }

    #[test]
    fn spreads_clients_by_hash_and_moves_only_those_of_a_lost_candidate() {
        let (mut plan, health) = plan("1H 2H 3H");
        plan.selector = Selector::Hashed;
        let pick = |plan: &Plan, host: u32| {
            let who = IpAddr::from((0x0a00_0000 + host).to_be_bytes());
            evaluate(
                plan,
                &Scene {
                    who,
                    ..scene(&health)
                },
            )
            .picked[0]
                .text
                .clone()
        };
        let before: Vec<String> = (0..3000).map(|it| pick(&plan, it)).collect();
        for name in ["1", "2", "3"] {
            let share = before.iter().filter(|it| *it == name).count();
            assert!((850..1150).contains(&share), "{name} has {share} of 3000");
        }

        plan.sets[0].remove(2);
        for (host, before) in (0..).zip(&before) {
            assert!(before == "3" || *before == pick(&plan, host));
        }
    }

    proptest! {
        #[test]
        fn closest_does_not_depend_on_the_order(
            states in proptest::collection::vec(0..3_u8, 1..8),
            rotation in 0..8_usize,
            entropy: u64,
        ) {
            let spec: Vec<String> = (1..)
                .zip(&states)
                .map(|(index, state)| format!("{index}{}", ['H', '?', 'U'][usize::from(*state)]))
                .collect();
            let mut rotated = spec.clone();
            rotated.rotate_left(rotation % spec.len());
            let pick = |spec: &[String]| {
                let (mut plan, health) = plan(&spec.join(" "));
                plan.selector = Selector::Closest;
                plan.backup = Backup::Select(Selector::Closest);
                evaluate(&plan, &Scene { entropy, ..scene(&health) }).picked[0].text.clone()
            };

            prop_assert_eq!(pick(&spec), pick(&rotated));
        }
    }

    #[track_caller]
    fn check(selector: Selector, spec: &str, expected: &str) {
        let mut plan = plan(spec);
        plan.0.selector = selector;
        check_plan(&plan, expected);
    }

    #[track_caller]
    fn check_plan((plan, health): &(Plan, Vec<Health>), expected: &str) {
        let choice = evaluate(plan, &scene(health));
        let picked: Vec<&str> = choice.picked.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(format!("{} {:?}", picked.join(" "), choice.basis), expected);
    }

    /// Candidates with their health (`H`ealthy, `U`nhealthy, `?`), sets divided by `|`. The number
    /// is the candidate's name, and its distance from the client in steps of ten degrees; from 4 on
    /// there are two in each place, and nobody knows where 7 is.
    fn plan(spec: &str) -> (Plan, Vec<Health>) {
        let mut health = Vec::new();
        let sets = spec
            .split(" | ")
            .map(|set| {
                set.split(' ')
                    .map(|it| candidate(it, &mut health))
                    .collect()
            })
            .collect();
        let plan = Plan {
            function: "test".to_owned(),
            sets,
            selector: Selector::All,
            backup: Backup::Select(Selector::Random),
            fail_on_incomplete_check: false,
        };
        (plan, health)
    }

    fn candidate(spec: &str, health: &mut Vec<Health>) -> Candidate {
        let (name, state) = spec.split_at(1);
        let id = CheckId::from_index(health.len());
        health.push(match state {
            "H" => Health::Healthy,
            "U" => Health::Unhealthy,
            _ => Health::Unknown,
        });
        let number: u8 = name.parse().unwrap();
        let step = f64::from(if number < 4 { number } else { number / 2 + 2 });
        Candidate {
            text: name.to_owned(),
            data: RData::A(A::new(192, 0, 2, number)),
            location: (number != 7).then(|| Location::new(0.0, step * 10.0).unwrap()),
            weight: 1,
            check: Some(id),
        }
    }

    fn scene(health: &[Health]) -> Scene<'_> {
        Scene {
            atlas: atlas(),
            health,
            who: "10.0.0.1".parse().unwrap(),
            entropy: 1,
        }
    }

    /// Everybody in 10.0.0.0/8 is at 0°, 0°.
    fn atlas() -> &'static Atlas {
        static ATLAS: std::sync::OnceLock<Atlas> = std::sync::OnceLock::new();
        ATLAS.get_or_init(|| {
            let overrides = "[{prefix: 10.0.0.0/8, latitude: 0, longitude: 0, name: home}]";
            Atlas::new(overrides.parse().unwrap(), Vec::new())
        })
    }
}
