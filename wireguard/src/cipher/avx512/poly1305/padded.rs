//! Texts of different lengths as blocks beside each other.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_cmple_epu64_mask, _mm512_mask_set1_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use std::ops::Range;

use super::super::vector::{WIDTH, from_quadwords, load, load_part, transpose};
use super::{BLOCK, PACKETS, Quadwords, STEP};

/// One step: the next four blocks of each text.
pub(super) struct Blocks {
    /// As numbers, without their marks.
    pub(super) numbers: [Quadwords; STEP],
    /// For each block: which texts have it.
    pub(super) marks: [__mmask8; STEP],
}

impl Blocks {
    /// Turns the next 64 bytes of each text so that its blocks lie in its lane.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn turned(rows: [__m512i; PACKETS], marks: [__mmask8; STEP]) -> Self {
        let [a, b, c, d, e, f, g, h] = rows;
        let low = transpose([
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpacklo_epi64(e, f),
            _mm512_unpacklo_epi64(g, h),
        ]);
        let high = transpose([
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpackhi_epi64(c, d),
            _mm512_unpackhi_epi64(e, f),
            _mm512_unpackhi_epi64(g, h),
        ]);
        let mut numbers = [[_mm512_setzero_si512(); 2]; STEP];
        for (number, halves) in numbers.iter_mut().zip(low.into_iter().zip(high)) {
            *number = halves.into();
        }
        Self { numbers, marks }
    }
}

/// Eight texts as the polynomial takes them, with zero bytes before the shorter ones so that all
/// end in the same step: zero blocks without a mark do not count. The last block has the lengths.
pub(super) struct Padded<'a> {
    texts: [&'a [u8]; PACKETS],
    /// Blocks before the first one of each text.
    lead: [usize; PACKETS],
    steps: usize,
}

impl<'a> Padded<'a> {
    pub(super) fn new(texts: [&'a [u8]; PACKETS]) -> Self {
        let blocks = texts.map(|it| it.len().div_ceil(BLOCK) + 1);
        let most = blocks.into_iter().max().unwrap_or_default();
        let steps = most.div_ceil(STEP);
        Self {
            texts,
            lead: blocks.map(|it| steps * STEP - it),
            steps,
        }
    }

    /// What `add` makes of `sum` and each step's blocks, one step after the other.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn evaluate<S>(&self, mut sum: S, add: impl Fn(S, Blocks) -> S) -> S {
        let most_lead = self.lead.into_iter().max().unwrap_or_default();
        let whole = most_lead.div_ceil(STEP)..self.steps - 1;
        let mut step = 0;
        while step < self.steps {
            if step != whole.start || whole.is_empty() {
                sum = add(sum, Blocks::turned(self.rows(step), self.marks(step)));
                step += 1;
                continue;
            }
            let parts = self.whole(whole.clone());
            for step in 0..whole.len() {
                let mut rows = [_mm512_setzero_si512(); PACKETS];
                for (row, part) in rows.iter_mut().zip(parts) {
                    *row = load(&part[step]);
                }
                sum = add(sum, Blocks::turned(rows, [u8::MAX; STEP]));
            }
            step = whole.end;
        }
        sum
    }

    /// The texts' parts in steps for which all of them have all bytes.
    fn whole(&self, steps: Range<usize>) -> [&'a [[u8; WIDTH]]; PACKETS] {
        let mut parts: [&[[u8; WIDTH]]; PACKETS] = [&[]; PACKETS];
        for ((part, text), lead) in parts.iter_mut().zip(self.texts).zip(self.lead) {
            let text = &text[steps.start * WIDTH - lead * BLOCK..];
            *part = &text.as_chunks().0[..steps.len()];
        }
        parts
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn rows(&self, step: usize) -> [__m512i; PACKETS] {
        let mut rows = [_mm512_setzero_si512(); PACKETS];
        for ((row, text), lead) in rows.iter_mut().zip(self.texts).zip(self.lead) {
            let (from, lead) = (step * WIDTH, lead * BLOCK);
            let rest = text.get(from.saturating_sub(lead)..).unwrap_or_default();
            *row = match rest.first_chunk() {
                Some(whole) if lead <= from => load(whole),
                _ => load_part(lead.saturating_sub(from), rest),
            };
            if step + 1 == self.steps {
                *row = _mm512_mask_set1_epi64(*row, 1 << 7, text.len() as i64);
            }
        }
        rows
    }

    /// For each block of a step: which texts have it.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn marks(&self, step: usize) -> [__mmask8; STEP] {
        let lead = from_quadwords(&self.lead.map(|it| it as u64));
        let mut marks = [0; STEP];
        for (mark, block) in marks.iter_mut().zip(step * STEP..) {
            *mark = _mm512_cmple_epu64_mask(lead, _mm512_set1_epi64(block as i64));
        }
        marks
    }
}
