//! Some packets at once, in whichever way this processor has.

use super::Span;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;

/// Packets that one call takes.
pub(super) const MOST: usize = 16;

/// Packets from which on they are faster together than one after the other. Measured: three of
/// 256 bytes and more, four of 64 bytes.
pub(super) const WORTH: usize = 4;

pub(super) enum Batch {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Batch {
    /// `None` if this processor has no way that beats one packet at a time.
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let batch = Avx512::new(key).map(Self::Avx512);
        #[cfg(not(target_arch = "x86_64"))]
        let batch = None;
        batch
    }

    /// Takes 1 to [`MOST`] packets.
    pub(super) fn seal(&self, buffer: &mut [u8], packets: &[Span]) {
        match *self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(ref it) => it.seal(buffer, packets),
        }
    }

    /// Takes 1 to [`MOST`] packets. Bit i of the answer says that packet i was genuine.
    pub(super) fn open(&self, buffer: &mut [u8], packets: &[Span]) -> u16 {
        match *self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(ref it) => it.open(buffer, packets),
        }
    }
}
