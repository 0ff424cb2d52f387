use std::collections::BTreeMap;

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
        data: Box::new([192, 0, 2, number]),
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
