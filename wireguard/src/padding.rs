//! Decides how much padding goes with a packet.

/// Plaintext is padded to a multiple of this, so that its exact length does not show.
const PADDING_BYTES: usize = 16;

/// How long a packet of `length` bytes is with its padding.
///
/// Padding never makes the packet larger than `mtu`, as the datagram around it might no longer fit
/// the path. Receivers take the true length from the IP header.
pub(crate) fn padded(length: usize, mtu: usize) -> usize {
    length.next_multiple_of(PADDING_BYTES).min(mtu).max(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_up_to_the_mtu_and_never_cuts() {
        for (length, mtu, expected) in [
            (0, 1420, 0),
            (1, 1420, 16),
            (16, 1420, 16),
            (1409, 1420, 1420),
            (1420, 1420, 1420),
            (1500, 1420, 1500),
        ] {
            assert_eq!(padded(length, mtu), expected, "{length} bytes, mtu {mtu}");
        }
    }
}
