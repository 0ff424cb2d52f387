//! Registers of 64 bytes: how they are filled from slices and written to them, and turned.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8,
    _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_xor_si512,
};

/// 32-bit words in a register.
pub(super) const LANES: usize = 16;

/// Bytes in a register.
pub(super) const WIDTH: usize = 64;

#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are loaded through pointers")]
#[inline]
pub(super) fn load(bytes: &[u8; WIDTH]) -> __m512i {
    // SAFETY: the array has as many bytes as are read, and no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are stored through pointers")]
#[inline]
pub(super) fn store(bytes: &mut [u8; WIDTH], value: __m512i) {
    // SAFETY: the array has as many bytes as are written, and no alignment is asked for.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

/// The words of a register.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are stored through pointers")]
#[inline]
pub(super) fn quadwords(value: __m512i) -> [u64; LANES / 2] {
    let mut words = [0; LANES / 2];
    // SAFETY: the array has as many bytes as are written, and no alignment is asked for.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) };
    words
}

/// A register of 32-bit words.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are loaded through pointers")]
#[inline]
pub(super) fn from_words(words: &[i32; LANES]) -> __m512i {
    // SAFETY: the array has as many bytes as are read, and no alignment is asked for.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// A register of 64-bit words.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are loaded through pointers")]
#[inline]
pub(super) fn from_quadwords(words: &[u64; LANES / 2]) -> __m512i {
    // SAFETY: the array has as many bytes as are read, and no alignment is asked for.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

/// `front` zero bytes, then as much of `text` as there is room for, then zeros.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are loaded through pointers")]
#[inline]
pub(super) fn load_part(front: usize, text: &[u8]) -> __m512i {
    let mask = ones(front.saturating_add(text.len())) & !ones(front);
    let start = text.as_ptr().wrapping_sub(front);
    // SAFETY: bit i of the mask is set only if `i - front` is an index of the text. Bytes without
    // a bit are not read, wherever they lie.
    unsafe { _mm512_maskz_loadu_epi8(mask, start.cast()) }
}

/// Adds the keystream of one block to up to as many bytes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn xor(text: &mut [u8], keystream: __m512i) {
    if let Some(block) = text.first_chunk_mut() {
        let changed = _mm512_xor_si512(load(block), keystream);
        store(block, changed);
    } else {
        let changed = _mm512_xor_si512(load_part(0, text), keystream);
        store_part(text, changed);
    }
}

/// Writes the first bytes of `value`, as many as `text` takes.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are stored through pointers")]
#[inline]
fn store_part(text: &mut [u8], value: __m512i) {
    let mask = ones(text.len());
    // SAFETY: bit i of the mask is set only if i is an index of the text. Bytes without a bit are
    // not written.
    unsafe { _mm512_mask_storeu_epi8(text.as_mut_ptr().cast(), mask, value) }
}

/// A mask of the first `count` bytes.
#[inline]
fn ones(count: usize) -> u64 {
    if count < WIDTH {
        (1 << count) - 1
    } else {
        u64::MAX
    }
}

/// Turns four rows of four 16-byte pieces into four columns.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    const FIRST: i32 = 0b01_00_01_00;
    const LAST: i32 = 0b11_10_11_10;

    let first = _mm512_shuffle_i32x4::<FIRST>;
    let last = _mm512_shuffle_i32x4::<LAST>;
    let even = _mm512_shuffle_i32x4::<EVEN>;
    let odd = _mm512_shuffle_i32x4::<ODD>;
    let (ab, cd) = (first(a, b), first(c, d));
    let (ab_last, cd_last) = (last(a, b), last(c, d));
    [
        even(ab, cd),
        odd(ab, cd),
        even(ab_last, cd_last),
        odd(ab_last, cd_last),
    ]
}
