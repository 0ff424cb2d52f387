//! Decides how much padding goes with a packet.

/// An IP packet from the interface, with room behind it for padding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    zero_padded: &'a [u8],
}

/// Plaintext is padded to a multiple of this, so that its exact length does not show.
pub(crate) const PADDING_BYTES: usize = 16;

impl<'a> Outgoing<'a> {
    /// The packet in the first `length` bytes of `buffer`; bytes behind it are overwritten.
    ///
    /// Padding never makes the packet larger than `mtu`, as the datagram around it might no longer
    /// fit the path. Receivers take the true length from the IP header.
    pub(crate) fn new(buffer: &'a mut [u8], length: usize, mtu: usize) -> Self {
        let padded = length
            .next_multiple_of(PADDING_BYTES)
            .min(mtu)
            .min(buffer.len())
            .max(length);
        buffer[length..padded].fill(0);
        Self {
            zero_padded: &buffer[..padded],
        }
    }

    pub(crate) fn padded(&self) -> &'a [u8] {
        self.zero_padded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::BUFFER_BYTES;

    #[test]
    fn pads_with_zeros_up_to_the_mtu_and_never_cuts() {
        for (length, mtu, expected) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1500, 1420, 1500),
        ] {
            let mut buffer = vec![0xaa; BUFFER_BYTES];
            let padded = Outgoing::new(&mut buffer, length, mtu).padded();

            assert_eq!(padded.len(), expected, "{length} bytes, mtu {mtu}");
            assert!(padded[..length].iter().all(|it| *it == 0xaa));
            assert!(padded[length..].iter().all(|it| *it == 0));
        }
    }

    proptest! {
        #[test]
        fn padding_stays_within_the_buffer(length in 0..=65_535_usize, mtu in any::<usize>()) {
            let mut buffer = vec![0; BUFFER_BYTES];
            let padded = Outgoing::new(&mut buffer, length, mtu).padded().len();

            prop_assert!((length..length + PADDING_BYTES).contains(&padded));
            prop_assert!(padded + 32 <= BUFFER_BYTES);
        }
    }
}
