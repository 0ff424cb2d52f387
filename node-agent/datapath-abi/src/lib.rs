//! Keys and values that the eBPF programs and the node agent share, and in which byte order.
//!
//! The mirror is `datapath/abi.h`. Both sides assert the same sizes and offsets, so that neither
//! can drift alone. Addresses and ports are in network byte order, held as bytes; ids, cookies,
//! prefix lengths and counters are in the order of the machine. Nobody else decides about bytes.

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Rises with every change of a layout: maps of different versions never meet.
pub const ABI_VERSION: u32 = 1;

/// Slots of a Maglev table; prime.
pub const MAGLEV_TABLE_SIZE: usize = 16_381;

pub const SERVICES_MAX: u32 = 65_536;
pub const BACKENDS_MAX: u32 = 131_072;
pub const REVERSES_MAX: u32 = 131_072;
pub const PEERED_PREFIXES_MAX: u32 = 16_384;

/// Verdicts are counted at `direction * REASONS_MAX + reason`.
pub const REASONS_MAX: u32 = 256;
pub const COUNTERS_MAX: u32 = 2 * REASONS_MAX;

/// Protocol numbers as in an IP header.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// Which way a packet crossed the interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Direction {
    Ingress = 0,
    Egress = 1,
}

/// What became of a packet or a connection, numbered as Cilium numbers its reasons.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Reason {
    Forwarded = 0,
    NoBackend = 158,
    Unencrypted = 195,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::Forwarded, Self::NoBackend, Self::Unencrypted];

    /// The words that Cilium's users know for this number.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Forwarded => "Forwarded",
            Self::NoBackend => "Service backend not found",
            Self::Unencrypted => "Traffic is unencrypted",
        }
    }
}

/// Where a verdict is counted in the `counters` map.
pub const fn counter_index(direction: Direction, reason: Reason) -> u32 {
    direction as u32 * REASONS_MAX + reason as u32
}

/// A virtual address: what clients connect to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct ServiceKey {
    address: [u8; 4],
    port: [u8; 2],
    protocol: u8,
    padding: u8,
}

impl ServiceKey {
    pub const fn new(address: SocketAddrV4, protocol: u8) -> Self {
        Self {
            address: address.ip().octets(),
            port: address.port().to_be_bytes(),
            protocol,
            padding: 0,
        }
    }

    pub fn address(self) -> SocketAddrV4 {
        socket_address(self.address, self.port)
    }

    pub const fn protocol(self) -> u8 {
        self.protocol
    }

    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.address);
        bytes[4..6].copy_from_slice(&self.port);
        bytes[6] = self.protocol;
        bytes
    }

    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, protocol, padding] = bytes;
        Self {
            address: [a, b, c, d],
            port: [e, f],
            protocol,
            padding,
        }
    }
}

/// Names a backend in Maglev tables; 0 is none.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct BackendId(pub u32);

impl BackendId {
    /// What every slot of a service without backends holds.
    pub const NONE: Self = Self(0);
}

/// A real address: where connections go, and in which cluster that is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct Backend {
    address: [u8; 4],
    port: [u8; 2],
    protocol: u8,
    padding: u8,
    cluster: [u8; 4],
}

impl Backend {
    pub const fn new(address: SocketAddrV4, protocol: u8, cluster: u32) -> Self {
        Self {
            address: address.ip().octets(),
            port: address.port().to_be_bytes(),
            protocol,
            padding: 0,
            cluster: cluster.to_ne_bytes(),
        }
    }

    pub fn address(self) -> SocketAddrV4 {
        socket_address(self.address, self.port)
    }

    pub const fn protocol(self) -> u8 {
        self.protocol
    }

    pub const fn cluster(self) -> u32 {
        u32::from_ne_bytes(self.cluster)
    }

    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.address);
        bytes[4..6].copy_from_slice(&self.port);
        bytes[6] = self.protocol;
        bytes[8..].copy_from_slice(&self.cluster);
        bytes
    }

    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, protocol, padding, cluster @ ..] = bytes;
        Self {
            address: [a, b, c, d],
            port: [e, f],
            protocol,
            padding,
            cluster,
        }
    }
}

/// The bytes of a Maglev table's only element, one id after the other.
pub type MaglevBytes = [u8; MAGLEV_TABLE_SIZE * size_of::<u32>()];

/// Writes `slots` as the programs read them; missing slots have no backend.
pub fn maglev_to_bytes(slots: &[BackendId]) -> Box<MaglevBytes> {
    let mut bytes = Box::new([0; MAGLEV_TABLE_SIZE * size_of::<u32>()]);
    for (target, slot) in bytes.chunks_exact_mut(size_of::<u32>()).zip(slots) {
        target.copy_from_slice(&slot.0.to_ne_bytes());
    }
    bytes
}

pub fn maglev_from_bytes(bytes: &MaglevBytes) -> Vec<BackendId> {
    let words = bytes.as_chunks().0.iter();
    words.map(|it| BackendId(u32::from_ne_bytes(*it))).collect()
}

/// Which socket talks to which backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct ReverseKey {
    cookie: [u8; 8],
    address: [u8; 4],
    port: [u8; 2],
    protocol: u8,
    padding: u8,
}

