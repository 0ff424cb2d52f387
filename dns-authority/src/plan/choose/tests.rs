use std::collections::BTreeMap;

use proptest::prelude::*;
use topology::geo::Location;

use super::*;
use crate::check::CheckId;
use crate::geo::Atlas;
use crate::plan::Measures;

#[test]
fn answers_the_nearest_healthy_candidate() {
    check(Selector::Closest, "1H 2H 3H", "1 Healthy { set: 0 }");
    check(Selector::Closest, "1U 2H 3H", "2 Healthy { set: 0 }");
    check(Selector::Closest, "1? 2U 3H", "3 Healthy { set: 0 }");
}

#[test]
fn chooses_by_ranking_as_by_distance() {
    for spec in [
        "1H 2H 3H",
        "1U 2H 7H",
        "1U | 3H 2H",
        "2U 1U 3U",
        "7H 5H 4H",
        "7H 7U",
    ] {
        let (mut plan, health) = plan(spec);
        plan.selector = Selector::Closest;
        plan.backup = Backup::Select(Selector::Closest);
        let picked = |pick: &Pick| -> Vec<String> {
            let scene = scene(&health);
            let part = choose(pick, &scene, scene.entropy);
            part.picked.iter().map(|it| it.text.clone()).collect()
        };
        let by_distance = picked(&plan);

        let places = plan.sets.iter().flatten().map(|it| it.location);
        plan.ranking = atlas().rank(places);
        assert!(plan.ranking.is_some());
        assert_eq!(picked(&plan), by_distance, "{spec}");
    }
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
        let choice = choose(&plan, &scene(&health), entropy);
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
    let pick = |plan: &Pick, host: u32| {
        let who = IpAddr::from((0x0a00_0000 + host).to_be_bytes());
        let scene = Scene {
            who,
            ..scene(&health)
        };
        choose(plan, &scene, 1).picked[0].text.clone()
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

#[test]
fn gives_consistent_choices_their_shares_and_moves_few() {
    let shares = |weights: [u32; 3], order: [usize; 3]| {
        let names = ["a", "b", "c"];
        let pairs = order.map(|it| (names[it], weights[it]));
        let set = pairs.map(|(name, weight)| Candidate {
            weight,
            ..Candidate::bare(name.to_owned())
        });
        let pick = Pick::new("test", Selector::Consistent, set.to_vec()).consistent();
        let who = |host: u32| IpAddr::from((0x0a00_0000 + host).to_be_bytes());
        let scene = |host| Scene {
            who: who(host),
            ..Scene::bare()
        };
        let picked = |host| choose(&pick, &scene(host), 0).picked[0].text.clone();
        (0..4000).map(picked).collect::<Vec<String>>()
    };
    let before = shares([1, 1, 2], [0, 1, 2]);
    assert_eq!(before, shares([1, 1, 2], [2, 0, 1]));
    let count = |all: &[String], name: &str| all.iter().filter(|it| *it == name).count();
    assert!((850..1150).contains(&count(&before, "a")));
    assert!((1800..2200).contains(&count(&before, "c")));

    let after = shares([1, 1, 0], [0, 1, 2]);
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after);
    let moved = moved.filter(|(before, _)| *before != "c").count();
    assert!(moved < 400, "{moved} clients of others were moved");
}

#[test]
fn goes_by_what_was_measured_where_something_was() {
    let address = |it: u8| IpAddr::from([192, 0, 2, it]);
    let set = [1, 2, 3].map(|it| Candidate::bare(address(it).to_string()));
    let pick = |selector| Pick::new("test", selector, set.to_vec());
    let measures = Measures {
        round_trips: [(address(1), 30), (address(2), 20)].into(),
        loads: [(address(1), 900), (address(2), 500), (address(3), 100)].into(),
        ..Measures::default()
    };
    let scene = Scene {
        measures: &measures,
        ..Scene::bare()
    };
    let picked = |pick: &Pick| choose(pick, &scene, 0).picked[0].text.clone();
    assert_eq!(picked(&pick(Selector::Latency)), "192.0.2.2");
    assert_eq!(picked(&pick(Selector::LeastLoad)), "192.0.2.3");

    let bounded = Pick {
        spill_above_permille: Some(800),
        ..pick(Selector::First)
    };
    assert_eq!(picked(&bounded), "192.0.2.2");
    let tight = Pick {
        spill_above_permille: Some(50),
        ..bounded
    };
    assert_eq!(picked(&tight), "192.0.2.1", "all are full");
}

#[test]
fn leaves_a_set_of_which_too_little_is_healthy() {
    let mut plan = plan("1H 2U 3U | 1H 2H");
    plan.0.leave_below_permille = 500;
    check_plan(&plan, "1 2 Healthy { set: 1 }");
    plan.0.leave_below_permille = 333;
    check_plan(&plan, "1 Healthy { set: 0 }");

    let mut plan = self::plan("1U | 2H 3U 1U");
    plan.0.leave_below_permille = 500;
    check_plan(&plan, "2 Healthy { set: 1 }");
}

#[test]
fn keeps_neighbours_together_if_asked_to() {
    let (mut plan, health) = plan("1H 2H 3H");
    plan.selector = Selector::Hashed;
    plan.client_bits = (24, 56);
    let pick = |who: &str| {
        let scene = Scene {
            who: who.parse().unwrap(),
            ..scene(&health)
        };
        let part = choose(&plan, &scene, 1);
        (part.picked[0].text.clone(), part.dependency)
    };
    let first = pick("10.1.2.3");
    assert_eq!(first.1, Dependency::Prefix(24));
    assert!((0..=255).all(|host| pick(&format!("10.1.2.{host}")) == first));
    assert!((0..=255).any(|net| pick(&format!("10.1.{net}.3")) != first));
    assert_eq!(pick("2001:db8::1"), pick("2001:db8:0:ff::2"));
}

#[test]
fn samples_without_repeating() {
    let (mut plan, health) = plan("1H 2H 3H 4H");
    plan.selector = Selector::Sample;
    plan.sample = 2;
    let mut counts = BTreeMap::new();
    // Each of the six pairs is expected 500 times; the odds of less than 350 of one are below 10^-10.
    for entropy in 0..3000_u64 {
        let part = choose(
            &plan,
            &scene(&health),
            mix(entropy.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        let mut names: Vec<&str> = part.picked.iter().map(|it| it.text.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names.len(), 2);
        *counts.entry(names.concat()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert!(counts.values().all(|it| *it > 350), "{counts:?}");
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
            choose(&plan, &scene(&health), entropy).picked[0].text.clone()
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
fn check_plan((plan, health): &(Pick, Vec<Health>), expected: &str) {
    let choice = choose(plan, &scene(health), 1);
    let picked: Vec<&str> = choice.picked.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(format!("{} {:?}", picked.join(" "), choice.basis), expected);
}

/// Candidates with their health (`H`ealthy, `U`nhealthy, `?`), sets divided by `|`. The number
/// is the candidate's name, and its distance from the client in steps of ten degrees; from 4 on
/// there are two in each place, and nobody knows where 7 is.
fn plan(spec: &str) -> (Pick, Vec<Health>) {
    let mut health = Vec::new();
    let sets = spec
        .split(" | ")
        .map(|set| {
            set.split(' ')
                .map(|it| candidate(it, &mut health))
                .collect()
        })
        .collect();
    let plan = Pick {
        sets,
        backup: Backup::Select(Selector::Random),
        ..Pick::new("test", Selector::All, Vec::new())
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
        data: Some(Box::new([192, 0, 2, number])),
        location: (number != 7).then(|| Location::new(0.0, step * 10.0).unwrap()),
        weight: 1,
        check: Some(id),
    }
}

fn scene(health: &[Health]) -> Scene<'_> {
    Scene {
        atlas: atlas(),
        health,
        ..Scene::bare()
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
