//! Decides which packets a frame stands for: those that a network card would have sent.
//!
//! Every packet gets the frame's headers with what differs: lengths, IPv4's identification, TCP's
//! sequence number and flags, and checksums. What all of them have in common is summed once.

use super::checksum::{self, Sum};
use super::ip::{self, Layout, Version, field, get_u16, get_u32, low_u16, low_u32, put};
use super::{Gso, GsoKind, Malformed, PendingChecksum, VnetHeader};

/// The packets that one frame stands for, each written where it is needed.
///
/// All but the last have the same length, the last at most that.
pub struct Segments<'a> {
    packet: &'a [u8],
    /// Absent if the frame is the packet.
    cut: Option<Cut>,
}

/// How to cut: headers in front, then payload in pieces of `size` bytes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    layout: Layout,
    headers_length: usize,
    size: usize,
    count: usize,
    network: Network,
    transport: Transport,
}

/// What changes in the IP header; each sum is of all else that its checksum covers.
#[derive(Clone, Copy, Debug)]
enum Network {
    V4 { identification: u16, sum: Sum },
    V6,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp {
        sequence: u32,
        /// The 16 bits with the header's length and all flags.
        flags: u16,
        sum: Sum,
    },
    Udp {
        /// Absent if the sender wants no checksum.
        sum: Option<Sum>,
    },
}

/// Flags that only the last packet has.
const TCP_FIN_PSH: u16 = 0x0009;
/// Set on the first packet only.
const TCP_CWR: u16 = 0x0080;

impl<'a> Segments<'a> {
    /// Reads the frame that came behind `header`, and completes its checksum if it is one packet.
    ///
    /// If the frame has to be cut, the fields that differ between packets are lost from it. A packet
    /// that asks for nothing passes whatever it is.
    ///
    /// # Errors
    ///
    /// Says what contradicts what; `packet` may have been changed by then.
    pub fn of(header: &VnetHeader, packet: &'a mut [u8]) -> Result<Self, Malformed> {
        if packet.is_empty() {
            return Err(Malformed("no packet"));
        }
        if packet.len() < usize::from(header.headers_length) {
            return Err(Malformed("headers longer than the packet"));
        }
        let cut = match (header.gso, header.checksum) {
            (Some(gso), pending) => Some(Cut::new(gso, pending, packet)?),
            (None, Some(pending)) => {
                complete(pending, packet)?;
                None
            }
            (None, None) => None,
        };
        Ok(Self { packet, cut })
    }

    /// How many packets the frame stands for: at least 1, and as many as it has bytes at most.
    pub fn count(&self) -> usize {
        self.cut.map_or(1, |it| it.count)
    }

    /// The length in bytes of packet `index`, which is less than [`count`](Self::count).
    pub fn length(&self, index: usize) -> usize {
        self.cut.map_or(self.packet.len(), |cut| {
            let whole = cut.headers_length + cut.size;
            whole.min(self.packet.len() - index * cut.size)
        })
    }

    /// Writes packet `index` to the start of `out` and returns its length.
    ///
    /// # Panics
    ///
    /// If there is no such packet or `out` is shorter than [`length`](Self::length) says.
    pub fn write(&self, index: usize, out: &mut [u8]) -> usize {
        assert!(index < self.count(), "packet {index} of {}", self.count());
        let length = self.length(index);
        let out = &mut out[..length];
        let Some(cut) = &self.cut else {
            out.copy_from_slice(self.packet);
            return length;
        };

        let (headers, payload) = out.split_at_mut(cut.headers_length);
        headers.copy_from_slice(&self.packet[..cut.headers_length]);
        let start = cut.headers_length + index * cut.size;
        let source = &self.packet[start..start + payload.len()];
        cut.write_network(index, headers, length);
        match cut.transport {
            Transport::Tcp {
                sequence,
                flags,
                sum,
            } => {
                let sum = sum.plus(checksum::copy(source, payload));
                let flags = cut.flags(index, flags);
                cut.write_tcp(
                    headers,
                    cut.nth_sequence(index, sequence),
                    flags,
                    sum,
                    length,
                );
            }
            Transport::Udp { sum: Some(sum) } => {
                let sum = sum.plus(checksum::copy(source, payload));
                cut.write_udp(headers, Some(sum), length);
            }
            Transport::Udp { sum: None } => {
                payload.copy_from_slice(source);
                cut.write_udp(headers, None, length);
            }
        }
        length
    }
}

/// The payload is the user's and does not belong into logs.
impl std::fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments")
            .field("length", &self.packet.len())
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

impl Cut {
    fn new(
        gso: Gso,
        pending: Option<PendingChecksum>,
        packet: &mut [u8],
    ) -> Result<Self, Malformed> {
        let layout = Layout::of(packet)?;
        let (protocol, checksum_offset) = match (gso.kind, layout.version) {
            (GsoKind::TcpV4, Version::V4) | (GsoKind::TcpV6, Version::V6) => {
                (ip::TCP, ip::TCP_CHECKSUM)
            }
            (GsoKind::Udp, Version::V4 | Version::V6) => (ip::UDP, ip::UDP_CHECKSUM),
            (GsoKind::TcpV4, Version::V6) | (GsoKind::TcpV6, Version::V4) => {
                return Err(Malformed("segmentation for the other version of IP"));
            }
        };
        if layout.protocol != protocol {
            return Err(Malformed("segmentation for another protocol"));
        }
        if pending.is_some_and(|it| {
            usize::from(it.start) != layout.transport_start
                || usize::from(it.offset) != checksum_offset
        }) {
            return Err(Malformed("checksum at another place"));
        }

        let headers_length = layout.transport_start + transport_length(layout, packet)?;
        let size = usize::from(gso.size.get());
        // The sums below are of headers without the fields that differ.
        let transport = Transport::take(layout, pending.is_some(), &mut packet[..headers_length]);
        Ok(Self {
            layout,
            headers_length,
            size,
            count: (packet.len() - headers_length).div_ceil(size).max(1),
            network: Network::take(layout, packet),
            transport,
        })
    }

