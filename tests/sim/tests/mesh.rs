//! Runs simulated meshes, each after its seed.
//!
//! `CAUSEWAY_SIM_SEEDS=10000` runs more, `CAUSEWAY_SIM_SEED=N` runs one.

#![expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for in the environment"
)]

/// A few seconds.
const SEEDS: u64 = 200;

#[test]
fn every_mesh_stays_true_through_its_troubles_and_agrees_after_them() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seeds = match number("CAUSEWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAUSEWAY_SIM_SEEDS").unwrap_or(SEEDS),
    };

    for seed in seeds {
        if let Err(broken) = sim::run(seed) {
            panic!("{broken}\nCAUSEWAY_SIM_SEED={seed} runs it alone");
        }
    }
}
