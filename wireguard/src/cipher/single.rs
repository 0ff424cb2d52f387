//! One packet at a time, by the provider that TLS has too.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::{Span, TAG_BYTES};

/// A key in the provider's memory, which it overwrites when it is dropped.
pub(super) struct Single(LessSafeKey);

impl Single {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher's keys have 32 bytes");
        Self(LessSafeKey::new(key))
    }

    pub(super) fn seal(&self, buffer: &mut [u8], packets: &[Span]) {
        for packet in packets {
            let (text, tag) = parts(buffer, *packet);
            let sealed = self
                .0
                .seal_in_place_separate_tag(nonce(packet.counter), Aad::empty(), text)
                .expect("the text is far shorter than the cipher's limit");
            tag.copy_from_slice(sealed.as_ref());
        }
    }

    /// Takes up to 16 packets. Bit i of the answer says that packet i was genuine.
    pub(super) fn open(&self, buffer: &mut [u8], packets: &[Span]) -> u16 {
        let mut genuine = 0;
        for (index, packet) in packets.iter().enumerate() {
            let (text, tag) = parts(buffer, *packet);
            let opened =
                self.0
                    .open_in_place_separate_tag(nonce(packet.counter), Aad::empty(), tag, text);
            genuine |= u16::from(opened.is_ok()) << index;
        }
        genuine
    }
}

fn parts(buffer: &mut [u8], packet: Span) -> (&mut [u8], &mut [u8]) {
    buffer[packet.start..][..packet.length + TAG_BYTES].split_at_mut(packet.length)
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}
