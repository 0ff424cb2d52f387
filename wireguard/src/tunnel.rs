//! One peer's tunnel: what becomes of each packet and datagram, without sending any.
//!
//! The handshake and the sessions are boringtun's. Beside them this keeps what boringtun ties to
//! its own lifetime or does not keep at all: the endpoint, the persistent keepalive, the wall-clock
//! time of the last handshake and the bytes counted as the kernel counts them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use crate::outgoing::{Outgoing, PADDING_BYTES};
use crate::uapi::{PeerState, UnixTime};
use crate::{PresharedKey, PrivateKey, PublicKey};

/// The time at which something happens, on both clocks that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) monotonic: Instant,
    pub(crate) unix: UnixTime,
}

/// A UDP datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) to: SocketAddr,
}

/// What a datagram from a peer turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// Genuine, and needs nothing further.
    Consumed,
    /// A genuine packet for the interface, if its source address is the peer's to use.
    Packet(&'a [u8]),
    /// A genuine handshake message, to be answered with this.
    Reply(Datagram<'a>),
    /// Forged, replayed, too late, or no packet inside.
    Rejected,
}

/// Which of a peer's secrets the tunnel is built from; a change of either ends its sessions.
pub(crate) struct Secrets {
    pub(crate) private_key: PrivateKey,
    pub(crate) preshared_key: Option<PresharedKey>,
    /// Must never refuse: the device limits handshakes before they get here.
    pub(crate) unlimited: Arc<RateLimiter>,
}

/// A tunnel to one peer.
///
/// Every buffer passed in must hold [`BUFFER_BYTES`].
pub(crate) struct Tunnel {
    public_key: PublicKey,
    /// The first three bytes of every session index that the peer addresses us by.
    index: u32,
    /// Absent while the device has no private key.
    noise: Option<Tunn>,
    endpoint: Option<SocketAddr>,
    persistent_keepalive: Option<Duration>,
    /// When an authenticated datagram last went either way.
    last_traversal: Instant,
    /// The session we offered in a handshake response, until a datagram under it proves that the
    /// peer received the response.
    unconfirmed_session: Option<u32>,
    /// Packets that waited for a session may be sent now.
    flushing: bool,
    /// A session was cut by a change of secrets and is worth replacing at once.
    interrupted: bool,
    last_handshake: Option<UnixTime>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Room for the largest IP packet and what WireGuard puts around it.
pub(crate) const BUFFER_BYTES: usize = 65_535 + PADDING_BYTES + 32;

impl Tunnel {
    pub(crate) fn new(public_key: PublicKey, index: u32, now: Instant) -> Self {
        Self {
            public_key,
            index,
            noise: None,
            endpoint: None,
            persistent_keepalive: None,
            last_traversal: now,
            unconfirmed_session: None,
            flushing: false,
            interrupted: false,
            last_handshake: None,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    /// Takes new secrets into use, or none. Sessions under the old ones end.
    pub(crate) fn rebuild(&mut self, secrets: Option<Secrets>) {
        self.interrupted |= self.has_session();
        self.unconfirmed_session = None;
        self.flushing = false;
        self.noise = secrets.map(|it| {
            Tunn::new(
                it.private_key.secret().clone(),
                x25519_dalek::PublicKey::from(*self.public_key.as_bytes()),
                it.preshared_key.as_ref().map(PresharedKey::secret),
                None, // Kept here instead, so that it can change during a session.
                self.index,
                Some(it.unlimited),
            )
        });
    }

    pub(crate) fn set_endpoint(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// `seconds` of 0 turns the persistent keepalive off.
    pub(crate) fn set_persistent_keepalive(&mut self, seconds: u16) {
        self.persistent_keepalive = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
    }

    /// The tunnel as `wg show` describes it, except for what the device keeps about the peer.
    pub(crate) fn state(&self) -> PeerState {
        PeerState {
            endpoint: self.endpoint,
            persistent_keepalive_seconds: self
                .persistent_keepalive
                .and_then(|it| it.as_secs().try_into().ok())
                .unwrap_or(0),
            last_handshake: self.last_handshake,
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            ..PeerState::default()
        }
    }

    /// The handshake that a peer with a persistent keepalive deserves as soon as it is configured.
    pub(crate) fn start<'a>(&mut self, buffer: &'a mut [u8], now: Now) -> Option<Datagram<'a>> {
        let wanted = self.interrupted || self.persistent_keepalive.is_some();
        if !wanted || self.has_session() {
            return None;
        }
        self.endpoint?;
        self.interrupted = false;
        let length = written(
            self.noise
                .as_mut()?
                .format_handshake_initiation(buffer, false),
        );
        self.outgoing(buffer, length, now)
    }

    /// Seals an IP packet. Without a session the packet waits, and the datagram is a handshake
    /// initiation if none is under way; without an endpoint the packet is lost.
    pub(crate) fn send<'a>(
        &mut self,
        packet: Outgoing<'_>,
        buffer: &'a mut [u8],
        now: Now,
    ) -> Option<Datagram<'a>> {
        self.endpoint?;
        let length = written(self.noise.as_mut()?.encapsulate(packet.padded(), buffer));
        self.outgoing(buffer, length, now)
    }

    /// Opens a datagram that names one of this tunnel's sessions or its peer's key.
    ///
    /// Afterwards, [`next_queued`](Self::next_queued) is due until it returns nothing.
    pub(crate) fn receive<'a>(
        &mut self,
        datagram: &[u8],
        source: SocketAddr,
        buffer: &'a mut [u8],
        now: Now,
    ) -> Received<'a> {
        let Some(noise) = &mut self.noise else {
            return Received::Rejected;
        };
        match noise.decapsulate(Some(source.ip()), datagram, buffer) {
            TunnResult::Err(_) => Received::Rejected,
            TunnResult::Done => {
                self.authenticated(datagram, source, now);
                Received::Consumed
            }
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                self.authenticated(datagram, source, now);
                Received::Packet(packet)
            }
            TunnResult::WriteToNetwork(reply) => {
                self.authenticated(datagram, source, now);
                self.unconfirmed_session = offered_session(reply).or(self.unconfirmed_session);
                self.count_sent(reply.len(), now);
                Received::Reply(Datagram {
                    payload: reply,
                    to: source,
                })
            }
        }
    }

    /// The next packet that waited for a session, sealed.
    pub(crate) fn next_queued<'a>(
        &mut self,
        buffer: &'a mut [u8],
        now: Now,
    ) -> Option<Datagram<'a>> {
        if !self.flushing {
            return None;
        }
        let length = written(self.noise.as_mut()?.decapsulate(None, &[], buffer));
        self.flushing = length != 0;
        self.outgoing(buffer, length, now)
    }

    /// Does what is due: repeats a handshake, renews a session, keeps one alive.
    ///
    /// Call it at least every quarter of a second; boringtun's timers stand still in between.
    pub(crate) fn tick<'a>(&mut self, buffer: &'a mut [u8], now: Now) -> Option<Datagram<'a>> {
        let length = written(self.noise.as_mut()?.update_timers(buffer));
        if length != 0 {
            return self.outgoing(buffer, length, now);
        }
        let interval = self.persistent_keepalive?;
        if now.monotonic.saturating_duration_since(self.last_traversal) < interval {
            return None;
        }
        self.last_traversal = now.monotonic;
        self.keep_alive(buffer, now)
    }

    /// An empty datagram under the session, or a handshake for want of one.
    fn keep_alive<'a>(&mut self, buffer: &'a mut [u8], now: Now) -> Option<Datagram<'a>> {
        self.endpoint?;
        let established = self.has_session();
        let noise = self.noise.as_mut()?;
        let length = written(if established {
            noise.encapsulate(&[], buffer)
        } else {
            noise.format_handshake_initiation(buffer, false)
        });
        self.outgoing(buffer, length, now)
    }

    fn has_session(&self) -> bool {
        self.noise
            .as_ref()
            .is_some_and(|it| it.time_since_last_handshake().is_some())
    }

    /// Follows a genuine datagram: the peer is where it came from, and what it proves is so.
    fn authenticated(&mut self, datagram: &[u8], source: SocketAddr, now: Now) {
        self.received_bytes += datagram.len() as u64;
        self.last_traversal = now.monotonic;

        match Message::of(datagram) {
            // A cookie proves who answers, not that the peer moved.
            Message::Cookie => return,
            Message::Initiation | Message::Other => (),
            Message::Response => self.established(now),
            Message::Data { session } => {
                if self.unconfirmed_session == Some(session) {
                    self.established(now);
                }
            }
        }
        self.endpoint = Some(source);
    }

    fn established(&mut self, now: Now) {
        self.unconfirmed_session = None;
        self.flushing = true;
        self.last_handshake = Some(now.unix);
        tracing::debug!(peer = %self.public_key, "handshake complete");
    }

    fn outgoing<'a>(&mut self, buffer: &'a [u8], length: usize, now: Now) -> Option<Datagram<'a>> {
        let to = self.endpoint?;
        if length == 0 {
            return None;
        }
        self.count_sent(length, now);
        Some(Datagram {
            payload: &buffer[..length],
            to,
        })
    }

    fn count_sent(&mut self, length: usize, now: Now) {
        self.sent_bytes += length as u64;
        self.last_traversal = now.monotonic;
    }
}

