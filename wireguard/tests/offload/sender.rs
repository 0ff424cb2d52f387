//! Flows as their senders write them, and the peculiarities that packets may have.

use crate::entries::naive;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const CWR: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TcpV4,
    TcpV6,
    UdpV4,
    UdpV6,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::TcpV4, Self::TcpV6, Self::UdpV4, Self::UdpV6];

    pub(crate) fn is_v4(self) -> bool {
        matches!(self, Self::TcpV4 | Self::UdpV4)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Self::TcpV4 | Self::TcpV6)
    }
}

/// One end of one flow.
#[derive(Debug)]
pub(crate) struct Sender {
    kind: Kind,
    flow: u8,
    sequence: u32,
    identification: u16,
    timestamp: u32,
}

impl Sender {
    /// Flows of different numbers differ in a port, and two in three also in an address.
    pub(crate) fn new(kind: Kind, flow: u8) -> Self {
        Self {
            kind,
            flow,
            sequence: u32::MAX - 3_000,
            identification: 0xfff0,
            timestamp: 77,
        }
    }

    /// The next packet with a payload of `length` bytes, changed by `change` before its checksums
    /// are right. A UDP checksum of 0 is left.
    pub(crate) fn packet(&mut self, length: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut packet = Vec::new();
        let protocol = if self.kind.is_tcp() { 6 } else { 17 };
        if self.kind.is_v4() {
            packet.extend([0x45, 0, 0, 0]);
            packet.extend(self.identification.to_be_bytes());
            packet.extend([
                0x40,
                0,
                64,
                protocol,
                0,
                0,
                10,
                0,
                0,
                1,
                10,
                0,
                0,
                self.flow % 3,
            ]);
        } else {
            packet.extend([0x60, 1, 2, 3, 0, 0, protocol, 64]);
            packet.extend([0xfd; 31]);
            packet.push(self.flow % 3);
        }

        packet.extend([0x80, self.flow, 1, 187]);
        if self.kind.is_tcp() {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([9, 9, 9, 9, 0x80, ACK, 4, 4, 0, 0, 0, 0, 1, 1, 8, 10]);
            packet.extend(self.timestamp.to_be_bytes());
            packet.extend([5; 4]);
        } else {
            packet.extend([0, 0, 1, 1]);
        }
        let payload = (0..length).map(|it| it.to_le_bytes()[0] ^ self.flow);
        packet.extend(payload);

        naive::mend_length(&mut packet);
        change(&mut packet);
        naive::mend(&mut packet);
        let length = u32::try_from(length).expect("a payload is not that long");
        self.sequence = self.sequence.wrapping_add(length);
        self.identification = self.identification.wrapping_add(1);
        packet
    }

    /// The next packet, in one of four cases with a peculiarity that `odd` chooses.
    pub(crate) fn odd_packet(&mut self, length: usize, odd: u8) -> Vec<u8> {
        let transport = if self.kind.is_v4() { 20 } else { 40 };
        let tcp = self.kind.is_tcp();
        let mut packet = match odd {
            1 if tcp => self.packet(length, |it| it[transport + 13] |= PSH),
            2 if tcp => self.packet(length, |it| it[transport + 13] |= FIN),
            1 | 2 => self.packet(length, |it| it[transport + 6..transport + 8].fill(0)),
            3 => self.packet(0, |_| ()),
            4 => {
                self.timestamp += 1;
                self.sequence = self.sequence.wrapping_add(1);
                self.packet(length, |_| ())
            }
            5 => self.packet(length, |it| it[6] = 0x20),
            6 => self.packet(length, |it| it[0] += 1),
            7 => self.packet(length, |it| it[if transport == 20 { 9 } else { 6 }] = 1),
            8 => self.packet(length, |it| it[1] ^= 0x10),
            9 => self.packet(length, |it| it[6] &= !0x40),
            _ => self.packet(length, |_| ()),
        };
        if odd == 10 {
            packet[transport + 16] ^= 0x40;
        }
        packet
    }
}
