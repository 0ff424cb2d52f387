//! Poly1305 of eight packets beside each other: a lane of 64 bits for each.

mod narrow;
mod padded;
mod wide;

use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_castsi512_si256, _mm512_cvtepu32_epi64,
    _mm512_extracti64x4_epi64, _mm512_or_si512, _mm512_set1_epi64, _mm512_slli_epi64,
};

use super::vector::{LANES, WIDTH, quadwords};
use crate::cipher::{Span, TAG_BYTES};
use padded::Padded;

/// Packets beside each other.
const PACKETS: usize = LANES / 2;

/// Bytes that the polynomial takes as one number.
const BLOCK: usize = 16;

/// Blocks in a register, and so in each step.
const STEP: usize = WIDTH / BLOCK;

/// RFC 8439, section 2.5: the bits that multipliers have.
const CLAMP_LOW: i64 = 0x0fff_fffc_0fff_ffff;
const CLAMP_HIGH: i64 = 0x0fff_fffc_0fff_fffc;

const LIMB_0: i64 = (1 << 44) - 1;
const LIMB_1: i64 = (1 << 44) - 1;
const LIMB_2: i64 = (1 << 42) - 1;

/// How the processor multiplies best.
#[derive(Clone, Copy)]
pub(super) enum Multiplication {
    /// 32 bits at once: what every AVX-512 has.
    Narrow,
    /// 52 bits at once. Only where the processor has them: whoever says so vouches for it.
    Wide,
}

/// The keys for sixteen packets, in two halves of eight.
pub(super) struct OneTimeKeys([[Quadwords; 2]; 2]);

/// Numbers of 128 bits: their low and their high halves.
type Quadwords = [__m512i; 2];

impl OneTimeKeys {
    /// From the first eight words of each packet's block 0.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn from([r0, r1, r2, r3, s0, s1, s2, s3]: [__m512i; 8]) -> Self {
        let [r_low, r_high, s_low, s_high] = [[r0, r1], [r2, r3], [s0, s1], [s2, s3]];
        Self([
            [
                [join_first(r_low), join_first(r_high)],
                [join_first(s_low), join_first(s_high)],
            ],
            [
                [join_last(r_low), join_last(r_high)],
                [join_last(s_low), join_last(s_high)],
            ],
        ])
    }

    /// The tags of the first or second eight packets, of which there must be one.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[expect(
        unsafe_code,
        reason = "only some processors have the wide multiplication"
    )]
    pub(super) fn tags(
        &self,
        half: usize,
        multiplication: Multiplication,
        buffer: &[u8],
        packets: &[Span],
    ) -> [[u8; TAG_BYTES]; PACKETS] {
        // Lanes left over repeat the first packet, so that they need no care of their own.
        let mut texts: [&[u8]; PACKETS] = [&[]; PACKETS];
        for (lane, text) in texts.iter_mut().enumerate() {
            let Span { start, length, .. } = *packets.get(lane).unwrap_or(&packets[0]);
            *text = &buffer[start..start + length];
        }
        let texts = Padded::new(texts);
        let [[low, high], addends] = self.0[half];
        let multipliers = [
            _mm512_and_si512(low, _mm512_set1_epi64(CLAMP_LOW)),
            _mm512_and_si512(high, _mm512_set1_epi64(CLAMP_HIGH)),
        ];
        let values = match multiplication {
            Multiplication::Narrow => narrow::evaluate(&texts, multipliers),
            // SAFETY: whoever chose it made sure of the feature.
            Multiplication::Wide => unsafe { wide::evaluate(&texts, multipliers) },
        };

        let [low, high] = addends;
        let [low, high] = [quadwords(low), quadwords(high)];
        let mut tags = [[0; TAG_BYTES]; PACKETS];
        for (lane, tag) in tags.iter_mut().enumerate() {
            let addend = u128::from(low[lane]) | u128::from(high[lane]) << 64;
            *tag = values[lane].wrapping_add(addend).to_le_bytes();
        }
        tags
    }
}

/// Pairs of words of the first eight lanes as quadwords.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn join_first([low, high]: [__m512i; 2]) -> __m512i {
    let low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(low));
    let high = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(high));
    _mm512_or_si512(low, _mm512_slli_epi64::<32>(high))
}

/// Pairs of words of the last eight lanes as quadwords.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn join_last([low, high]: [__m512i; 2]) -> __m512i {
    let low = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(low));
    let high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64::<1>(high));
    _mm512_or_si512(low, _mm512_slli_epi64::<32>(high))
}

/// The least number that is the same modulo 2^130 - 5, without its bits above 2^128. The limbs are of
/// 44, 44 and 42 bits, but the second may be of 62 bits.
fn reduce([mut h0, mut h1, mut h2]: [u64; 3]) -> u128 {
    let [limb_0, limb_1, limb_2] = [LIMB_0, LIMB_1, LIMB_2].map(i64::cast_unsigned);
    h2 += h1 >> 44;
    h1 &= limb_1;
    h0 += (h2 >> 42) * 5;
    h2 &= limb_2;
    h1 += h0 >> 44;
    h0 &= limb_0;
    // Five more reach 2^130 exactly if the number is not the least one yet.
    let carry = (h1 + ((h0 + 5) >> 44)) >> 44;
    let beyond = (h2 + carry) >> 42;

    let value = u128::from(h0) | u128::from(h1) << 44;
    let value = value.wrapping_add(u128::from(h2) << 88);
    value.wrapping_add(u128::from(beyond * 5))
}

#[cfg(test)]
mod tests {
    use super::reduce;

    /// What the arithmetic leaves around 2^130 - 5, where a number has to become the least one.
    #[test]
    fn reduces_at_the_edges_of_the_prime() {
        const LIMB: u64 = (1 << 44) - 1;
        const LAST: u64 = (1 << 42) - 1;
        let check = |limbs, expected| assert_eq!(reduce(limbs), expected, "{limbs:?}");

        check([0, 0, 0], 0);
        check([LIMB - 5, LIMB, LAST], u128::MAX - 5);
        check([LIMB - 4, LIMB, LAST], 0);
        check([LIMB - 3, LIMB, LAST], 1);
        check([LIMB, LIMB, LAST], 4);
        check([LIMB - 4, LIMB + 1, LAST], 1 << 44);
        check([0, LIMB + 1, LAST], 5);
        check([LIMB, LIMB + 1, LAST], (1 << 44) + 4);
        check([LIMB, (1 << 44) + LIMB, LAST], (1 << 88) + 4);
        check([0, 0, 1 << 40], 0);
    }
}