    fn flags(&self, index: usize, flags: u16) -> u16 {
        let not_first = if index == 0 { 0 } else { TCP_CWR };
        let not_last = if index + 1 == self.count {
            0
        } else {
            TCP_FIN_PSH
        };
        flags & !(not_first | not_last)
    }

    fn nth_sequence(&self, index: usize, first: u32) -> u32 {
        first.wrapping_add(low_u32(index * self.size))
    }

    fn write_network(&self, index: usize, headers: &mut [u8], length: usize) {
        match self.network {
            Network::V4 {
                identification,
                sum,
            } => {
                let identification = identification.wrapping_add(low_u16(index));
                let length = field(length);
                let sum = sum
                    .plus(Sum::number(length))
                    .plus(Sum::number(identification));
                put(headers, 2, length.to_be_bytes());
                put(headers, 4, identification.to_be_bytes());
                put(headers, 10, sum.checksum());
            }
            Network::V6 => put(headers, 4, field(length - ip::V6_BYTES).to_be_bytes()),
        }
    }

    fn write_tcp(&self, headers: &mut [u8], sequence: u32, flags: u16, sum: Sum, length: usize) {
        let start = self.layout.transport_start;
        let sequence = sequence.to_be_bytes();
        put(headers, start + 4, sequence);
        put(headers, start + 12, flags.to_be_bytes());
        let sum = sum
            .plus(Sum::of(&sequence))
            .plus(Sum::number(flags))
            .plus(Sum::number(field(length - start)));
        put(headers, start + ip::TCP_CHECKSUM, sum.checksum());
    }

    fn write_udp(&self, headers: &mut [u8], sum: Option<Sum>, length: usize) {
        let start = self.layout.transport_start;
        let length = field(length - start);
        put(headers, start + 4, length.to_be_bytes());
        let Some(sum) = sum else {
            return;
        };
        // Once in the pseudo-header and once in UDP's own.
        let sum = sum.plus(Sum::number(length)).plus(Sum::number(length));
        put(headers, start + ip::UDP_CHECKSUM, sum.checksum_not_zero());
    }
}

impl Network {
    fn take(layout: Layout, packet: &mut [u8]) -> Self {
        match layout.version {
            Version::V4 => {
                let header = &mut packet[..layout.transport_start];
                let identification = get_u16(header, 4);
                put(header, 2, [0; 4]);
                put(header, 10, [0; 2]);
                Self::V4 {
                    identification,
                    sum: Sum::of(header),
                }
            }
            Version::V6 => Self::V6,
        }
    }
}

impl Transport {
    fn take(layout: Layout, pending: bool, headers: &mut [u8]) -> Self {
        let pseudo_header = layout.pseudo_header(headers);
        let header = &mut headers[layout.transport_start..];
        if layout.protocol == ip::TCP {
            let sequence = get_u32(header, 4);
            let flags = get_u16(header, 12);
            put(header, 4, [0; 4]);
            put(header, 12, [0; 2]);
            put(header, ip::TCP_CHECKSUM, [0; 2]);
            return Self::Tcp {
                sequence,
                flags,
                sum: pseudo_header.plus(Sum::of(header)),
            };
        }

        let wanted = pending || get_u16(header, ip::UDP_CHECKSUM) != 0;
        put(header, 4, [0; 4]);
        Self::Udp {
            sum: wanted.then(|| pseudo_header.plus(Sum::of(header))),
        }
    }
}

/// The length of the header of TCP or UDP, all of which is there.
fn transport_length(layout: Layout, packet: &[u8]) -> Result<usize, Malformed> {
    let transport = &packet[layout.transport_start..];
    let length = match transport.get(12) {
        _ if layout.protocol == ip::UDP => ip::UDP_BYTES,
        Some(offset) => usize::from(offset >> 4) * 4,
        None => return Err(Malformed("TCP header cut off")),
    };
    if transport.len() < length {
        return Err(Malformed("transport header cut off"));
    }
    if layout.protocol == ip::TCP && length < ip::TCP_BYTES {
        return Err(Malformed("length of the TCP header"));
    }
    Ok(length)
}

/// Completes a checksum that holds the sum of the pseudo-header, whatever the protocol.
fn complete(pending: PendingChecksum, packet: &mut [u8]) -> Result<(), Malformed> {
    let covered = packet.get_mut(pending.start.into()..);
    let covered = covered.ok_or(Malformed("checksum of bytes behind the packet"))?;
    let place = usize::from(pending.offset);
    if covered.len() < place + 2 {
        return Err(Malformed("checksum behind the packet"));
    }
    // UDP has no checksum of 0, and the others do not mind.
    let checksum = Sum::of(covered).checksum_not_zero();
    put(covered, place, checksum);
    Ok(())
}
