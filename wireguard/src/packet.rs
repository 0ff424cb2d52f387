//! What the IP header of a packet says of its ends and its length.

use std::net::IpAddr;

/// Where a packet goes. `None` for what is not IP.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => address::<4>(packet, 16),
        6 => address::<16>(packet, 24),
        _ => None,
    }
}

/// Where a packet comes from, and its length without the padding behind it. `None` for what is not
/// IP, or longer than what is there.
pub(crate) fn source_and_length(padded: &[u8]) -> Option<(IpAddr, usize)> {
    let (source, length) = match padded.first()? >> 4 {
        4 => {
            let length = u16::from_be_bytes([*padded.get(2)?, *padded.get(3)?]).into();
            (20 <= length).then_some((address::<4>(padded, 12)?, length))?
        }
        6 => {
            let payload = u16::from_be_bytes([*padded.get(4)?, *padded.get(5)?]);
            (address::<16>(padded, 8)?, 40 + usize::from(payload))
        }
        _ => return None,
    };
    (length <= padded.len()).then_some((source, length))
}

/// IPv4's type of service or IPv6's traffic class; 0 for what is not IP.
pub(crate) fn traffic_class(packet: &[u8]) -> u8 {
    let [first, second, ..] = packet else {
        return 0;
    };
    match first >> 4 {
        4 => *second,
        6 => first << 4 | second >> 4,
        _ => 0,
    }
}

/// Changes it, and IPv4's checksum with it.
pub(crate) fn set_traffic_class(packet: &mut [u8], class: u8) {
    let former = traffic_class(packet);
    match packet {
        [first, second, ..] if *first >> 4 == 6 => {
            *first = 0x60 | class >> 4;
            *second = class << 4 | *second & 0x0f;
        }
        [first, second, _, _, _, _, _, _, _, _, high, low, ..] if *first >> 4 == 4 => {
            *second = class;
            // RFC 1624: the sum without the former word, and with the new one; the class is the low
            // half of its word.
            let sum = !u16::from_be_bytes([*high, *low]);
            let sum = u32::from(sum) + u32::from(!u16::from(former)) + u32::from(class);
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            [*high, *low] = [!folded.to_be_bytes()[2], !folded.to_be_bytes()[3]];
        }
        _ => (),
    }
}

fn address<const BYTES: usize>(packet: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; BYTES]>,
{
    let octets: &[u8; BYTES] = packet.get(at..)?.first_chunk()?;
    Some((*octets).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_both_versions() {
        let mut v4 = [0; 28];
        v4[0] = 0x45;
        v4[3] = 25;
        v4[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(destination(&v4), Some([10, 0, 0, 2].into()));
        assert_eq!(source_and_length(&v4), Some(([10, 0, 0, 1].into(), 25)));
        v4[3] = 29;
        assert_eq!(source_and_length(&v4), None, "longer than what is there");

        let mut v6 = [0; 56];
        v6[0] = 0x60;
        v6[5] = 9;
        v6[23] = 1;
        v6[39] = 2;
        let ip = |last| IpAddr::from([0, 0, 0, 0, 0, 0, 0, last]);
        assert_eq!(destination(&v6), Some(ip(2)));
        assert_eq!(source_and_length(&v6), Some((ip(1), 49)));
    }

    proptest! {
        #[test]
        fn takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            destination(&bytes);
            if let Some((_, length)) = source_and_length(&bytes) {
                prop_assert!((20..=bytes.len()).contains(&length));
            }
        }
    }
}
