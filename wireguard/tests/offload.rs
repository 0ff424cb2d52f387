//! Cutting and joining packets, held against a reference that makes one packet at a time.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

use std::num::NonZeroU16;

use wireguard::offload::{Gso, GsoKind, PendingChecksum, VnetHeader};

use sender::Kind;

#[path = "offload/cut.rs"]
mod cut;
#[path = "../fuzz/entries.rs"]
#[expect(dead_code, reason = "the targets' own entries run in another test")]
mod entries;
#[path = "offload/join.rs"]
mod join;
#[path = "offload/sender.rs"]
mod sender;

/// What the kernel says of a frame to be cut into `size` bytes of payload each.
fn header(kind: Kind, size: u16) -> VnetHeader {
    let start = if kind.is_v4() { 20 } else { 40 };
    let (gso, offset, length) = match kind {
        Kind::TcpV4 => (GsoKind::TcpV4, 16, 32),
        Kind::TcpV6 => (GsoKind::TcpV6, 16, 32),
        Kind::UdpV4 | Kind::UdpV6 => (GsoKind::Udp, 6, 8),
    };
    VnetHeader {
        checksum: Some(PendingChecksum { start, offset }),
        gso: Some(Gso {
            kind: gso,
            size: NonZeroU16::new(size).unwrap(),
            congestion_reduced: false,
        }),
        headers_length: start + length,
    }
}
