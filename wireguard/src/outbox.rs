//! Gathers packets for one peer into datagrams that one system call can send.
//!
//! Packets are written where they are sealed and sent from; nothing is copied after that.

use std::sync::Arc;

use crate::cipher::{BATCH_MAX, Span, TAG_BYTES};
use crate::configuration::Peer;
use crate::congestion::Ecn;
use crate::dropped::DropCause;
use crate::egress::Network;
use crate::message::{DATA_HEADER_BYTES, DATA_OVERHEAD_BYTES, data_header};
use crate::offload::Segments;
use crate::padding::padded;
use crate::session::Session;
use crate::tunnel::{Endpoint, Now};

/// What one call may send: a little less than an IPv4 packet can hold.
const BURST_BYTES_MAX: usize = 65_000;

/// A packet as large as IP allows, with what goes around it, after an almost full burst.
const BUFFER_BYTES: usize = BURST_BYTES_MAX + 65_536 + DATA_OVERHEAD_BYTES;

/// Datagrams to one place: all of `segment` bytes but the last, which may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) segment: usize,
    pub(crate) ecn: Ecn,
    pub(crate) to: Endpoint,
}

/// Datagrams under way to one peer. Call [`flush`](Self::flush) when no more packets are there.
pub(crate) struct Outbox {
    buffer: Box<[u8]>,
    end: usize,
    /// The packets in `buffer`; their counters come last.
    packets: Vec<Span>,
    /// The bytes of each datagram; 0 while there is none.
    segment: usize,
    /// The last datagram was a short one, after which none may follow.
    is_closed: bool,
    has_packets: bool,
    /// What all of them bear.
    ecn: Ecn,
    to: Option<(Arc<Peer>, Arc<Session>)>,
}

/// What became of packets that left the outbox.
#[derive(Clone, Default)]
pub(crate) struct Flushed {
    /// Packets that are lost: the session was used up, the peer is nowhere, the network refused.
    pub(crate) lost: u64,
    /// A peer whose session is old; a handshake is due.
    pub(crate) old: Option<Arc<Peer>>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            end: 0,
            packets: Vec::with_capacity(BATCH_MAX),
            segment: 0,
            is_closed: false,
            has_packets: false,
            ecn: Ecn::default(),
            to: None,
        }
    }

    /// Takes the packets of a frame, which bear `ecn`; sends what does not fit beside them.
    pub(crate) fn push(
        &mut self,
        frame: &Segments<'_>,
        mtu: usize,
        to: (&Arc<Peer>, &Arc<Session>),
        ecn: Ecn,
        now: Now,
        network: &mut impl Network,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        for index in 0..frame.count() {
            let length = frame.length(index);
            let padded = padded(length, mtu);
            flushed.add(self.make_room(padded, to, ecn, now, network));
            let start = self.end + DATA_HEADER_BYTES;
            let (packet, padding) = self.buffer[start..start + padded].split_at_mut(length);
            frame.write(index, packet);
            padding.fill(0);
            self.has_packets = true;
            self.add(padded);
        }
        flushed
    }

    /// Takes an empty packet, which keeps a session alive.
    pub(crate) fn push_keepalive(
        &mut self,
        to: (&Arc<Peer>, &Arc<Session>),
        now: Now,
        network: &mut impl Network,
    ) -> Flushed {
        let flushed = self.make_room(0, to, Ecn::default(), now, network);
        self.add(0);
        flushed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Seals and sends what is there.
    pub(crate) fn flush(&mut self, now: Now, network: &mut impl Network) -> Flushed {
        let Some((peer, session)) = self.to.take() else {
            return Flushed::default();
        };
        let flushed = self.flush_to(&peer, &session, now, network);
        self.end = 0;
        self.packets.clear();
        self.segment = 0;
        self.is_closed = false;
        self.has_packets = false;
        flushed
    }

    fn flush_to(
        &mut self,
        peer: &Arc<Peer>,
        session: &Session,
        now: Now,
        network: &mut impl Network,
    ) -> Flushed {
        let count = self.packets.len() as u64;
        let lost = |lost| {
            peer.tunnel.note_dropped(DropCause::Undeliverable, lost);
            Flushed { lost, old: None }
        };
        let Some(to) = peer.tunnel.endpoint() else {
            return lost(count);
        };
        let Some(first) = session.reserve(count) else {
            return lost(count);
        };
        for (packet, counter) in self.packets.iter_mut().zip(first..) {
            packet.counter = counter;
            let header = data_header(session.remote_index, counter);
            self.buffer[packet.start - DATA_HEADER_BYTES..packet.start].copy_from_slice(&header);
        }
        session.sealing().seal(&mut self.buffer, &self.packets);

        let bytes = &self.buffer[..self.end];
        let is_old = peer
            .tunnel
            .note_sent(session, bytes.len() as u64, self.has_packets, now);
        let burst = Burst {
            bytes,
            segment: self.segment,
            ecn: self.ecn,
            to,
        };
        let mut is_sent = network.send(burst);
        if !is_sent && to.source.is_some() {
            // It may be our address that is gone: from now on everything leaves from any other.
            peer.tunnel.forget_source();
            let to = Endpoint { source: None, ..to };
            is_sent = network.send(Burst { to, ..burst });
        }
        let flushed = if is_sent {
            Flushed::default()
        } else {
            lost(count)
        };
        Flushed {
            old: is_old.then(|| Arc::clone(peer)),
            ..flushed
        }
    }

    /// Sends what is for somebody else, or under another session, or bears something else, or leaves no
    /// room for the packet.
    fn make_room(
        &mut self,
        padded: usize,
        (peer, session): (&Arc<Peer>, &Arc<Session>),
        ecn: Ecn,
        now: Now,
        network: &mut impl Network,
    ) -> Flushed {
        let is_same = |(_, current): &(_, Arc<Session>)| Arc::ptr_eq(current, session);
        let is_same = self.to.as_ref().is_some_and(is_same) && self.ecn == ecn;
        if is_same && self.has_room(padded) {
            return Flushed::default();
        }
        let flushed = self.flush(now, network);
        self.to = Some((Arc::clone(peer), Arc::clone(session)));
        self.ecn = ecn;
        flushed
    }

    fn has_room(&self, padded: usize) -> bool {
        let datagram = padded + DATA_OVERHEAD_BYTES;
        self.packets.is_empty()
            || !self.is_closed
                && datagram <= self.segment
                && self.packets.len() < BATCH_MAX
                && self.end + datagram <= BURST_BYTES_MAX
    }

    /// Accounts for a packet that was written, or needs no writing.
    fn add(&mut self, padded: usize) {
        let datagram = padded + DATA_OVERHEAD_BYTES;
        self.packets.push(Span {
            start: self.end + DATA_HEADER_BYTES,
            length: padded,
            counter: 0,
        });
        if self.segment == 0 {
            self.segment = datagram;
        }
        self.is_closed = datagram < self.segment;
        self.end += DATA_HEADER_BYTES + padded + TAG_BYTES;
    }
}

impl Flushed {
    fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.old = self.old.take().or(other.old);
    }
}
