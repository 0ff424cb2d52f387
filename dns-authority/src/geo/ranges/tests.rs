use proptest::prelude::*;

use super::*;

/// The universe of these tests: blocks of the first eight bits, each as large as the rest.
const BLOCKS: u32 = 256;

proptest! {
    #[test]
    fn agrees_with_trying_every_address(layer in layer(3)) {
        let map = ranges(&layer);
        for block in 0..BLOCKS {
            check(&map, &layer, block)?;
        }
    }

    #[test]
    fn lets_what_is_above_decide(above in layer(3), below in layer(3)) {
        let merged: Vec<u32> = above.iter().zip(&below)
            .map(|(above, below)| if *above == NOTHING { *below } else { *above })
            .collect();
        prop_assert_eq!(ranges(&above).over(&ranges(&below)), ranges(&merged));
    }

    #[test]
    fn finds_the_same_in_the_other_family_and_with_an_index(layer in layer(1000)) {
        let small = ranges(&layer);
        let mut wide = Builder::<u128>::default();
        for (block, number) in (0..).zip(&layer) {
            wide.begin(block << 120, *number);
        }
        let wide = wide.finish();
        let indexed = Ranges { index: index(&small.starts, 16), index_bits: 16, ..small.clone() };
        for block in 0..BLOCKS {
            let found = small.find(block << 24);
            prop_assert_eq!(indexed.find(block << 24), found);
            prop_assert_eq!(indexed.find((block << 24) + 0x00ff_ffff), small.find((block << 24) + 0x00ff_ffff));
            prop_assert_eq!(wide.find(u128::from(block) << 120), found);
        }
    }

    #[test]
    fn keeps_neighbours_apart_after_new_numbers(layer in layer(9)) {
        let halved: Vec<u32> = layer.iter().map(|it| it / 2).collect();
        prop_assert_eq!(ranges(&layer).renumber(|it| it / 2), ranges(&halved));
    }
}

#[test]
fn reaches_to_both_ends() {
    let mut builder = Builder::default();
    builder.block(0, 0, 1);
    builder.block(u32::MAX, u32::MAX, 2);
    let map = builder.finish();

    assert_eq!(map.find(0), (1, 32));
    assert_eq!(map.find(1), (NOTHING, 32));
    assert_eq!(map.find(1 << 31), (NOTHING, 2));
    assert_eq!(map.find(u32::MAX), (2, 32));
    assert_eq!(Ranges::<u128>::default().find(7), (NOTHING, 0));
}

/// The number is right, and the prefix is the shortest on which all numbers are the same: no
/// two prefixes that differ in their number overlap (RFC 7871 section 7.2.1).
fn check(map: &Ranges<u32>, layer: &[u32], block: u32) -> Result<(), TestCaseError> {
    let (number, length) = map.find(block << 24);
    let expected = layer[block as usize];
    prop_assert_eq!(number, expected);
    let uniform = |length: u32| {
        let size = BLOCKS >> length;
        let first = block / size * size;
        layer[first as usize..(first + size) as usize]
            .iter()
            .all(|it| *it == expected)
    };
    let shortest = (0..=8).find(|it| uniform(*it)).unwrap();
    prop_assert_eq!(u32::from(length), shortest);
    Ok(())
}

fn ranges(layer: &[u32]) -> Ranges<u32> {
    let mut builder = Builder::default();
    for (block, number) in (0..).zip(layer) {
        builder.begin(block << 24, *number);
    }
    builder.finish()
}

/// A number below `limit`, or none, for each block.
fn layer(limit: u32) -> impl Strategy<Value = Vec<u32>> {
    let runs = proptest::collection::vec((0..=limit, 1..40_usize), 1..60);
    runs.prop_map(move |runs| {
        let runs = runs.into_iter().flat_map(|(number, length)| {
            let number = if number == limit { NOTHING } else { number };
            std::iter::repeat_n(number, length)
        });
        runs.chain(std::iter::repeat(NOTHING))
            .take(BLOCKS as usize)
            .collect()
    })
}
