//! Decides what a probe looks like on the wire.
//!
//! ```text
//!  0        4         5      6      8       16     24         32          40      41
//!  ├─ CWPR ─┼ version ┼ kind ┼ size ┼─ from ─┼─ to ─┼ sequence ┼ sent (µs) ┼ ready ┼ zeros up to size
//! ```
//!
//! Numbers are big endian. An answer is the request with another kind, and as large as it. Whether its
//! sender is ready is 1 or 0, which is what is there where an earlier version sends nothing or zeros.

use topology::id::{ClusterName, NodeName};

/// The smallest datagram that is sent.
pub const SIZE_MIN: usize = 48;

/// What every datagram has.
const HEADER_BYTES: usize = 40;

const MAGIC: [u8; 4] = *b"CWPR";
const VERSION: u8 = 1;

/// A request or an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message {
    pub kind: Kind,
    /// Who asks.
    pub from: Tag,
    /// Who shall answer: nobody else does, wherever a wrong route may lead.
    pub to: Tag,
    pub sequence: u64,
    /// By the clock of who asks, in microseconds since its start.
    pub sent_microseconds: u64,
    /// Whether its sender, be it who asks or who answers, takes in through the tunnel what the other
    /// node sends from its own addresses, and would send the same way.
    pub is_ready: bool,
    /// Of the whole datagram, in bytes.
    pub size: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Answer,
    Request,
}

/// Stands for a node of a cluster: the same number wherever it is computed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub u64);

impl Tag {
    /// The FNV-1a hash of both names.
    pub fn new(cluster: &ClusterName, node: &NodeName) -> Self {
        let names = [cluster.as_str(), "/", node.as_str()];
        let bytes = names.iter().flat_map(|it| it.bytes());
        Self(bytes.fold(FNV_OFFSET, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
        }))
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Message {
    /// Reads a datagram; `None` for anything that is no probe of this version.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, rest_of_datagram) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let (magic, rest) = header.split_first_chunk::<4>()?;
        let ([version, kind], rest) = rest.split_first_chunk::<2>()?;
        let (size, rest) = rest.split_first_chunk::<2>()?;
        let size = u16::from_be_bytes(*size);
        if *magic != MAGIC || *version != VERSION || usize::from(size) != datagram.len() {
            return None;
        }
        let mut numbers = rest.chunks_exact(8).map(number);
        Some(Self {
            kind: match kind {
                1 => Kind::Request,
                2 => Kind::Answer,
                _ => return None,
            },
            from: Tag(numbers.next()?),
            to: Tag(numbers.next()?),
            sequence: numbers.next()?,
            sent_microseconds: numbers.next()?,
            is_ready: rest_of_datagram.first() == Some(&1),
            size,
        })
    }

    /// Writes the datagram over what is in `buffer`.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend(MAGIC);
        buffer.push(VERSION);
        buffer.push(match self.kind {
            Kind::Request => 1,
            Kind::Answer => 2,
        });
        buffer.extend(self.size.to_be_bytes());
        for number in [
            self.from.0,
            self.to.0,
            self.sequence,
            self.sent_microseconds,
        ] {
            buffer.extend(number.to_be_bytes());
        }
        buffer.push(u8::from(self.is_ready));
        buffer.resize(usize::from(self.size).max(SIZE_MIN), 0);
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_the_same_on_every_version_of_the_wire() {
        let mut bytes = Vec::new();

        message(Kind::Request, 48).write(&mut bytes);

        let golden = "435750520101003000000000000000010000000000000002\
                      000000000000000300000000000000040000000000000000";
        let text: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
        assert_eq!(text, golden);
    }

    /// As they were when nobody could be ready.
    #[test]
    fn takes_shorter_probes() {
        let mut bytes = Vec::new();
        message(Kind::Request, 48).write(&mut bytes);
        bytes.truncate(40);
        bytes[7] = 40;

        assert_eq!(Message::parse(&bytes), Some(message(Kind::Request, 40)));
        assert_eq!(Message::parse(&bytes[..39]), None);
    }

    #[test]
    fn tells_nodes_and_clusters_apart() {
        let tag =
            |cluster: &str, node: &str| Tag::new(&cluster.parse().unwrap(), &node.parse().unwrap());

        assert_eq!(tag("eu", "node-1"), Tag(0x3f76_c943_c572_3766));
        assert_ne!(tag("eu", "node-1"), tag("us", "node-1"));
        assert_ne!(tag("eu", "node-1"), tag("eu", "node-2"));
    }

    #[test]
    fn refuses_what_is_no_probe() {
        let mut good = Vec::new();
        message(Kind::Answer, 48).write(&mut good);
        assert!(Message::parse(&good).is_some());

        for (index, byte) in [(0, b'X'), (4, 2), (5, 0), (5, 3), (7, 49)] {
            let mut bad = good.clone();
            bad[index] = byte;
            assert_eq!(Message::parse(&bad), None, "byte {index}");
        }
        assert_eq!(Message::parse(&good[..47]), None);
        assert_eq!(Message::parse(&[]), None);
    }

    proptest! {
        #[test]
        fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _nothing_panics = Message::parse(&bytes);
        }

        #[test]
        fn takes_probes_with_any_byte_changed(size in 48u16..200, index in 0usize..200, byte: u8) {
            let mut bytes = Vec::new();
            message(Kind::Request, size).write(&mut bytes);
            let index = index % bytes.len();
            bytes[index] = byte;

            let parsed = Message::parse(&bytes);

            prop_assert!(parsed.is_none_or(|it| usize::from(it.size) == bytes.len()));
        }

        #[test]
        fn reads_what_it_wrote(
            from: u64, to: u64, sequence: u64, sent_microseconds: u64, is_ready: bool,
            size in 48u16..=u16::MAX,
        ) {
            let message = Message {
                from: Tag(from), to: Tag(to), sequence, sent_microseconds, is_ready,
                ..message(Kind::Answer, size)
            };
            let mut bytes = vec![7; 3];

            message.write(&mut bytes);

            prop_assert_eq!(bytes.len(), usize::from(size));
            prop_assert_eq!(Message::parse(&bytes), Some(message));
        }
    }

    fn message(kind: Kind, size: u16) -> Message {
        Message {
            kind,
            from: Tag(1),
            to: Tag(2),
            sequence: 3,
            sent_microseconds: 4,
            is_ready: false,
            size,
        }
    }
}
