//! WireGuard's configuration protocol: what may be asked of a device, and what it answers.
//!
//! The text is that of the cross-platform userspace interface
//! (<https://www.wireguard.com/xplatform/>): `key=value` lines, keys in hexadecimal, and an empty
//! line at the end. `wg(8)` speaks it over `/var/run/wireguard/INTERFACE.sock`.
//!
//! Some keys are ours, and `wg(8)` passes over them. With a peer's `successor_of` an end changes its
//! key and loses no packet; its `alternate_preshared_key` lets two ends change the secret between them,
//! one after the other: zeros clear it, and `none` stands for a response without a secret. With
//! `shared_allowed_ip` a prefix is sent to several peers, and with `accepted_ip` it is accepted from a
//! peer that it is not sent to. A description says `preshared_key_in_use=true` of a peer whose session
//! was made with the present secret, and counts, for each peer, what was dropped and why: `dropped_` and
//! the cause, where it is more than 0.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::{PresharedKey, PrivateKey, PublicKey};

mod client;
pub(crate) mod reply;
pub(crate) mod request;

pub use crate::dropped::DropCause;
pub use client::{Backend, ClientError, Interface, KernelError, UnknownBackend};
pub use reply::ReplyError;
pub use request::{Problem, Request, RequestError, Zone};

pub(crate) use reply::render as render_state;

/// Where `wg(8)` looks for the sockets of userspace devices.
pub const SOCKET_DIRECTORY: &str = "/var/run/wireguard";

/// The only version of the protocol there is.
const PROTOCOL_VERSION: u8 = 1;

/// Changes to a device, applied together: all of them or none.
///
/// What is absent stays as it is. Peers are changed in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub private_key: Option<Setting<PrivateKey>>,
    /// The UDP port for both address families; 0 lets the system choose one.
    pub listen_port: Option<u16>,
    /// The mark of outgoing datagrams, for policy routing; 0 removes it.
    pub fwmark: Option<u32>,
    /// Forget every peer first. This ends all sessions.
    pub replace_peers: bool,
    pub peers: Vec<PeerUpdate>,
}

/// Changes to one peer, which is created if the device does not know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUpdate {
    pub public_key: PublicKey,
    pub remove: bool,
    /// Do nothing if the device does not know the peer.
    pub update_only: bool,
    pub preshared_key: Option<Setting<PresharedKey>>,
    /// See [`PeerState::alternate_preshared_key`].
    pub alternate_preshared_key: Option<Setting<PresharedKey>>,
    pub endpoint: Option<SocketAddr>,
    /// Seconds between unconditional keepalives; 0 turns them off.
    pub persistent_keepalive_seconds: Option<u16>,
    /// Makes the peer share the allowed IPs of another peer of the device, which it will succeed:
    /// the same end under its next key. See [`PeerState::successor_of`].
    pub successor_of: Option<Setting<PublicKey>>,
    /// Forget the peer's allowed IPs before the changes below.
    pub replace_allowed_ips: bool,
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// A value that can be taken away again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting<T> {
    Clear,
    To(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// Routes a prefix to the peer, taking it from all others that had it.
    Add(IpNet),
    /// Adds the peer to those that a prefix is sent to and accepted from. Each flow goes to one of
    /// them, and stays there as long as that one has a session.
    Share(IpNet),
    /// Accepts a prefix from the peer, and sends it nothing (any more); nobody else loses it.
    Accept(IpNet),
    /// Takes a prefix from the peer if the peer has exactly this one, sent or accepted.
    Remove(IpNet),
}

/// A device as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    pub private_key: Option<PrivateKey>,
    /// 0 until the device listens.
    pub listen_port: u16,
    /// 0 means no mark.
    pub fwmark: u32,
    pub peers: BTreeMap<PublicKey, PeerState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerState {
    pub preshared_key: Option<PresharedKey>,
    /// What the peer may answer us with in place of the preshared key, as while two ends change it one
    /// after the other; [`PresharedKey::none`] where it may answer without one. What the peer begins is
    /// answered with the preshared key.
    pub alternate_preshared_key: Option<PresharedKey>,
    /// Whether the session that there is was made with the preshared key.
    pub preshared_key_in_use: bool,
    pub endpoint: Option<SocketAddr>,
    /// Seconds between unconditional keepalives; 0 means none.
    pub persistent_keepalive_seconds: u16,
    /// The peer whose allowed IPs this one shares: packets of either are taken for them, and what is
    /// sent there goes to the one of the two that has the younger session. They are the other's until
    /// it is removed, and this peer's from then on.
    pub successor_of: Option<PublicKey>,
    /// Sent to the peer, maybe as one of several, and accepted from it.
    pub allowed_ips: BTreeSet<IpNet>,
    /// Accepted from the peer, and not sent to it.
    pub accepted_ips: BTreeSet<IpNet>,
    pub last_handshake: Option<UnixTime>,
    /// Bytes of authenticated datagrams, WireGuard's own headers included.
    pub received_bytes: u64,
    /// Bytes of datagrams, WireGuard's own headers included.
    pub sent_bytes: u64,
    /// Packets and handshake messages that went no further since the device knows the peer; causes of
    /// nothing are absent. What waits for a session counts as one, be it for many packets.
    pub dropped: BTreeMap<DropCause, u64>,
}

/// A wall-clock time, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime {
    pub seconds: u64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// How a device answers a request: the negated `errno` values that the kernel's device uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    Invalid,
    OutOfMemory,
    Protocol,
    ProtocolVersion,
    /// What the system answered when it was asked for a port or a mark, as a positive number.
    System(i32),
}

impl DeviceState {
    pub fn public_key(&self) -> Option<PublicKey> {
        self.private_key.as_ref().map(PrivateKey::public_key)
    }
}

impl PeerUpdate {
    /// An update of `public_key` that changes nothing yet, except that the peer exists after it.
    pub fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            alternate_preshared_key: None,
            endpoint: None,
            persistent_keepalive_seconds: None,
            successor_of: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }

    /// An update that removes `public_key`.
    pub fn removal(public_key: PublicKey) -> Self {
        Self {
            remove: true,
            ..Self::new(public_key)
        }
    }
}

impl Errno {
    /// The number behind `errno=`: negative, as Linux userspace devices answer.
    pub fn code(self) -> i32 {
        match self {
            Self::Invalid => -22,
            Self::OutOfMemory => -12,
            Self::Protocol => -71,
            Self::ProtocolVersion => -96,
            Self::System(errno) => -errno,
        }
    }
}