/// The kinds of message, as far as the tunnel treats them differently.
enum Message {
    Cookie,
    Data {
        /// The session index by which the peer addresses us.
        session: u32,
    },
    Initiation,
    Other,
    Response,
}

impl Message {
    fn of(datagram: &[u8]) -> Self {
        match (datagram.first(), session_index(datagram)) {
            (Some(1), _) => Self::Initiation,
            (Some(2), _) => Self::Response,
            (Some(3), _) => Self::Cookie,
            (Some(4), Some(session)) => Self::Data { session },
            (Some(_) | None, _) => Self::Other,
        }
    }
}

/// The session that `reply` offers, if it is a handshake response.
fn offered_session(reply: &[u8]) -> Option<u32> {
    match Message::of(reply) {
        Message::Response => session_index(reply),
        Message::Cookie | Message::Data { .. } | Message::Initiation | Message::Other => None,
    }
}

/// Bytes 4 to 7, little endian: the sender's index in handshakes, the receiver's in data.
fn session_index(message: &[u8]) -> Option<u32> {
    let bytes = message.get(4..8)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// How many bytes boringtun wrote for the network, always from the start of its buffer.
fn written(result: TunnResult<'_>) -> usize {
    match result {
        TunnResult::WriteToNetwork(datagram) => datagram.len(),
        TunnResult::Done
        | TunnResult::Err(_)
        | TunnResult::WriteToTunnelV4(..)
        | TunnResult::WriteToTunnelV6(..) => 0,
    }
}
