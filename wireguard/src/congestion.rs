//! Decides what a tunnel does with marks of congestion (RFC 6040): packets bear them outside as they
//! do inside, and bring back what the path marked them with.

use crate::packet::{set_traffic_class, traffic_class};

/// The two bits of an IP header that are for explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ecn {
    /// The packet's sender does not know of it.
    #[default]
    Unaware,
    /// ECT(1).
    Capable1,
    /// ECT(0).
    Capable0,
    /// CE: the path is congested.
    Congested,
}

const MASK: u8 = 0b11;

impl Ecn {
    /// That of a packet that begins with its header.
    pub(crate) fn of(packet: &[u8]) -> Self {
        match traffic_class(packet) & MASK {
            0b01 => Self::Capable1,
            0b10 => Self::Capable0,
            0b11 => Self::Congested,
            _ => Self::Unaware,
        }
    }

    /// Whether packets that came in a datagram that bears this are as they were when they left.
    pub(crate) fn says_nothing(self) -> bool {
        match self {
            Self::Unaware | Self::Capable0 => true,
            Self::Capable1 | Self::Congested => false,
        }
    }

    /// Tells a packet what its datagram bore. False if the packet must be dropped: it is congestion,
    /// and nothing but a loss would tell its sender so.
    pub(crate) fn tell(self, packet: &mut [u8]) -> bool {
        let inside = Self::of(packet);
        let outcome = match (inside, self) {
            (Self::Unaware, Self::Congested) => return false,
            (Self::Capable0, Self::Capable1) => Self::Capable1,
            (Self::Capable0 | Self::Capable1, Self::Congested) => Self::Congested,
            (inside, _) => inside,
        };
        if outcome != inside {
            let class = traffic_class(packet) & !MASK | outcome.bits();
            set_traffic_class(packet, class);
        }
        true
    }

    fn bits(self) -> u8 {
        match self {
            Self::Unaware => 0b00,
            Self::Capable1 => 0b01,
            Self::Capable0 => 0b10,
            Self::Congested => 0b11,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Ecn; 4] = [Ecn::Unaware, Ecn::Capable1, Ecn::Capable0, Ecn::Congested];

    /// The table of RFC 6040, figure 4; rows inside, columns outside.
    #[test]
    fn tells_packets_what_their_datagrams_bore() {
        let table = [
            [Some(0), Some(0), Some(0), None],
            [Some(1), Some(1), Some(1), Some(3)],
            [Some(2), Some(1), Some(2), Some(3)],
            [Some(3), Some(3), Some(3), Some(3)],
        ];
        for (inside, row) in (0..).zip(table) {
            for (outside, expected) in ALL.into_iter().zip(row) {
                for mut packet in [v4(inside), v6(inside)] {
                    let before = packet.clone();
                    let kept = outside.tell(&mut packet);
                    let found = kept.then(|| traffic_class(&packet) & MASK);
                    assert_eq!(found, expected, "{inside} {outside:?}");
                    assert_eq!(traffic_class(&packet) >> 2, 0b10_1010);
                    if outside.says_nothing() {
                        assert_eq!(packet, before);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_headers_checksum_stays_right(mut header in any::<[u8; 20]>(), inside in 0..4_u8) {
            header[0] = 0x45;
            header[1] = header[1] & !MASK | inside;
            header[10..12].copy_from_slice(&[0, 0]);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            for outside in ALL {
                let mut packet = header;
                outside.tell(&mut packet);
                prop_assert_eq!(checksum(&packet), 0);
            }
        }

        #[test]
        fn takes_any_bytes_without_a_panic(mut packet in prop::collection::vec(any::<u8>(), 0..24)) {
            for outside in ALL {
                outside.tell(&mut packet);
            }
        }
    }

    fn v4(ecn: u8) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[1] = 0b1010_1000 | ecn;
        packet
    }

    fn v6(ecn: u8) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x6a;
        packet[1] = 0b1000_1111 | ecn << 4;
        packet
    }

    /// As a router does it, word by word.
    fn checksum(header: &[u8]) -> u16 {
        let words = header
            .chunks(2)
            .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        !u16::try_from(folded).unwrap()
    }
}
