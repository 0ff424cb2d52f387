//! ChaCha20 on sixteen blocks at once: each register holds one word of all their states.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm512_add_epi32, _mm512_mask_mov_epi32, _mm512_rol_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use super::vector::{LANES, WIDTH, from_words, transpose, xor};
use crate::cipher::Span;

/// RFC 8439, section 2.3: "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

const DOUBLE_ROUNDS: usize = 10;

/// The nonces of up to sixteen packets, one in each lane: the low and the high word.
pub(super) struct Nonces {
    low: __m512i,
    high: __m512i,
}

impl Nonces {
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn of(packets: &[Span]) -> Self {
        let mut low = [0; LANES];
        let mut high = [0; LANES];
        for ((low, high), packet) in low.iter_mut().zip(&mut high).zip(packets) {
            [*low, *high] = words(packet.counter);
        }
        Self {
            low: from_words(&low),
            high: from_words(&high),
        }
    }
}

/// The first half of each packet's block 0, of which its authenticator's key is made.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn first_blocks(key: &[u32; 8], nonces: &Nonces) -> [__m512i; 8] {
    let [[a, b, c, d], [e, f, g, h], ..] = blocks(key, _mm512_setzero_si512(), nonces);
    [a, b, c, d, e, f, g, h]
}

/// The blocks of some packets' texts, one after the other, taken sixteen at a time.
pub(super) struct Keystream<'a> {
    key: &'a [u32; 8],
    packets: &'a [Span],
    /// Bit i: packet i is still to be taken.
    wanted: u16,
    /// Of the packet that is taken now: what is left of its text, and which block comes next.
    rest: Piece,
    block: i32,
    nonce: [i32; 2],
}

/// A part of the buffer.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: usize,
    length: usize,
}

impl<'a> Keystream<'a> {
    /// Of those packets whose bit is set.
    pub(super) fn new(key: &'a [u32; 8], packets: &'a [Span], wanted: u16) -> Self {
        Self {
            key,
            packets,
            wanted,
            rest: Piece::default(),
            block: 1,
            nonce: [0; 2],
        }
    }

    /// Adds the keystream to the packets' texts.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn apply(mut self, buffer: &mut [u8]) {
        loop {
            let mut pieces = [Piece::default(); LANES];
            let Some((indexes, nonces)) = self.next(&mut pieces) else {
                return;
            };
            let [a, b, c, d] = blocks(self.key, indexes, &nonces);
            let [a, b, c, d] = [columns(a), columns(b), columns(c), columns(d)];
            for column in 0..4 {
                let keystreams = transpose([a[column], b[column], c[column], d[column]]);
                for (row, keystream) in keystreams.into_iter().enumerate() {
                    let Piece { start, length } = pieces[4 * row + column];
                    xor(&mut buffer[start..start + length], keystream);
                }
            }
        }
    }

    /// Gives the next blocks a lane each, or `None` if there are no more. Lanes left over have
    /// pieces without bytes.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn next(&mut self, pieces: &mut [Piece; LANES]) -> Option<(__m512i, Nonces)> {
        let lane_numbers = from_words(&LANE_NUMBERS);
        let mut indexes = _mm512_setzero_si512();
        let mut nonces = Nonces {
            low: indexes,
            high: indexes,
        };
        let mut taken = 0;
        while taken < LANES && self.has_more() {
            let lanes: __mmask16 = u16::MAX << taken;
            let offset = self.block - LANE_NUMBERS[taken];
            let numbers = _mm512_add_epi32(lane_numbers, _mm512_set1_epi32(offset));
            let [low, high] = self.nonce.map(|it| _mm512_set1_epi32(it));
            indexes = _mm512_mask_mov_epi32(indexes, lanes, numbers);
            nonces.low = _mm512_mask_mov_epi32(nonces.low, lanes, low);
            nonces.high = _mm512_mask_mov_epi32(nonces.high, lanes, high);
            for piece in &mut pieces[taken..] {
                if self.rest.length == 0 {
                    break;
                }
                *piece = self.take();
                taken += 1;
            }
        }
        (taken > 0).then_some((indexes, nonces))
    }

    /// Whether a byte is left, in this packet or in the next one that is wanted.
    fn has_more(&mut self) -> bool {
        while self.rest.length == 0 {
            let Some((packet, packets)) = self.packets.split_first() else {
                return false;
            };
            self.packets = packets;
            if self.wanted & 1 == 1 {
                self.rest = Piece {
                    start: packet.start,
                    length: packet.length,
                };
                self.block = 1;
                self.nonce = words(packet.counter);
            }
            self.wanted >>= 1;
        }
        true
    }

    fn take(&mut self) -> Piece {
        let Piece { start, length } = self.rest;
        let taken = length.min(WIDTH);
        self.rest = Piece {
            start: start + taken,
            length: length - taken,
        };
        self.block += 1;
        Piece {
            start,
            length: taken,
        }
    }
}

