//! Decides what an opened packet is to those that came before it: which flow it belongs to, and
//! whether it may be joined with its neighbours there.

use super::Offloads;
use super::checksum::Sum;
use super::ip::{self, Layout, Version, get_u16, get_u32, low_u16, low_u32};

/// What a packet is to the flows of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Of a flow and of a kind that can be joined.
    Data(Data),
    /// Of this flow, but to be left alone.
    Alone(Flow),
    /// Of nobody's flow: neither TCP nor UDP, or of a kind that is not joined at all.
    Unrelated,
    /// It may belong to any flow: a fragment, or headers that are not looked behind.
    Unclear,
}

/// A TCP segment or UDP datagram with payload and without peculiarities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) flow: Flow,
    pub(super) layout: Layout,
    pub(super) headers_length: usize,
    pub(super) payload_length: usize,
    /// What must be the same in all packets of a frame.
    likeness: Likeness,
    /// TCP's first byte of payload; 0 with UDP.
    sequence: u32,
    /// IPv4's identification where it means something: packets that must not be fragmented may have
    /// any (RFC 6864, section 4.1).
    identification: Option<u16>,
    /// The sender wants this and all before to be delivered without delay.
    pub(super) push: bool,
}

/// Where packets come from and go to; those of one flow must stay in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    source: u128,
    destination: u128,
    ports: u32,
    protocol: u8,
    version: Version,
}

/// Fields that segmentation copies from the first packet to all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Likeness {
    /// Traffic class, hop limit, and IPv4's flags or IPv6's flow label.
    network: u64,
    acknowledged: u32,
    /// The header's length, flags but PSH, and the window.
    flags_and_window: u32,
    /// The value and the echo; 0 without timestamps.
    timestamps: u64,
}

const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;
const DONT_FRAGMENT: u8 = 0x40;

/// The options that every sender of timestamps writes: two of padding, then 10 bytes of timestamp
/// (RFC 7323, appendix A).
const TIMESTAMP_OPTION: [u8; 4] = [1, 1, 8, 10];

impl Seen {
    /// Reads the headers of `packet`; of its payload, only the length.
    pub(super) fn of(packet: &[u8], offloads: Offloads) -> Self {
        let Ok(layout) = Layout::of(packet) else {
            return Self::Unclear;
        };
        let plain = match layout.version {
            Version::V4 => layout.transport_start == ip::V4_BYTES,
            Version::V6 => layout.transport_start == ip::V6_BYTES,
        };
        if !plain {
            return Self::Unclear;
        }
        let transport = &packet[layout.transport_start..];
        match layout.protocol {
            ip::TCP if !offloads.tcp => Self::Unrelated,
            ip::UDP if !offloads.udp => Self::Unrelated,
            ip::TCP => tcp(layout, packet, transport),
            ip::UDP => udp(layout, packet, transport),
            IPV6_FRAGMENT | IPV6_AUTHENTICATION if layout.version == Version::V6 => Self::Unclear,
            _ => Self::Unrelated,
        }
    }
}

/// Headers of IPv6 behind which a transport may follow, and that nothing here looks behind.
const IPV6_FRAGMENT: u8 = 44;
const IPV6_AUTHENTICATION: u8 = 51;

impl Data {
    /// Whether this follows the `count` packets of `payload_length` bytes in all that start with
    /// `first`, so that cutting the frame would bring it back.
    pub(super) fn follows(&self, first: &Self, count: usize, payload_length: usize) -> bool {
        let sequence = first.sequence.wrapping_add(low_u32(payload_length));
        let identification = first
            .identification
            .map(|it| it.wrapping_add(low_u16(count)));
        self.likeness == first.likeness
            && self.payload_length <= first.payload_length
            && (self.layout.protocol == ip::UDP || self.sequence == sequence)
            && self.identification == identification
    }

    /// Whether `packet`, which this was read from, carries the checksums that it should.
    pub(super) fn is_genuine(&self, packet: &[u8]) -> bool {
        let transport = &packet[self.layout.transport_start..];
        let sum = self.layout.pseudo_header(packet);
        let sum = sum.plus(Sum::number(ip::field(transport.len())));
        sum.plus(Sum::of(transport)).is_right()
            && (self.layout.version == Version::V6 || Sum::of(&packet[..ip::V4_BYTES]).is_right())
    }

    /// Marks the header of a TCP segment as the end of what the sender wrote.
    pub(super) fn set_push(&self, packet: &mut [u8]) {
        packet[self.layout.transport_start + 13] |= TCP_PSH;
    }
}

