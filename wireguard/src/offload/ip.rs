//! Decides where the parts of an IP packet lie, and that its lengths agree.

use super::Malformed;
use super::checksum::Sum;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

/// A packet that is whole, no fragment of one, and as long as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    pub(crate) protocol: u8,
    /// Where the header of `protocol` starts, at most the packet's length.
    pub(crate) transport_start: usize,
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

pub(super) const V4_BYTES: usize = 20;
pub(super) const V6_BYTES: usize = 40;
pub(super) const TCP_BYTES: usize = 20;
pub(super) const UDP_BYTES: usize = 8;

/// Where the checksum lies in the header of TCP and of UDP.
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const UDP_CHECKSUM: usize = 6;

/// Headers of IPv6 that may come before the transport's (RFC 8200, section 4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

impl Layout {
    /// Walks over IPv4's options and IPv6's extension headers.
    pub(crate) fn of(packet: &[u8]) -> Result<Self, Malformed> {
        match packet.first().map(|it| it >> 4) {
            Some(4) => Self::of_v4(packet),
            Some(6) => Self::of_v6(packet),
            _ => Err(Malformed("neither IPv4 nor IPv6")),
        }
    }

    /// The sum of the addresses and the protocol, to which the transport adds its length.
    pub(super) fn pseudo_header(self, packet: &[u8]) -> Sum {
        let addresses = match self.version {
            Version::V4 => &packet[12..20],
            Version::V6 => &packet[8..40],
        };
        Sum::of(addresses).plus(Sum::number(self.protocol.into()))
    }

    fn of_v4(packet: &[u8]) -> Result<Self, Malformed> {
        let header = packet.first_chunk::<V4_BYTES>();
        let header = header.ok_or(Malformed("IPv4 header cut off"))?;
        let transport_start = usize::from(header[0] & 0xf) * 4;
        if !(V4_BYTES..=packet.len()).contains(&transport_start) {
            return Err(Malformed("length of the IPv4 header"));
        }
        if usize::from(get_u16(header, 2)) != packet.len() {
            return Err(Malformed("length of the IPv4 packet"));
        }
        if get_u16(header, 6) & 0x3fff != 0 {
            return Err(Malformed("IPv4 fragment"));
        }
        Ok(Self {
            version: Version::V4,
            protocol: header[9],
            transport_start,
        })
    }

    fn of_v6(packet: &[u8]) -> Result<Self, Malformed> {
        let header = packet.first_chunk::<V6_BYTES>();
        let header = header.ok_or(Malformed("IPv6 header cut off"))?;
        if usize::from(get_u16(header, 4)) + V6_BYTES != packet.len() {
            return Err(Malformed("length of the IPv6 packet"));
        }
        let mut protocol = header[6];
        let mut transport_start = V6_BYTES;
        while [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS].contains(&protocol) {
            let extension = packet[transport_start..].first_chunk::<8>();
            let extension = extension.ok_or(Malformed("IPv6 extension header cut off"))?;
            if protocol == ROUTING && extension[3] != 0 {
                return Err(Malformed("destination hidden in a routing header"));
            }
            protocol = extension[0];
            transport_start += (usize::from(extension[1]) + 1) * 8;
            if packet.len() < transport_start {
                return Err(Malformed("IPv6 extension header cut off"));
            }
        }
        Ok(Self {
            version: Version::V6,
            protocol,
            transport_start,
        })
    }
}

/// The number at `at`, in the network's byte order.
pub(super) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The number at `at`, in the network's byte order.
pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes bytes at `at`.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// A length that is known to fit into a header's field.
pub(super) fn field(length: usize) -> u16 {
    debug_assert!(length <= usize::from(u16::MAX), "{length} bytes");
    low_u16(length)
}

/// A count as it shows in a field that wraps around.
pub(super) fn low_u16(count: usize) -> u16 {
    let [first, second, ..] = count.to_le_bytes();
    u16::from_le_bytes([first, second])
}

/// A count as it shows in a field that wraps around.
pub(super) fn low_u32(count: usize) -> u32 {
    let [first, second, third, fourth, ..] = count.to_le_bytes();
    u32::from_le_bytes([first, second, third, fourth])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_options_and_extension_headers() {
        let mut packet = vec![0; 60];
        packet[0] = 0x46;
        packet[3] = 60;
        packet[9] = TCP;
        assert_eq!(Layout::of(&packet), Ok(layout(Version::V4, TCP, 24)));

        let mut packet = vec![0; 40 + 8 + 16 + 8 + 8];
        packet[0] = 0x60;
        packet[5] = 40;
        packet[40] = DESTINATION_OPTIONS;
        packet[48..50].copy_from_slice(&[ROUTING, 1]);
        packet[64] = UDP;
        assert_eq!(Layout::of(&packet), Ok(layout(Version::V6, UDP, 72)));
    }

    #[test]
    fn refuses_packets_that_contradict_themselves() {
        let v4 = |at: usize, value: u8| {
            let mut packet = vec![0; 40];
            packet[0] = 0x45;
            packet[3] = 40;
            packet[at] = value;
            Layout::of(&packet).map(drop).map_err(|it| it.0)
        };
        assert_eq!(v4(6, 0x40), Ok(()));
        assert_eq!(v4(0, 0x44), Err("length of the IPv4 header"));
        assert_eq!(v4(0, 0x4b), Err("length of the IPv4 header"));
        assert_eq!(v4(3, 39), Err("length of the IPv4 packet"));
        assert_eq!(v4(6, 0x20), Err("IPv4 fragment"));
        assert_eq!(v4(7, 1), Err("IPv4 fragment"));
        assert_eq!(v4(0, 0x55), Err("neither IPv4 nor IPv6"));
        assert_eq!(Layout::of(&[]), Err(Malformed("neither IPv4 nor IPv6")));
        assert_eq!(
            Layout::of(&[0x45; 19]),
            Err(Malformed("IPv4 header cut off"))
        );

        let v6 = |at: usize, value: u8| {
            let mut packet = vec![0; 48];
            packet[0] = 0x60;
            packet[5] = 8;
            packet[6] = ROUTING;
            packet[40] = TCP;
            packet[at] = value;
            Layout::of(&packet).map(drop).map_err(|it| it.0)
        };
        assert_eq!(v6(7, 1), Ok(()));
        assert_eq!(v6(5, 9), Err("length of the IPv6 packet"));
        assert_eq!(v6(41, 1), Err("IPv6 extension header cut off"));
        assert_eq!(v6(40, HOP_BY_HOP), Err("IPv6 extension header cut off"));
        assert_eq!(v6(43, 1), Err("destination hidden in a routing header"));
        assert_eq!(
            Layout::of(&[0x60; 39]),
            Err(Malformed("IPv6 header cut off"))
        );
    }

    fn layout(version: Version, protocol: u8, transport_start: usize) -> Layout {
        Layout {
            version,
            protocol,
            transport_start,
        }
    }
}