const LANE_NUMBERS: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A counter as two words of the state.
fn words(counter: u64) -> [i32; 2] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [
        i32::from_le_bytes([a, b, c, d]),
        i32::from_le_bytes([e, f, g, h]),
    ]
}

/// Four words of sixteen blocks.
type Row = [__m512i; 4];

/// All words of sixteen blocks.
type State = [Row; 4];

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn blocks(key: &[u32; 8], indexes: __m512i, nonces: &Nonces) -> State {
    let all = |word: u32| _mm512_set1_epi32(word.cast_signed());
    let [c0, c1, c2, c3] = CONSTANTS;
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let start = [
        [all(c0), all(c1), all(c2), all(c3)],
        [all(k0), all(k1), all(k2), all(k3)],
        [all(k4), all(k5), all(k6), all(k7)],
        [indexes, _mm512_setzero_si512(), nonces.low, nonces.high],
    ];

    let mut state = start;
    for _ in 0..DOUBLE_ROUNDS {
        state = double_round(state);
    }
    for (row, start) in state.iter_mut().zip(start) {
        for (word, start) in row.iter_mut().zip(start) {
            *word = _mm512_add_epi32(*word, start);
        }
    }
    state
}

/// The quarter rounds of the columns, then of the diagonals.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn double_round(state: State) -> State {
    let [a, b, c, d] = quarter_rounds(state);
    let [a, b, c, d] = quarter_rounds([a, turn::<1>(b), turn::<2>(c), turn::<3>(d)]);
    [a, turn::<3>(b), turn::<2>(c), turn::<1>(d)]
}

/// Begins a row with its word number `BY`. (What the standard library rotates goes by memory.)
#[inline]
fn turn<const BY: usize>(row: Row) -> Row {
    [
        row[BY],
        row[(BY + 1) % 4],
        row[(BY + 2) % 4],
        row[(BY + 3) % 4],
    ]
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn quarter_rounds([a, b, c, d]: State) -> State {
    let (a, d) = quarter_step::<16>(a, b, d);
    let (c, b) = quarter_step::<12>(c, d, b);
    let (a, d) = quarter_step::<8>(a, b, d);
    let (c, b) = quarter_step::<7>(c, d, b);
    [a, b, c, d]
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn quarter_step<const BITS: i32>(mut sum: Row, addend: Row, mut mixed: Row) -> (Row, Row) {
    for ((sum, addend), mixed) in sum.iter_mut().zip(addend).zip(&mut mixed) {
        *sum = _mm512_add_epi32(*sum, addend);
        *mixed = _mm512_rol_epi32::<BITS>(_mm512_xor_si512(*mixed, *sum));
    }
    (sum, mixed)
}

/// Turns four words of sixteen blocks so that register j holds them of blocks j, j + 4, j + 8 and
/// j + 12.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn columns([a, b, c, d]: Row) -> Row {
    let (ab, ab_last) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_last) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_last, cd_last),
        _mm512_unpackhi_epi64(ab_last, cd_last),
    ]
}
