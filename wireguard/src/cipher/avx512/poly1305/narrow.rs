//! The polynomial with the 32-bit multiplication that all of AVX-512 has.
//!
//! A number is five limbs of 26 bits. What a product has beyond 2^130 comes back as five times as
//! much.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_mask_or_epi64, _mm512_mul_epu32,
    _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64,
};

use super::super::vector::quadwords;
use super::padded::{Blocks, Padded};
use super::{LIMB_0, PACKETS, Quadwords, STEP, reduce};

const LIMBS: usize = 5;

/// The mark above each block, in the last limb: bit 128 of the number.
const MARK: i64 = 1 << 24;

const LIMB: i64 = (1 << 26) - 1;

/// The limbs of eight numbers.
type Number = [__m512i; LIMBS];

/// The polynomial of eight texts at their multipliers.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn evaluate(texts: &Padded<'_>, multipliers: Quadwords) -> [u128; PACKETS] {
    let first = Multiplier::new(limbs(multipliers));
    let second = Multiplier::new(product(&first, &first));
    let third = Multiplier::new(product(&second, &first));
    let fourth = Multiplier::new(product(&second, &second));
    let powers = [fourth, third, second, first];

    let zero = [_mm512_setzero_si512(); LIMBS];
    let sum = texts.evaluate(zero, |sum, blocks| horner(sum, &blocks, &powers));
    let [h0, h1, h2, h3, h4] = sum;
    let [h0, h1, h2] = [quadwords(h0), quadwords(h1), quadwords(h2)];
    let [h3, h4] = [quadwords(h3), quadwords(h4)];
    let mut values = [0; PACKETS];
    for (lane, value) in values.iter_mut().enumerate() {
        let low = h0[lane] + (h1[lane] << 26);
        let middle = (low >> 44) + (h2[lane] << 8) + (h3[lane] << 34);
        *value = reduce([low & LIMB_0.cast_unsigned(), middle, h4[lane] << 16]);
    }
    values
}

/// Four steps of Horner's rule at once.
#[target_feature(enable = "avx512f,avx512bw")]
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
    let middle = _mm512_or_si512(_mm512_srli_epi64::<52>(low), _mm512_slli_epi64::<12>(high));
    let limb = _mm512_set1_epi64(LIMB);
    [
        _mm512_and_si512(low, limb),
        _mm512_and_si512(_mm512_srli_epi64::<26>(low), limb),
        _mm512_and_si512(middle, limb),
        _mm512_and_si512(_mm512_srli_epi64::<14>(high), limb),
        _mm512_srli_epi64::<40>(high),
    ]
}

/// Eight numbers to multiply with. Limbs are below 2^27, so that five times as much is below the
/// 2^32 that the multiplication takes, and twenty products below 2^64.
#[derive(Clone, Copy)]
struct Multiplier {
    limbs: Number,
    /// All limbs five times.
    folded: Number,
}

impl Multiplier {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(limbs: Number) -> Self {
        let folded = limbs.map(|it| _mm512_add_epi64(it, _mm512_slli_epi64::<2>(it)));
        Self { limbs, folded }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn product(a: &Multiplier, b: &Multiplier) -> Number {
    let mut products = Products::zero();
    products.add(a.limbs, b);
    products.reduce()
}

/// Sums of products by limb.
struct Products(Number);

impl Products {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn zero() -> Self {
        Self([_mm512_setzero_si512(); LIMBS])
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn add(&mut self, number: Number, multiplier: &Multiplier) {
        let [r0, r1, r2, r3, r4] = multiplier.limbs;
        let [_, s1, s2, s3, s4] = multiplier.folded;
        let columns = [
            [r0, s4, s3, s2, s1],
            [r1, r0, s4, s3, s2],
            [r2, r1, r0, s4, s3],
            [r3, r2, r1, r0, s4],
            [r4, r3, r2, r1, r0],
        ];
        for (sum, column) in self.0.iter_mut().zip(columns) {
            for (a, b) in number.into_iter().zip(column) {
                *sum = _mm512_add_epi64(*sum, _mm512_mul_epu32(a, b));
            }
        }
    }

    /// Carries once around, and once more from the first limb: all are below 2^27 then.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn reduce(self) -> Number {
        let mut number = self.0;
        let limb = _mm512_set1_epi64(LIMB);
        let mut carry = _mm512_setzero_si512();
        for sum in &mut number {
            let value = _mm512_add_epi64(*sum, carry);
            carry = _mm512_srli_epi64::<26>(value);
            *sum = _mm512_and_si512(value, limb);
        }
        let [h0, h1, ..] = &mut number;
        let four = _mm512_slli_epi64::<2>(carry);
        let value = _mm512_add_epi64(*h0, _mm512_add_epi64(carry, four));
        *h0 = _mm512_and_si512(value, limb);
        *h1 = _mm512_add_epi64(*h1, _mm512_srli_epi64::<26>(value));
        number
    }
}
