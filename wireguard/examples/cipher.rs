//! How many gigabytes a second one core seals and opens, by length and number of packets: together,
//! and one packet after the other.
//!
//! `cargo run --release -p wireguard --example cipher`; with `--limit`, the one figure to which a tunnel
//! may be held: gigabits a second of two cores that do nothing else.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../src"]
mod source {
    pub(crate) mod cipher;
}

use std::time::{Duration, Instant};

use source::cipher;
use source::cipher::{BATCH_MAX, Cipher, Span, TAG_BYTES};

const LENGTHS: [usize; 3] = [64, 256, 1_424];
const COUNTS: [usize; 7] = [1, 2, 4, 8, 16, 45, BATCH_MAX];

/// For each figure; the best round counts, because others only measure the rest of the machine.
const PATIENCE: Duration = Duration::from_millis(200);

fn main() {
    let cipher = Cipher::new(&[7; 32]);
    if std::env::args().nth(1).is_some_and(|it| it == "--limit") {
        return println!("{:.2}", limit(&cipher));
    }
    println!("              seal                    open");
    println!("bytes packets together apart ratio    together apart ratio");
    for length in LENGTHS {
        for count in COUNTS {
            let packets = row(count, length);
            let bytes = (count * length) as f64;
            let rates = |[together, apart]: [f64; 2]| {
                let [together, apart] = [together, apart].map(|it| bytes / it / 1e9);
                format!("{together:8.2} {apart:5.2} {:5.2}", together / apart)
            };
            let [seal, open] = measure(&cipher, &packets).map(rates);
            println!("{length:5} {count:7} {seal}    {open}");
        }
    }
}

/// Gigabits that two cores can seal and open in a second, when they do nothing else.
fn limit(cipher: &Cipher) -> f64 {
    let packets = row(BATCH_MAX, LENGTHS[2]);
    let bytes = (BATCH_MAX * LENGTHS[2]) as f64;
    let [[seal, _], [open, _]] = measure(cipher, &packets);
    2.0 * 8.0 * bytes / (seal + open) / 1e9
}

/// Seconds for all packets: to seal them together and apart, and to open them likewise.
fn measure(cipher: &Cipher, packets: &[Span]) -> [[f64; 2]; 2] {
    let mut buffer = vec![0; packets.iter().map(|it| it.length + TAG_BYTES).sum()];
    let seal = [
        best(|| cipher.seal(&mut buffer, packets)),
        best(|| seal_apart(cipher, &mut buffer, packets)),
    ];
    // Only what was sealed opens, so each turn does both.
    let both = [
        best(|| {
            cipher.seal(&mut buffer, packets);
            assert_ne!(cipher.open(&mut buffer, packets), 0, "just sealed");
        }),
        best(|| {
            seal_apart(cipher, &mut buffer, packets);
            for packet in packets.chunks(1) {
                assert_ne!(cipher.open(&mut buffer, packet), 0, "just sealed");
            }
        }),
    ];
    [seal, [both[0] - seal[0], both[1] - seal[1]]]
}

fn seal_apart(cipher: &Cipher, buffer: &mut [u8], packets: &[Span]) {
    for packet in packets.chunks(1) {
        cipher.seal(buffer, packet);
    }
}

/// Packets of one length behind each other.
fn row(count: usize, length: usize) -> Vec<Span> {
    let span = |index| Span {
        start: index * (length + TAG_BYTES),
        length,
        counter: index as u64,
    };
    (0..count).map(span).collect()
}

/// Seconds that the work takes.
#[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
fn best(mut work: impl FnMut()) -> f64 {
    const ROUND: u32 = 8;

    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < PATIENCE {
        let round = Instant::now();
        for _ in 0..ROUND {
            work();
        }
        best = best.min(round.elapsed());
    }
    (best / ROUND).as_secs_f64()
}
