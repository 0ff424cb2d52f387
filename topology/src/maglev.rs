//! Maglev tables: which backend serves a hash, so that few flows move when backends come and go.
//!
//! After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! section 3.4, with weights: a backend of twice the weight takes twice as many turns.

/// Table sizes that upstream offers; all prime, as the permutation needs.
pub const SIZES: [usize; 10] = [
    251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521, 131_071,
];

/// Fills a table of `size` entries with indexes into `backends`; empty if there are none.
///
/// `backends` are (stable name, weight) pairs; the same set gives the same assignment of names in
/// any order of the list. A weight of 0 takes a backend out. `size` must be one of [`SIZES`].
pub fn table(backends: &[(&[u8], u32)], size: usize) -> Vec<u32> {
    debug_assert!(SIZES.contains(&size), "the permutation needs a prime size");
    let mut turns: Vec<Turn<'_>> = (0u32..)
        .zip(backends)
        .filter(|(_, (_, weight))| *weight > 0)
        .map(|(index, (name, weight))| Turn::new(index, name, *weight, size))
        .collect();
    turns.sort_by_key(|it| it.name);
    if turns.is_empty() {
        return Vec::new();
    }

    let heaviest = turns.iter().map(|it| it.weight).max().unwrap_or(1);
    let mut table = vec![FREE; size];
    let mut free = size;
    loop {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit < heaviest {
                continue;
            }
            turn.credit -= heaviest;
            turn.take_next_free(&mut table);
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

const FREE: u32 = u32::MAX;

/// One backend's place in the round: where its permutation of the table stands.
struct Turn<'a> {
    index: u32,
    name: &'a [u8],
    weight: u32,
    /// Grows by the weight each round; a round's entry costs the heaviest weight.
    credit: u32,
    slot: usize,
    skip: usize,
}

impl<'a> Turn<'a> {
    fn new(index: u32, name: &'a [u8], weight: u32, size: usize) -> Self {
        Self {
            index,
            name,
            weight: weight.min(WEIGHT_MAX),
            credit: 0,
            slot: below(hash(name, OFFSET_SEED), size),
            skip: below(hash(name, SKIP_SEED), size - 1) + 1,
        }
    }

    /// The caller knows that an entry is free, and a prime size makes the walk reach each of them.
    fn take_next_free(&mut self, table: &mut [u32]) {
        while table[self.slot] != FREE {
            self.slot = (self.slot + self.skip) % table.len();
        }
        table[self.slot] = self.index;
    }
}

/// Keeps credit from overflowing: it stays below twice the heaviest weight.
const WEIGHT_MAX: u32 = u32::MAX / 4;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below a usize"
)]
fn below(hash: u64, limit: usize) -> usize {
    (hash % limit as u64) as usize
}

/// FNV-1a with a seed, then a finalizer that spreads its weak low bits (as in SplitMix64).
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

const OFFSET_SEED: u64 = 0xcbf2_9ce4_8422_2325;
const SKIP_SEED: u64 = 0x9ae1_6a3b_2f90_404f;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_empty_without_backends() {
        assert!(table(&[], 251).is_empty());
        assert!(table(&[(b"a", 0)], 251).is_empty());
    }

    #[test]
    fn spreads_evenly() {
        let names: Vec<String> = (0..10).map(|it| format!("10.1.1.{it}:8080")).collect();

        let shares = shares(&names, 1_021);

        assert!(
            shares.values().all(|it| (101..=103).contains(it)),
            "{shares:?}"
        );
    }

    #[test]
    fn gives_a_share_by_weight() {
        let table = table(&[(b"heavy", 3), (b"light", 1)], 1_021);

        let light = table.iter().filter(|it| **it == 1).count();
        assert!((250..=260).contains(&light), "{light}");
    }

    #[test]
    fn moves_little_beyond_what_a_lost_backend_held() {
        let names: Vec<String> = (0..20).map(|it| format!("10.1.1.{it}:8080")).collect();
        let before = by_name(&names, 4_093);

        let moved: usize = names
            .iter()
            .map(|gone| {
                let kept: Vec<String> = names.iter().filter(|it| *it != gone).cloned().collect();
                let after = by_name(&kept, 4_093);
                let pairs = before.iter().zip(&after);
                pairs
                    .filter(|(old, new)| *old != gone && old != new)
                    .count()
            })
            .sum();

        let of = 20 * 4_093;
        assert!(moved * 100 <= of * 2, "{moved} of {of} moved");
    }

    proptest! {
        #[test]
        fn does_not_depend_on_the_order_of_the_list(mut names in names(), turn in 0usize..20) {
            let before = by_name(&names, 251);
            let middle = turn % names.len();
            names.rotate_left(middle);
            prop_assert_eq!(before, by_name(&names, 251));
        }
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::btree_set("[a-z0-9.:]{1,20}", 1..20)
            .prop_map(|it| it.into_iter().collect())
    }

    fn by_name(names: &[String], size: usize) -> Vec<String> {
        let backends: Vec<(&[u8], u32)> = names.iter().map(|it| (it.as_bytes(), 1)).collect();
        let table = table(&backends, size);
        table.iter().map(|it| names[*it as usize].clone()).collect()
    }

    fn shares(names: &[String], size: usize) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for name in by_name(names, size) {
            *shares.entry(name).or_default() += 1;
        }
        shares
    }
}
