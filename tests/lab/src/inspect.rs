//! Decides whether captured packets give away what only WireGuard may carry.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The UDP port of the mesh's WireGuard devices.
pub const WIREGUARD_PORT: u16 = 51_871;

/// What must not be seen outside WireGuard.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Bytes that no packet may contain, anywhere, WireGuard's included.
    pub marker: Vec<u8>,
    /// Addresses that no IP header may carry, whether the outermost one, one inside a tunnel
    /// without encryption (IP in IP, VXLAN), or one that an ICMP error quotes.
    pub prefixes: Vec<Ipv4Net>,
}

/// What a capture contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    pub packets: usize,
    /// Those to or from [`WIREGUARD_PORT`].
    pub wireguard: usize,
    /// The first few leaks in words.
    pub leaks: Vec<String>,
    /// All of them.
    pub leak_count: usize,
}

/// How many leaks are described: more would say the same.
const MOST_DESCRIBED: usize = 10;

/// How many IP headers inside each other are looked at: nobody nests deeper.
const DEEPEST: usize = 4;

const IP_IN_IP: u8 = 4;
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// VXLAN's registered port, and the one that Linux and Cilium have used before it.
const VXLAN_PORTS: [u16; 2] = [4_789, 8_472];

/// The sizes of what is between a UDP payload and the inner IP header: VXLAN and Ethernet.
const VXLAN_HEADERS: usize = 8 + 14;

/// The ICMP types that quote the packet they complain about.
const ICMP_ERRORS: [u8; 4] = [3, 5, 11, 12];

impl Inspection {
    /// Looks at one packet, from its IP header on.
    pub fn add(&mut self, packet: &[u8], secrets: &Secrets) {
        self.packets += 1;
        if !secrets.marker.is_empty() && contains(packet, &secrets.marker) {
            self.leak(format!("the marker in {}", describe(packet)));
        }
        if is_wireguard(packet) {
            self.wireguard += 1;
        }
        for header in headers(packet) {
            let secret = |it: &Ipv4Addr| secrets.prefixes.iter().any(|prefix| prefix.contains(it));
            if secret(&header.source) || secret(&header.destination) {
                self.leak(format!("addresses in {}", describe(packet)));
                return;
            }
        }
    }

    /// Whether nothing was given away, in a capture that saw WireGuard at work at all.
    pub fn is_proof(&self) -> bool {
        self.leak_count == 0 && 0 < self.wireguard
    }

    fn leak(&mut self, description: String) {
        self.leak_count += 1;
        if self.leaks.len() < MOST_DESCRIBED {
            self.leaks.push(description);
        }
    }
}

struct Header<'a> {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        let length = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || length < 20 {
            return None;
        }
        let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok();
        Some(Self {
            source: address(12)?.into(),
            destination: address(16)?.into(),
            protocol: packet[9],
            payload: packet.get(length..).unwrap_or_default(),
        })
    }

    /// The source and destination ports of UDP.
    fn udp_ports(&self) -> Option<[u16; 2]> {
        let [a, b, c, d] = *self.payload.first_chunk()?;
        (self.protocol == UDP).then(|| [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
    }

    /// What is inside, if that starts with an IP header that is not encrypted.
    fn inner(&self) -> Option<&'a [u8]> {
        let skip = match self.protocol {
            IP_IN_IP => 0,
            ICMP if ICMP_ERRORS.contains(self.payload.first()?) => 8,
            UDP if VXLAN_PORTS.contains(&self.udp_ports()?[1]) => 8 + VXLAN_HEADERS,
            _ => return None,
        };
        self.payload.get(skip..)
    }
}

/// The packet's IP header and those inside it.
fn headers(packet: &[u8]) -> impl Iterator<Item = Header<'_>> {
    std::iter::successors(Header::parse(packet), |it| Header::parse(it.inner()?)).take(DEEPEST)
}

fn is_wireguard(packet: &[u8]) -> bool {
    let ports = Header::parse(packet).and_then(|it| it.udp_ports());
    ports.is_some_and(|it| it.contains(&WIREGUARD_PORT))
}

fn contains(packet: &[u8], marker: &[u8]) -> bool {
    packet.windows(marker.len()).any(|it| it == marker)
}

fn describe(packet: &[u8]) -> String {
    let headers = headers(packet).map(|it| {
        let (source, destination, protocol) = (it.source, it.destination, it.protocol);
        format!("{source} to {destination}, protocol {protocol}")
    });
    let headers: Vec<String> = headers.collect();
    format!(
        "a packet of {} bytes ({})",
        packet.len(),
        headers.join(", in it ")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: [u8; 4] = [192, 0, 2, 11];
    const FAR_HOST: [u8; 4] = [198, 51, 100, 11];
    const POD: [u8; 4] = [10, 1, 1, 10];
    const FAR_POD: [u8; 4] = [10, 2, 1, 10];

    #[test]
    fn wireguard_between_hosts_is_no_leak() {
        let inspection = inspect(&ip(HOST, FAR_HOST, UDP, &udp(WIREGUARD_PORT, b"sealed")));

        assert_eq!((inspection.leak_count, inspection.wireguard), (0, 1));
        assert!(inspection.is_proof());
    }

    #[test]
    fn silence_proves_nothing() {
        assert!(!inspect(&ip(HOST, FAR_HOST, 6, b"")).is_proof());
    }

    #[test]
    fn the_marker_is_a_leak_even_inside_wireguard() {
        let packet = ip(HOST, FAR_HOST, UDP, &udp(WIREGUARD_PORT, b"a SECRET text"));

        assert_eq!(inspect(&packet).leak_count, 1);
    }

    #[test]
    fn a_pod_address_is_a_leak_wherever_it_is_in_the_clear() {
        let pods = ip(POD, FAR_POD, 6, b"");
        let vxlan = [&[0; 22][..], &pods].concat();
        let quoted = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &pods].concat();

        assert_eq!(inspect(&pods).leak_count, 1);
        assert_eq!(inspect(&ip(HOST, FAR_POD, UDP, b"")).leak_count, 1);
        assert_eq!(inspect(&ip(HOST, FAR_HOST, IP_IN_IP, &pods)).leak_count, 1);
        assert_eq!(
            inspect(&ip(HOST, FAR_HOST, UDP, &udp(8_472, &vxlan))).leak_count,
            1
        );
        assert_eq!(inspect(&ip(FAR_HOST, HOST, ICMP, &quoted)).leak_count, 1);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(bytes: Vec<u8>) {
            inspect(&bytes);
            for protocol in [IP_IN_IP, ICMP, UDP] {
                inspect(&ip(HOST, FAR_HOST, protocol, &bytes));
            }
        }
    }

    fn inspect(packet: &[u8]) -> Inspection {
        let pods = "10.0.0.0/8".parse().unwrap();
        let secrets = Secrets {
            marker: b"SECRET".to_vec(),
            prefixes: vec![pods],
        };
        let mut inspection = Inspection::default();
        inspection.add(packet, &secrets);
        inspection
    }

    fn ip(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0, 1];
        datagram.extend(port.to_be_bytes());
        datagram.extend([0; 4]);
        datagram.extend(payload);
        datagram
    }
}
