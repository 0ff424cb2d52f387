//! Seals and opens WireGuard's data packets, many at once: ChaCha20-Poly1305 as RFC 8439 has it,
//! with a nonce of four zero bytes and the packet's counter, and nothing authenticated beside the
//! text.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod single;

#[cfg(test)]
mod tests;

use std::fmt;

use batch::Batch;
use single::Single;

/// The tag behind each packet's text.
pub(crate) const TAG_BYTES: usize = 16;

/// Packets in one call: a bit for each in the answer of `open`, and more than the kernel puts
/// into one datagram of segments.
pub(crate) const BATCH_MAX: usize = 64;

/// Where a packet lies in a buffer: `length` bytes of text from `start` on, then its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) counter: u64,
}

/// One direction of a session: a key, and the fastest ways to use it that this processor has.
pub(crate) struct Cipher {
    single: Single,
    batch: Option<Batch>,
    /// Packets from which on the batch is faster.
    worth: usize,
}

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            single: Single::new(key),
            batch: Batch::new(key),
            worth: batch::WORTH,
        }
    }

    /// Seals each packet in place and writes its tag behind it.
    ///
    /// Panics if there are more than [`BATCH_MAX`] packets or one reaches beyond the buffer.
    pub(crate) fn seal(&self, buffer: &mut [u8], packets: &[Span]) {
        check(buffer, packets);
        for packets in packets.chunks(batch::MOST) {
            match self.batch_for(packets) {
                Some(batch) => batch.seal(buffer, packets),
                None => self.single.seal(buffer, packets),
            }
        }
    }

    /// Opens each packet in place: bit i of the answer says that packet i was genuine. The text of
    /// any other is not to be used.
    ///
    /// Panics if there are more than [`BATCH_MAX`] packets or one reaches beyond the buffer.
    pub(crate) fn open(&self, buffer: &mut [u8], packets: &[Span]) -> u64 {
        check(buffer, packets);
        let mut genuine = 0;
        for (index, packets) in packets.chunks(batch::MOST).enumerate() {
            let opened = match self.batch_for(packets) {
                Some(batch) => batch.open(buffer, packets),
                None => self.single.open(buffer, packets),
            };
            genuine |= u64::from(opened) << (index * batch::MOST);
        }
        genuine
    }

    fn batch_for(&self, packets: &[Span]) -> Option<&Batch> {
        self.batch.as_ref().filter(|_| packets.len() >= self.worth)
    }
}

fn check(buffer: &[u8], packets: &[Span]) {
    assert!(packets.len() <= BATCH_MAX, "too many packets for one call");
    for packet in packets {
        let room = buffer.len().checked_sub(packet.start);
        let needed = packet.length.checked_add(TAG_BYTES);
        assert!(
            needed.is_some_and(|needed| room.is_some_and(|room| needed <= room)),
            "a packet reaches beyond its buffer"
        );
    }
}

/// Shows no key.
impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").finish_non_exhaustive()
    }
}
