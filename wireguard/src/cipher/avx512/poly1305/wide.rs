//! The polynomial with the 52-bit multiplication of AVX-512 IFMA.
//!
//! A number is three limbs of 44, 44 and 42 bits. What a product has beyond 2^130 comes back as
//! five times as much; beyond the third limb's place, 2^132, as twenty times.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_or_epi64, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_srli_epi64,
};

use super::super::vector::quadwords;
use super::padded::{Blocks, Padded};
use super::{LIMB_0, LIMB_1, LIMB_2, PACKETS, Quadwords, STEP, reduce};

const LIMBS: usize = 3;

/// The mark above each block, in the last limb: bit 128 of the number.
const MARK: i64 = 1 << 40;

/// The limbs of eight numbers.
type Number = [__m512i; LIMBS];

/// The polynomial of eight texts at their multipliers.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn evaluate(texts: &Padded<'_>, multipliers: Quadwords) -> [u128; PACKETS] {
    let first = Multiplier::new(limbs(multipliers));
    let second = Multiplier::new(product(&first, &first));
    let third = Multiplier::new(product(&second, &first));
    let fourth = Multiplier::new(product(&second, &second));
    let powers = [fourth, third, second, first];

    let zero = [_mm512_setzero_si512(); LIMBS];
    let sum = texts.evaluate(zero, |sum, blocks| horner(sum, &blocks, &powers));
    let [h0, h1, h2] = sum;
    let [h0, h1, h2] = [quadwords(h0), quadwords(h1), quadwords(h2)];
    let mut values = [0; PACKETS];
    for (lane, value) in values.iter_mut().enumerate() {
        *value = reduce([h0[lane], h1[lane], h2[lane]]);
    }
    values
}

/// Four steps of Horner's rule at once.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn horner(sum: Number, blocks: &Blocks, powers: &[Multiplier; STEP]) -> Number {
    // The first block comes last: only it waits for the sum of the step before.
    let mut products = Products::zero();
    for block in (0..STEP).rev() {
        let mut number = limbs(blocks.numbers[block]);
        let [.., last] = &mut number;
        *last = _mm512_mask_or_epi64(*last, blocks.marks[block], *last, _mm512_set1_epi64(MARK));
        if block == 0 {
            for (limb, sum) in number.iter_mut().zip(sum) {
                *limb = _mm512_add_epi64(*limb, sum);
            }
        }
        products.add(number, &powers[block]);
    }
    products.reduce()
}

/// Eight numbers of 128 bits as limbs.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn limbs([low, high]: Quadwords) -> Number {
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, _mm512_set1_epi64(LIMB_0)),
        _mm512_and_si512(middle, _mm512_set1_epi64(LIMB_1)),
        _mm512_srli_epi64::<24>(high),
    ]
}

/// Eight numbers to multiply with. Limbs are below 2^45, so that twenty times as much is below
/// the 2^52 that the multiplication takes.
#[derive(Clone, Copy)]
struct Multiplier {
    limbs: Number,
    /// The second and third limb twenty times.
    folded: [__m512i; 2],
}

impl Multiplier {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(limbs: Number) -> Self {
        let [_, second, third] = limbs;
        let folded = [second, third].map(|it| {
            let four = _mm512_slli_epi64::<2>(it);
            _mm512_slli_epi64::<2>(_mm512_add_epi64(four, it))
        });
        Self { limbs, folded }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn product(a: &Multiplier, b: &Multiplier) -> Number {
    let mut products = Products::zero();
    products.add(a.limbs, b);
    products.reduce()
}

/// Sums of products by limb: their low 52 bits, and what is above those.
struct Products {
    low: Number,
    high: Number,
}

impl Products {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn zero() -> Self {
        Self {
            low: [_mm512_setzero_si512(); 3],
            high: [_mm512_setzero_si512(); 3],
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn add(&mut self, number: Number, multiplier: &Multiplier) {
        let [r0, r1, r2] = multiplier.limbs;
        let [s1, s2] = multiplier.folded;
        let columns = [[r0, s2, s1], [r1, r0, s2], [r2, r1, r0]];
        for (limb, column) in columns.into_iter().enumerate() {
            for (a, b) in number.into_iter().zip(column) {
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], a, b);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], a, b);
            }
        }
    }

    /// Carries once around: the limbs are below 2^44, 2^45 and 2^42 then.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn reduce(self) -> Number {
        let [low_0, low_1, low_2] = self.low;
        let [high_0, high_1, high_2] = self.high;

        let h0 = low_0;
        let h1 = _mm512_add_epi64(low_1, _mm512_slli_epi64::<8>(high_0));
        let h2 = _mm512_add_epi64(low_2, _mm512_slli_epi64::<8>(high_1));

        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        let h0 = _mm512_and_si512(h0, _mm512_set1_epi64(LIMB_0));
        let h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<44>(h1));
        let h1 = _mm512_and_si512(h1, _mm512_set1_epi64(LIMB_1));

        // What is above 2^130. The high part counts from 2^140 on.
        let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(h2), _mm512_slli_epi64::<10>(high_2));
        let h2 = _mm512_and_si512(h2, _mm512_set1_epi64(LIMB_2));
        let h0 = _mm512_add_epi64(h0, over);
        let h0 = _mm512_add_epi64(h0, _mm512_slli_epi64::<2>(over));
        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        let h0 = _mm512_and_si512(h0, _mm512_set1_epi64(LIMB_0));
        [h0, h1, h2]
    }
}