fn tcp(layout: Layout, packet: &[u8], transport: &[u8]) -> Seen {
    let Some(header) = transport.first_chunk::<{ ip::TCP_BYTES }>() else {
        return Seen::Unclear;
    };
    let flow = Flow::of(layout, packet, transport);
    let length = usize::from(header[12] >> 4) * 4;
    let timestamps = match length {
        ip::TCP_BYTES => Some(0),
        _ => timestamps(length, transport),
    };
    let reserved = header[12] & 0xf;
    let flags = header[13];
    let urgent = get_u16(header, 18);
    let usual = reserved == 0 && flags & !TCP_PSH == TCP_ACK && urgent == 0;
    let (Some(timestamps), true) = (timestamps, usual) else {
        return Seen::Alone(flow);
    };
    Data {
        flow,
        layout,
        headers_length: layout.transport_start + length,
        payload_length: transport.len() - length,
        likeness: Likeness {
            network: likeness(layout, packet),
            acknowledged: get_u32(header, 8),
            flags_and_window: get_u32(header, 12) & !(u32::from(TCP_PSH) << 16),
            timestamps,
        },
        sequence: get_u32(header, 4),
        identification: identification(layout, packet),
        push: flags & TCP_PSH != 0,
    }
    .or_alone()
}

fn udp(layout: Layout, packet: &[u8], transport: &[u8]) -> Seen {
    let Some(header) = transport.first_chunk::<{ ip::UDP_BYTES }>() else {
        return Seen::Unclear;
    };
    let flow = Flow::of(layout, packet, transport);
    // Tunnels inside send without a checksum, and would get one from the frame.
    let unchecked = get_u16(header, ip::UDP_CHECKSUM) == 0;
    if unchecked || usize::from(get_u16(header, 4)) != transport.len() {
        return Seen::Alone(flow);
    }
    Data {
        flow,
        layout,
        headers_length: layout.transport_start + ip::UDP_BYTES,
        payload_length: transport.len() - ip::UDP_BYTES,
        likeness: Likeness {
            network: likeness(layout, packet),
            acknowledged: 0,
            flags_and_window: 0,
            timestamps: 0,
        },
        sequence: 0,
        identification: identification(layout, packet),
        push: false,
    }
    .or_alone()
}

impl Data {
    /// A frame has no room to say that one of its packets is empty.
    fn or_alone(self) -> Seen {
        if self.payload_length == 0 {
            Seen::Alone(self.flow)
        } else {
            Seen::Data(self)
        }
    }
}

impl Flow {
    fn of(layout: Layout, packet: &[u8], transport: &[u8]) -> Self {
        let (source, destination) = match layout.version {
            Version::V4 => (get_u32(packet, 12).into(), get_u32(packet, 16).into()),
            Version::V6 => (get_u128(packet, 8), get_u128(packet, 24)),
        };
        Self {
            source,
            destination,
            ports: get_u32(transport, 0),
            protocol: layout.protocol,
            version: layout.version,
        }
    }
}

fn likeness(layout: Layout, packet: &[u8]) -> u64 {
    let (first, hops) = match layout.version {
        Version::V4 => (u32::from(packet[1]) << 8 | u32::from(packet[6]), packet[8]),
        Version::V6 => (get_u32(packet, 0), packet[7]),
    };
    u64::from(first) << 8 | u64::from(hops)
}

fn identification(layout: Layout, packet: &[u8]) -> Option<u16> {
    match layout.version {
        Version::V4 if packet[6] & DONT_FRAGMENT == 0 => Some(get_u16(packet, 4)),
        Version::V4 | Version::V6 => None,
    }
}

/// The timestamps of a TCP header of `length` bytes, if they are all of its options.
fn timestamps(length: usize, transport: &[u8]) -> Option<u64> {
    let options = transport.get(ip::TCP_BYTES..length)?;
    let timestamps = options.strip_prefix(&TIMESTAMP_OPTION)?;
    Some(u64::from_be_bytes(timestamps.try_into().ok()?))
}

fn get_u128(bytes: &[u8], at: usize) -> u128 {
    let high = u128::from(get_u32(bytes, at)) << 32 | u128::from(get_u32(bytes, at + 4));
    let low = u128::from(get_u32(bytes, at + 8)) << 32 | u128::from(get_u32(bytes, at + 12));
    high << 64 | low
}
