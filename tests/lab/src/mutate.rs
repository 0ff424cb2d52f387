//! Makes other bytes out of a sample, for decoders that must not mind.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Feeds `entry`, that of a fuzz target, with the sample and then, `rounds` times, with what chance
/// makes of it by a few changes.
#[expect(
    clippy::print_stdout,
    reason = "whoever looks into a test that failed wants the seed"
)]
pub fn mutate(sample: &[u8], rounds: usize, entry: impl Fn(&[u8])) {
    entry(sample);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..rounds {
        let mut bytes = sample.to_vec();
        for _ in 0..random.random_range(1..6) {
            if bytes.is_empty() {
                break;
            }
            let place = random.random_range(0..bytes.len());
            match random.random_range(0..5) {
                0 => bytes[place] = random.random(),
                1 => bytes[place] ^= 1 << random.random_range(0..8),
                2 => bytes.insert(place, random.random()),
                3 => {
                    let end = random.random_range(place..=bytes.len().min(place + 16));
                    bytes.drain(place..end);
                }
                _ => {
                    let end = random.random_range(place..=bytes.len().min(place + 64));
                    let copy = bytes[place..end].to_vec();
                    let target = random.random_range(0..bytes.len());
                    bytes.splice(target..target, copy);
                }
            }
        }
        entry(&bytes);
    }
}
