//! Runs simulated meshes, each after its seed.
//!
//! `CAUSEWAY_SIM_SEEDS=10000` runs more, `CAUSEWAY_SIM_SEED=N` runs one.

#![expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for in the environment"
)]

use sim::Defect;

/// Some seconds.
const SEEDS: u64 = 200;

const PARTITION_SEEDS: u64 = 40;

/// Under which a defect shows itself at the latest.
const DEFECT_SEEDS: u64 = 40;

#[test]
fn every_mesh_stays_true_through_its_troubles_and_agrees_after_them() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seeds = match number("CAUSEWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAUSEWAY_SIM_SEEDS").unwrap_or(SEEDS),
    };

    for seed in seeds {
        if let Err(broken) = sim::run(seed, None) {
            panic!("{broken}\nCAUSEWAY_SIM_SEED={seed} runs it alone");
        }
    }
}

#[test]
fn what_pods_reach_decides_when_api_servers_or_pods_are_apart() {
    for seed in 0..PARTITION_SEEDS {
        if let Err(broken) = sim::part(seed) {
            panic!("{broken}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let first = sim::run(seed, None);
        let second = sim::run(seed, None);

        assert_eq!(first.unwrap(), second.unwrap());
    }
}

#[test]
fn notices_events_that_a_follower_never_hears() {
    check_noticed(Defect::LostEvents);
}

#[test]
fn notices_writes_that_are_acknowledged_and_lost() {
    check_noticed(Defect::LostWrites);
}

#[track_caller]
fn check_noticed(defect: Defect) {
    let noticed = (0..DEFECT_SEEDS).any(|seed| sim::run(seed, Some(defect)).is_err());

    assert!(noticed, "{defect:?} makes no difference");
}
