//! Up to sixteen packets at once, for processors with AVX-512.
//!
//! A packet of WireGuard's size has too few blocks to fill wide registers by itself. So ChaCha20
//! runs on sixteen blocks of whichever packets come next, and Poly1305 on eight packets beside
//! each other.

mod chacha20;
mod poly1305;
mod vector;

use std::ops::Range;

use aws_lc_rs::constant_time;
use zeroize::Zeroize as _;

use super::{Span, TAG_BYTES};
use chacha20::{Keystream, Nonces};
use poly1305::{Multiplication, OneTimeKeys};
use vector::LANES;

/// A key, overwritten when it is dropped. That there is one proves that the processor can use it.
pub(super) struct Avx512 {
    key: [u32; 8],
    multiplication: Multiplication,
}

impl Avx512 {
    /// `None` where the processor, or the system on it, lacks what this needs.
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        let able = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let multiplication = if is_x86_feature_detected!("avx512ifma") {
            Multiplication::Wide
        } else {
            Multiplication::Narrow
        };
        able.then(|| {
            let mut words = [0; 8];
            for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            Self {
                key: words,
                multiplication,
            }
        })
    }

    /// Without the wide multiplication, which not every processor has.
    #[cfg(test)]
    pub(super) fn narrow(key: &[u8; 32]) -> Option<Self> {
        let mut narrow = Self::new(key)?;
        narrow.multiplication = Multiplication::Narrow;
        Some(narrow)
    }

    #[expect(unsafe_code, reason = "only some processors have these instructions")]
    pub(super) fn seal(&self, buffer: &mut [u8], packets: &[Span]) {
        // SAFETY: `new` made sure of the features.
        unsafe { self.seal_able(buffer, packets) }
    }

    #[expect(unsafe_code, reason = "only some processors have these instructions")]
    pub(super) fn open(&self, buffer: &mut [u8], packets: &[Span]) -> u16 {
        // SAFETY: `new` made sure of the features.
        unsafe { self.open_able(buffer, packets) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn seal_able(&self, buffer: &mut [u8], packets: &[Span]) {
        let nonces = Nonces::of(packets);
        let keys = OneTimeKeys::from(chacha20::first_blocks(&self.key, &nonces));
        Keystream::new(&self.key, packets, u16::MAX).apply(buffer);
        for (half, packets) in packets.chunks(LANES / 2).enumerate() {
            let tags = keys.tags(half, self.multiplication, buffer, packets);
            for (tag, packet) in tags.iter().zip(packets) {
                buffer[tag_of(packet)].copy_from_slice(tag);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn open_able(&self, buffer: &mut [u8], packets: &[Span]) -> u16 {
        let nonces = Nonces::of(packets);
        let keys = OneTimeKeys::from(chacha20::first_blocks(&self.key, &nonces));
        let mut genuine = 0;
        for (half, packets) in packets.chunks(LANES / 2).enumerate() {
            let tags = keys.tags(half, self.multiplication, buffer, packets);
            for (index, (tag, packet)) in tags.iter().zip(packets).enumerate() {
                let given = &buffer[tag_of(packet)];
                let equal = constant_time::verify_slices_are_equal(tag, given).is_ok();
                genuine |= u16::from(equal) << (half * LANES / 2 + index);
            }
        }
        Keystream::new(&self.key, packets, genuine).apply(buffer);
        genuine
    }
}

impl Drop for Avx512 {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn tag_of(packet: &Span) -> Range<usize> {
    let end = packet.start + packet.length;
    end..end + TAG_BYTES
}
