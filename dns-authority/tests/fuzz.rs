//! Puts mutated queries through the path of requests, with the entry of the fuzz target.

#[path = "../fuzz/entries.rs"]
mod entries;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Mutations of each sample; a few seconds over all.
const ROUNDS: u64 = 300;

#[test]
fn whatever_comes_is_answered_within_bounds_or_ignored() {
    let mut rng = SmallRng::seed_from_u64(1);
    let samples = samples();
    for sample in &samples {
        for how in [0, 2, 4, 0x84, 0x83] {
            entries::dns_request(&[&[how], &sample[..]].concat());
        }
        for _ in 0..ROUNDS {
            let mut bytes = [&[rng.random()], &sample[..]].concat();
            for _ in 0..rng.random_range(1..5) {
                mutate(&mut bytes, &samples, &mut rng);
            }
            let run = std::panic::catch_unwind(|| entries::dns_request(&bytes));
            assert!(run.is_ok(), "on {bytes:02x?}");
        }
    }
}

/// Queries of every kind, for every kind of name.
fn samples() -> Vec<Vec<u8>> {
    let names: [&[u8]; 14] = [
        b"",
        b"\x03www",
        b"\x05chain",
        b"\x04loop",
        b"\x03out",
        b"\x01x\x04wild",
        b"\x01b\x04deep",
        b"\x01x\x05moved",
        b"\x01x\x03sub",
        b"\x03big",
        b"\x04near",
        b"\x04gone",
        b"\x05_http\x04_tcp",
        b"\x04mail",
    ];
    let options: [&[u8]; 4] = [
        b"",
        b"\0\0\x29\x04\xd0\0\0\x80\0\0\0",
        b"\0\0\x29\x10\0\0\0\0\0\0\x22\0\x03\0\0\0\x08\0\x07\0\x01\x18\0\xc0\0\x02\0\x0a\0\x0801234567\
            \0\x0c\0\x03\0\0\0",
        b"\0\0\x29\x02\0\0\0\0\0\0\x04\0\x0b\0\0",
    ];
    let kinds = [1_u16, 2, 5, 6, 15, 16, 28, 33, 41, 250, 252, 255, 257];
    let mut samples = Vec::new();
    for name in names {
        for (option, kind) in options.iter().flat_map(|it| kinds.map(|kind| (it, kind))) {
            let additional = u8::from(!option.is_empty());
            let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
            query.extend_from_slice(name);
            query.extend(b"\x07example\x04test\0");
            query.extend(kind.to_be_bytes());
            query.extend(b"\0\x01");
            query.extend_from_slice(option);
            samples.push(query);
        }
    }
    samples
}

fn mutate(bytes: &mut Vec<u8>, samples: &[Vec<u8>], rng: &mut SmallRng) {
    let start = rng.random_range(0..bytes.len());
    let end = bytes.len().min(start + rng.random_range(1..8));
    match rng.random_range(0..6) {
        0 => bytes[start] = rng.random(),
        1 => bytes[start] ^= 1 << rng.random_range(0..8),
        2 if start != 0 => drop(bytes.drain(start..end)),
        3 => {
            let copy = bytes[start..end].to_vec();
            bytes.splice(start..start, copy);
        }
        4 => bytes.truncate(start.max(1)),
        _ => {
            let other = &samples[rng.random_range(0..samples.len())];
            let from = rng.random_range(0..other.len());
            let to = other.len().min(from + rng.random_range(1..40));
            bytes.splice(start..end, other[from..to].iter().copied());
        }
    }
    if bytes.is_empty() {
        bytes.push(4);
    }
}
