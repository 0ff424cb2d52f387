//! Why packets and datagrams go no further.

use std::ops::AddAssign;

/// How many went no further, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Not an IP packet, or not a WireGuard message.
    pub(crate) malformed: u64,
    /// No peer is allowed the destination address, or answers to the index or key.
    pub(crate) no_peer: u64,
    /// Not proven to be genuine: a wrong key, a session that is over, a flood of handshakes.
    pub(crate) not_authentic: u64,
    /// The path is congested, and the packet's sender would not learn of it otherwise.
    pub(crate) congested: u64,
    /// Genuine, but here before, or too old to tell.
    pub(crate) replayed: u64,
    /// Genuine, but with a source address that belongs to another peer or to none.
    pub(crate) spoofed: u64,
    /// The network or the interface took no more, or the peer is nowhere: a full buffer, no route,
    /// a link that is down, no endpoint.
    pub(crate) undeliverable: u64,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.malformed += other.malformed;
        self.no_peer += other.no_peer;
        self.not_authentic += other.not_authentic;
        self.congested += other.congested;
        self.replayed += other.replayed;
        self.spoofed += other.spoofed;
        self.undeliverable += other.undeliverable;
    }
}
