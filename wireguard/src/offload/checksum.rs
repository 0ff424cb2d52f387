//! Decides the Internet checksum (RFC 1071), at the speed of reading the bytes once.

/// A one's complement sum of 16-bit words as they lie in memory, not yet folded.
///
/// Sums of words in the machine's byte order, folded and stored in that order, are the checksum in
/// either order (RFC 1071, section 2 B). Only what is no sum of bytes has to be turned first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u64);

/// Bytes that one round takes: enough lanes to keep the machine's vectors busy.
const ROUND_BYTES: usize = 64;

impl Sum {
    /// The sum of `bytes`, the last one padded with a zero if their number is odd.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let (rounds, rest) = bytes.as_chunks::<ROUND_BYTES>();
        let mut lanes = [0_u128; 4];
        for round in rounds {
            let (words, _) = round.as_chunks::<8>();
            for (at, word) in words.iter().enumerate() {
                lanes[at % 4] += u128::from(u64::from_ne_bytes(*word));
            }
        }
        lanes.iter().fold(Self::of_few(rest), |sum, lane| {
            sum.plus(Self::of_few(&lane.to_ne_bytes()))
        })
    }

    /// A number of 16 bits that the network would see in its own byte order.
    pub(super) fn number(number: u16) -> Self {
        Self(u64::from(number.to_be()))
    }

    /// No sum comes near the limit: each is of at most a packet's bytes and a few numbers.
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum as it stands in a packet whose checksum is pending.
    pub(super) fn folded(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum as it stands in a packet.
    pub(super) fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// The checksum where 0 means that there is none; its other form says the same.
    pub(super) fn checksum_not_zero(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }

    /// Whether this is the sum of bytes that hold their own, right checksum.
    pub(super) fn is_right(self) -> bool {
        self.fold() == u16::MAX
    }

    fn of_few(bytes: &[u8]) -> Self {
        let (eights, rest) = bytes.as_chunks::<8>();
        let (fours, rest) = rest.as_chunks::<4>();
        let (twos, rest) = rest.as_chunks::<2>();
        let mut sum = 0;
        for word in eights {
            let word = u64::from_ne_bytes(*word);
            sum += (word >> 32) + (word & 0xffff_ffff);
        }
        for word in fours {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        for word in twos {
            sum += u64::from(u16::from_ne_bytes(*word));
        }
        for last in rest {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(sum)
    }

    fn fold(self) -> u16 {
        // What the halves carry shrinks from 33 bits to 18, to 17, to 16.
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        (sum & 0xffff) as u16
    }
}

/// Copies `from` to `to` and sums it on the way; both have the same length, a packet's at most.
///
/// Summed in halves, words leave room for their carries and suit the machine's vectors; together
/// with the copy that takes two thirds of the time of one after the other.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> Sum {
    debug_assert!(from.len() < 1 << 20, "lanes hold the carries of a packet");
    let (rounds, rest) = from.as_chunks::<ROUND_BYTES>();
    let (copies, copied_rest) = to.as_chunks_mut::<ROUND_BYTES>();
    let mut lanes = [0_u32; ROUND_BYTES / 4];
    for (round, copied) in rounds.iter().zip(copies) {
        *copied = *round;
        let (words, _) = round.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            let word = u32::from_ne_bytes(*word);
            *lane += (word & 0xffff) + (word >> 16);
        }
    }
    copied_rest.copy_from_slice(rest);
    let sum: u64 = lanes.iter().map(|it| u64::from(*it)).sum();
    Sum(sum).plus(Sum::of_few(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);

        assert_eq!(sum.folded(), [0xdd, 0xf2]);
        assert_eq!(sum.checksum(), [0x22, 0x0d]);
    }

    #[test]
    fn no_checksum_is_zero_where_zero_means_none() {
        let sum = Sum::of(&[0xff, 0xff]);

        assert_eq!(sum.checksum(), [0, 0]);
        assert_eq!(sum.checksum_not_zero(), [0xff, 0xff]);
    }

    #[test]
    fn carries_survive_the_largest_packet() {
        let bytes = vec![0xff; 65_575];
        let mut copied = vec![0; bytes.len()];

        assert_eq!(Sum::of(&bytes).folded(), naive(&bytes));
        assert_eq!(copy(&bytes, &mut copied).folded(), naive(&bytes));
        assert_eq!(copied, bytes);
    }

    proptest! {
        #[test]
        fn agrees_with_a_sum_word_by_word(
            bytes in prop::collection::vec(any::<u8>(), 0..700),
            skipped in 0..9_usize,
            number in any::<u16>(),
        ) {
            let bytes = bytes.get(skipped..).unwrap_or_default();
            let mut copied = vec![0; bytes.len()];
            let sum = Sum::of(bytes);
            let expected = naive(bytes);

            prop_assert_eq!(sum.folded(), expected);
            prop_assert_eq!(copy(bytes, &mut copied).folded(), expected);
            prop_assert_eq!(&copied, bytes);

            let more = [&number.to_be_bytes(), bytes].concat();
            prop_assert_eq!(sum.plus(Sum::number(number)).folded(), naive(&more));
            let checked = [&sum.checksum(), bytes].concat();
            prop_assert!(Sum::of(&checked).is_right());
        }
    }

    fn naive(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |it| u32::from(*it));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap().to_be_bytes()
    }
}
