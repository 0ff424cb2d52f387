//! Decides which packets belong together: those of one flow, which must stay in order.

use crate::offload::Layout;
use crate::packet::destination;

/// Protocols that begin with two ports of 16 bits each.
const WITH_PORTS: [u8; 5] = [TCP, UDP, DCCP, SCTP, UDP_LITE];
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// A number that all packets of a flow have in common, and hardly any of another.
///
/// A flow has addresses, a protocol and ports. Fragments count by the first two, as all but one of
/// a packet have no ports, and so does what cannot be read.
pub(crate) fn flow_hash(packet: &[u8]) -> u64 {
    let addresses = match destination(packet) {
        Some(std::net::IpAddr::V4(_)) => &packet[12..20],
        Some(std::net::IpAddr::V6(_)) => &packet[8..40],
        None => &[],
    };
    let (words, _) = addresses.as_chunks();
    let addresses = words
        .iter()
        .fold(0, |hash, word| mixed(hash ^ u64::from_be_bytes(*word)));
    mixed(addresses ^ transport(packet))
}

/// A number of which every bit depends on every bit of another; no two come to the same.
pub(crate) fn mixed(number: u64) -> u64 {
    // The finisher of SplitMix64, with an odd constant before it so that 0 is not left as it is.
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The protocol, and the ports if there are any.
fn transport(packet: &[u8]) -> u64 {
    let Ok(layout) = Layout::of(packet) else {
        let place = if packet.first().is_some_and(|it| it >> 4 == 4) {
            9
        } else {
            6
        };
        return packet.get(place).map_or(0, |it| u64::from(*it) << 32);
    };
    let ports = packet[layout.transport_start..].first_chunk();
    let ports = ports.filter(|_| WITH_PORTS.contains(&layout.protocol));
    let ports = ports.map_or(0, |it| u32::from_be_bytes(*it));
    u64::from(layout.protocol) << 32 | u64::from(ports)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MORE_FRAGMENTS: u8 = 0x20;

    #[test]
    fn addresses_protocol_and_ports_make_a_flow() {
        for v6 in [false, true] {
            let flow = |protocol, ports| flow_hash(&packet(v6, protocol, ports, 7));
            let same = flow_hash(&packet(v6, TCP, 1, 900));
            assert_eq!(flow(TCP, 1), same, "whatever its payload");
            for protocol in WITH_PORTS {
                let both = [flow(protocol, 1), flow(protocol, 2)];
                assert_ne!(both[0], both[1], "{protocol}");
            }
            assert_ne!(flow(TCP, 1), flow(UDP, 1));
            assert_eq!(flow(1, 1), flow(1, 2), "no ports");
            let start = if v6 { 8 } else { 12 };
            for place in start..if v6 { 40 } else { 20 } {
                let mut other = packet(v6, TCP, 1, 7);
                other[place] ^= 1;
                assert_ne!(flow_hash(&other), flow(TCP, 1), "byte {place}");
            }
        }
    }

    #[test]
    fn all_fragments_of_a_packet_are_of_one_flow() {
        let mut first = packet(false, UDP, 7, 64);
        first[6] = MORE_FRAGMENTS;
        let mut last = packet(false, UDP, 99, 64);
        last[7] = 9;
        assert_eq!(flow_hash(&first), flow_hash(&last));

        let [mut first, mut last] = [7, 99].map(|ports| packet(true, 44, ports, 64));
        first[40..44].copy_from_slice(&[UDP, 0, 0, 1]);
        last[40..44].copy_from_slice(&[UDP, 0, 0, 64]);
        assert_eq!(flow_hash(&first), flow_hash(&last));
    }

    #[test]
    fn numbers_are_spread_evenly_whatever_they_have_in_common() {
        let mut counts = [0; 8];
        for ports in 0..8_000 {
            let hash = flow_hash(&packet(false, TCP, ports, 7));
            counts[usize::try_from(mixed(hash ^ 5) % 8).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|it| (850..1_150).contains(it)),
            "{counts:?}"
        );
        let all: BTreeSet<u64> = (0..8_000).map(mixed).collect();
        assert_eq!(all.len(), 8_000);
    }

    proptest! {
        #[test]
        fn takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            assert_eq!(flow_hash(&bytes), flow_hash(&bytes.clone()));
        }
    }

    fn packet(v6: bool, protocol: u8, ports: u32, payload: u16) -> Vec<u8> {
        let header = if v6 { 40 } else { 20 };
        let mut packet = vec![0x11; usize::from(header + 8 + payload)];
        let start = usize::from(header);
        if v6 {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&(8 + payload).to_be_bytes());
            packet[6] = protocol;
        } else {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(header + 8 + payload).to_be_bytes());
            packet[6..8].fill(0);
            packet[9] = protocol;
        }
        packet[start..start + 4].copy_from_slice(&ports.to_be_bytes());
        packet
    }
}