/// The virtual address that the socket asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct ReverseValue {
    address: [u8; 4],
    port: [u8; 2],
    padding: [u8; 2],
}

/// A prefix of a peered cluster, as a longest-prefix-match map wants it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct PrefixKey {
    length: [u8; 4],
    address: [u8; 4],
}

impl PrefixKey {
    /// `length` in bits, at most 32.
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        Self {
            length: u32::from(length).to_ne_bytes(),
            address: address.octets(),
        }
    }

    pub fn address(self) -> Ipv4Addr {
        self.address.into()
    }

    pub const fn length_bits(self) -> u32 {
        u32::from_ne_bytes(self.length)
    }

    /// The part after the length, as its bytes lie in memory.
    pub const fn data(self) -> [u8; 4] {
        self.address
    }
}

/// The same for IPv6.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct PrefixKeyV6 {
    length: [u8; 4],
    address: [u8; 16],
}

/// The cluster that a prefix belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct PrefixValue {
    cluster: [u8; 4],
}

impl PrefixValue {
    pub const fn new(cluster: u32) -> Self {
        Self {
            cluster: cluster.to_ne_bytes(),
        }
    }

    pub const fn cluster(self) -> u32 {
        u32::from_ne_bytes(self.cluster)
    }

    pub const fn to_bytes(self) -> [u8; 4] {
        self.cluster
    }

    pub const fn from_bytes(cluster: [u8; 4]) -> Self {
        Self { cluster }
    }
}

/// Packets and bytes that shared a verdict, on one CPU.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

impl Counter {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let ([packets, amount], _) = bytes.as_chunks() else {
            return Self::default();
        };
        Self {
            packets: u64::from_ne_bytes(*packets),
            bytes: u64::from_ne_bytes(*amount),
        }
    }
}

fn socket_address(address: [u8; 4], port: [u8; 2]) -> SocketAddrV4 {
    SocketAddrV4::new(address.into(), u16::from_be_bytes(port))
}

const _: () = {
    assert!(size_of::<ServiceKey>() == 8);
    assert!(offset_of!(ServiceKey, address) == 0);
    assert!(offset_of!(ServiceKey, port) == 4);
    assert!(offset_of!(ServiceKey, protocol) == 6);

    assert!(size_of::<MaglevBytes>() == 65_524);

    assert!(size_of::<Backend>() == 12);
    assert!(offset_of!(Backend, address) == 0);
    assert!(offset_of!(Backend, port) == 4);
    assert!(offset_of!(Backend, protocol) == 6);
    assert!(offset_of!(Backend, cluster) == 8);

    assert!(size_of::<ReverseKey>() == 16);
    assert!(offset_of!(ReverseKey, cookie) == 0);
    assert!(offset_of!(ReverseKey, address) == 8);
    assert!(offset_of!(ReverseKey, port) == 12);
    assert!(offset_of!(ReverseKey, protocol) == 14);

    assert!(size_of::<ReverseValue>() == 8);
    assert!(offset_of!(ReverseValue, address) == 0);
    assert!(offset_of!(ReverseValue, port) == 4);

    assert!(size_of::<PrefixKeyV6>() == 20);
    assert!(offset_of!(PrefixKeyV6, length) == 0);
    assert!(offset_of!(PrefixKeyV6, address) == 4);
    assert!(size_of::<PrefixKey>() == 8);
    assert!(offset_of!(PrefixKey, length) == 0);
    assert!(offset_of!(PrefixKey, address) == 4);

    assert!(size_of::<PrefixValue>() == 4);

    assert!(size_of::<Counter>() == 16);
    assert!(offset_of!(Counter, packets) == 0);
    assert!(offset_of!(Counter, bytes) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_addresses_and_ports_in_network_byte_order() {
        let key = ServiceKey::new("10.111.0.10:80".parse().unwrap(), TCP);

        assert_eq!(key.to_bytes(), [10, 111, 0, 10, 0, 80, 6, 0]);
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let key = ServiceKey::new("10.111.0.10:80".parse().unwrap(), UDP);
        let backend = Backend::new("10.1.1.2:8080".parse().unwrap(), TCP, 3);

        assert_eq!(ServiceKey::from_bytes(key.to_bytes()), key);
        assert_eq!(Backend::from_bytes(backend.to_bytes()), backend);
        assert_eq!(backend.cluster(), 3);
        assert_eq!(backend.address().to_string(), "10.1.1.2:8080");
    }

    #[test]
    fn fills_the_slots_that_a_short_table_lacks_with_none() {
        let bytes = maglev_to_bytes(&[BackendId(7), BackendId(9)]);

        let slots = maglev_from_bytes(&bytes);

        assert_eq!(slots.len(), MAGLEV_TABLE_SIZE);
        assert_eq!(slots[..3], [BackendId(7), BackendId(9), BackendId::NONE]);
    }

    #[test]
    fn counts_each_direction_and_reason_apart() {
        let egress = counter_index(Direction::Egress, Reason::Unencrypted);

        assert_eq!(egress, 256 + 195);
        assert_ne!(
            egress,
            counter_index(Direction::Ingress, Reason::Unencrypted)
        );
        assert!(egress < COUNTERS_MAX);
    }
}
