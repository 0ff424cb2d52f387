//! Decides what the header in front of a frame says, and whether that makes sense.
//!
//! The format is `struct virtio_net_hdr` of Linux' `virtio_net.h`, in the machine's byte order, as
//! `IFF_VNET_HDR` gives it to TUN interfaces: one byte of flags, one of kind, then the length of the
//! headers, the segment size, where the checksum starts, and its offset from there, 16 bits each.

use std::num::NonZeroU16;

use super::Malformed;

/// What the kernel says, or is told, about the packet behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// A checksum that holds only the sum of the pseudo-header so far.
    pub checksum: Option<PendingChecksum>,
    /// Present if the frame stands for several packets.
    pub gso: Option<Gso>,
    /// The length in bytes of all headers, or more: from the kernel it is a hint.
    pub headers_length: u16,
}

/// A checksum that whoever needs it has to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingChecksum {
    /// The first byte that it covers, from the start of the packet. It covers all that follow.
    pub start: u16,
    /// Where it is written, from `start`.
    pub offset: u16,
}

/// How a frame is to be cut into packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    pub kind: GsoKind,
    /// Payload bytes of every packet but the last, which may have fewer.
    pub size: NonZeroU16,
    /// The first packet says that the congestion window was reduced. Only TCP has this.
    pub congestion_reduced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    TcpV4,
    TcpV6,
    /// Over either version of IP.
    Udp,
}

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_CONGESTION_REDUCED: u8 = 0x80;

impl VnetHeader {
    /// The length of the header in bytes, unless the interface was told to use another.
    pub const BYTES: usize = 10;

    /// The length with a count of buffers at its end, which means nothing to a TUN interface.
    pub const BYTES_MAX: usize = 12;

    /// Reads a header of [`BYTES`](Self::BYTES) or [`BYTES_MAX`](Self::BYTES_MAX).
    ///
    /// # Errors
    ///
    /// Refuses other lengths, flags and kinds that no TUN interface was asked for, and a segment
    /// size of 0.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if ![Self::BYTES, Self::BYTES_MAX].contains(&bytes.len()) {
            return Err(Malformed("a header of another length"));
        }
        let number = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let flags = bytes[0];
        if flags & !(NEEDS_CHECKSUM | CHECKSUM_VALID) != 0 {
            return Err(Malformed("unknown flags"));
        }

        let checksum = (flags & NEEDS_CHECKSUM != 0).then(|| PendingChecksum {
            start: number(6),
            offset: number(8),
        });
        Ok(Self {
            checksum,
            gso: parse_gso(bytes[1], number(4))?,
            headers_length: number(2),
        })
    }

    /// The header as the kernel reads it; its first [`BYTES`](Self::BYTES) are the shorter form.
    pub fn encode(&self) -> [u8; Self::BYTES_MAX] {
        let flags = self.checksum.map_or(0, |_| NEEDS_CHECKSUM);
        let (kind, size) = self
            .gso
            .map_or((GSO_NONE, 0), |it| (it.code(), it.size.get()));
        let (start, offset) = self.checksum.map_or((0, 0), |it| (it.start, it.offset));

        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = flags;
        bytes[1] = kind;
        for (at, number) in [(2, self.headers_length), (4, size), (6, start), (8, offset)] {
            bytes[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }
}

impl Gso {
    fn code(self) -> u8 {
        let kind = match self.kind {
            GsoKind::TcpV4 => GSO_TCP_V4,
            GsoKind::TcpV6 => GSO_TCP_V6,
            GsoKind::Udp => GSO_UDP,
        };
        if self.congestion_reduced {
            kind | GSO_CONGESTION_REDUCED
        } else {
            kind
        }
    }
}

fn parse_gso(code: u8, size: u16) -> Result<Option<Gso>, Malformed> {
    let congestion_reduced = code & GSO_CONGESTION_REDUCED != 0;
    let kind = match code & !GSO_CONGESTION_REDUCED {
        GSO_NONE if !congestion_reduced => return Ok(None),
        GSO_TCP_V4 => GsoKind::TcpV4,
        GSO_TCP_V6 => GsoKind::TcpV6,
        GSO_UDP if !congestion_reduced => GsoKind::Udp,
        _ => return Err(Malformed("unknown kind of segmentation")),
    };
    let size = NonZeroU16::new(size).ok_or(Malformed("segments of no size"))?;
    Ok(Some(Gso {
        kind,
        size,
        congestion_reduced,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let mut bytes = [0; 12];
        bytes[..2].copy_from_slice(&[1, 0x81]);
        for (at, number) in [(2, 52_u16), (4, 1368), (6, 20), (8, 16)] {
            bytes[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        }

        let expected = VnetHeader {
            checksum: Some(PendingChecksum {
                start: 20,
                offset: 16,
            }),
            gso: Some(Gso {
                kind: GsoKind::TcpV4,
                size: NonZeroU16::new(1368).unwrap(),
                congestion_reduced: true,
            }),
            headers_length: 52,
        };
        assert_eq!(VnetHeader::parse(&bytes), Ok(expected));
        assert_eq!(VnetHeader::parse(&bytes[..10]), Ok(expected));
        assert_eq!(expected.encode(), bytes);
    }

    #[test]
    fn a_header_of_zeros_asks_for_nothing() {
        assert_eq!(VnetHeader::parse(&[0; 10]), Ok(VnetHeader::default()));
        assert_eq!(VnetHeader::default().encode(), [0; 12]);
    }

    #[test]
    fn refuses_what_was_never_agreed() {
        let with = |at: usize, value: u8| {
            let mut bytes = [0, 1, 0, 0, 9, 9, 0, 0, 0, 0];
            bytes[at] = value;
            VnetHeader::parse(&bytes)
        };
        assert!(with(0, 2).is_ok());
        for (at, value) in [
            (0, 4),
            (0, 8),
            (1, 2),
            (1, 3),
            (1, 0x80),
            (1, 0x85),
            (1, 0x20),
        ] {
            assert!(with(at, value).is_err(), "{value} at {at}");
        }
        assert_eq!(
            VnetHeader::parse(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(Malformed("segments of no size")),
        );
        for length in [0, 9, 11, 13] {
            assert!(
                VnetHeader::parse(&vec![0; length]).is_err(),
                "{length} bytes"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_understood_is_written_back_alike(bytes in any::<[u8; 12]>(), kind in 0..6_u8) {
            for code in [bytes[1], kind] {
                let mut bytes = bytes;
                bytes[1] = code;
                if let Ok(header) = VnetHeader::parse(&bytes) {
                    prop_assert_eq!(VnetHeader::parse(&header.encode()), Ok(header));
                }
            }
        }
    }
}
