//! Why packets and datagrams go no further.

use std::ops::AddAssign;

/// Why something from or for a peer went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropCause {
    /// The path is congested, and the packet's sender would not learn of it otherwise.
    Congested,
    /// Not an IP packet, or not a WireGuard message.
    Malformed,
    /// Not proven to be genuine: a wrong key, a session that is over, a flood of handshakes.
    NotAuthentic,
    /// More packets waited for a session than there is room for.
    Overflowed,
    /// Genuine, but here before, or too old to tell.
    Replayed,
    /// Genuine, but with a source address that belongs to other peers or to none.
    Spoofed,
    /// The network or the interface took no more, or the peer is nowhere or does not answer: a full
    /// buffer, no route, a link that is down, no endpoint, no session in time.
    Undeliverable,
}

/// How many went no further, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) malformed: u64,
    /// No peer is allowed the destination address, or answers to the index or key.
    pub(crate) no_peer: u64,
    pub(crate) not_authentic: u64,
    pub(crate) congested: u64,
    pub(crate) overflowed: u64,
    pub(crate) replayed: u64,
    pub(crate) spoofed: u64,
    pub(crate) undeliverable: u64,
}

impl DropCause {
    pub const ALL: [Self; 7] = [
        Self::Congested,
        Self::Malformed,
        Self::NotAuthentic,
        Self::Overflowed,
        Self::Replayed,
        Self::Spoofed,
        Self::Undeliverable,
    ];

    /// As it is called in text: small letters and underscores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Congested => "congested",
            Self::Malformed => "malformed",
            Self::NotAuthentic => "not_authentic",
            Self::Overflowed => "overflowed",
            Self::Replayed => "replayed",
            Self::Spoofed => "spoofed",
            Self::Undeliverable => "undeliverable",
        }
    }
}

impl Dropped {
    pub(crate) fn count(&mut self, cause: DropCause, packets: u64) {
        *match cause {
            DropCause::Congested => &mut self.congested,
            DropCause::Malformed => &mut self.malformed,
            DropCause::NotAuthentic => &mut self.not_authentic,
            DropCause::Overflowed => &mut self.overflowed,
            DropCause::Replayed => &mut self.replayed,
            DropCause::Spoofed => &mut self.spoofed,
            DropCause::Undeliverable => &mut self.undeliverable,
        } += packets;
    }
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.malformed += other.malformed;
        self.no_peer += other.no_peer;
        self.not_authentic += other.not_authentic;
        self.congested += other.congested;
        self.overflowed += other.overflowed;
        self.replayed += other.replayed;
        self.spoofed += other.spoofed;
        self.undeliverable += other.undeliverable;
    }
}
