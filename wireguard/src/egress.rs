//! Carries packets to peers: seals them, or lets them wait and begins a handshake.
//!
//! The same code runs in every thread that sends and under simulated time; where datagrams go is the
//! [`Network`]'s business.

use std::sync::Arc;

use crate::configuration::{Configuration, Open, Peer, Way};
use crate::congestion::Ecn;
use crate::dropped::{DropCause, Dropped};
use crate::offload::{Segments, VnetHeader};
use crate::outbox::{Burst, Flushed, Outbox};
use crate::packet::destination;
use crate::tunnel::{Now, Reply};

/// What takes datagrams.
pub(crate) trait Network {
    /// False if they are lost.
    fn send(&mut self, burst: Burst<'_>) -> bool;
}

/// What one thread sends.
pub(crate) struct Egress {
    outbox: Outbox,
    /// The interface's largest packet, in bytes.
    mtu: usize,
    dropped: Dropped,
}

impl Egress {
    pub(crate) fn new(mtu: usize) -> Self {
        Self {
            outbox: Outbox::new(),
            mtu,
            dropped: Dropped::default(),
        }
    }

    pub(crate) fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }

    /// What was lost since the last time.
    pub(crate) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Takes a frame from the interface: its header and a packet, maybe of many segments.
    ///
    /// What is taken goes out with [`flush`](Self::flush) at the latest.
    pub(crate) fn carry(
        &mut self,
        configuration: &Configuration,
        frame: &mut [u8],
        now: Now,
        network: &mut impl Network,
    ) {
        let packet = frame.get(VnetHeader::BYTES..).unwrap_or_default();
        let Some(destination) = destination(packet) else {
            self.dropped.malformed += 1;
            return;
        };
        match configuration.way(packet, destination, now) {
            None => self.dropped.no_peer += 1,
            Some(Way::Shut(peer)) => self.wait(configuration, peer, frame, now, network),
            Some(Way::Open(open)) => self.send(configuration, &open, frame, now, network),
        }
    }

    fn send(
        &mut self,
        configuration: &Configuration,
        open: &Open<'_>,
        frame: &mut [u8],
        now: Now,
        network: &mut impl Network,
    ) {
        let (header, packet) = frame.split_at_mut(VnetHeader::BYTES);
        let ecn = Ecn::of(packet);
        let segments = VnetHeader::parse(header).and_then(|it| Segments::of(&it, packet));
        let Ok(segments) = segments else {
            self.lose(open.peer, DropCause::Malformed);
            return;
        };
        let to = (open.peer, &open.session);
        let flushed = self.outbox.push(&segments, self.mtu, to, ecn, now, network);
        self.follow_up(configuration, flushed, now, network);
        if let Some(missed) = open.missed {
            self.ask(configuration, missed, now, network);
        }
    }

    /// Lets a frame wait for a session, under either key of an end that has two.
    fn wait(
        &mut self,
        configuration: &Configuration,
        peer: &Peer,
        frame: &[u8],
        now: Now,
        network: &mut impl Network,
    ) {
        if !configuration.is_somewhere(peer) {
            self.lose(peer, DropCause::Undeliverable);
            return;
        }
        self.dropped.overflowed += peer.tunnel.wait(frame);
        self.ask(configuration, peer, now, network);
    }

    /// Asks an end for a session, under either key.
    fn ask(
        &mut self,
        configuration: &Configuration,
        peer: &Peer,
        now: Now,
        network: &mut impl Network,
    ) {
        let partner = configuration.partner(peer).map(|it| &**it);
        for peer in [Some(peer), partner].into_iter().flatten() {
            self.initiate(configuration, peer, now, network);
        }
    }

    /// Sends what waited for the peer's session, or an empty packet, as the peer waits for one.
    pub(crate) fn greet(
        &mut self,
        configuration: &Configuration,
        peer: &Arc<Peer>,
        now: Now,
        network: &mut impl Network,
    ) {
        let mut waited = peer.tunnel.waited();
        if let Some(partner) = configuration.partner(peer) {
            waited.extend(partner.tunnel.waited());
        }
        if waited.is_empty() {
            self.keep_alive(configuration, peer, now, network);
        }
        for mut frame in waited {
            self.carry(configuration, &mut frame, now, network);
        }
        self.flush(configuration, now, network);
    }

    /// Sends an empty packet.
    pub(crate) fn keep_alive(
        &mut self,
        configuration: &Configuration,
        peer: &Arc<Peer>,
        now: Now,
        network: &mut impl Network,
    ) {
        if let Some(session) = peer.tunnel.session_to_send(now) {
            let to = (peer, &session);
            let flushed = self.outbox.push_keepalive(to, now, network);
            self.follow_up(configuration, flushed, now, network);
            self.flush(configuration, now, network);
        }
    }

    /// Begins a handshake, unless one is under way.
    pub(crate) fn initiate(
        &mut self,
        configuration: &Configuration,
        peer: &Peer,
        now: Now,
        network: &mut impl Network,
    ) {
        if let Some(initiation) = peer.tunnel.initiate(now, configuration.stamper()) {
            self.reply(&initiation, network);
        }
    }

    /// Sends a handshake message.
    pub(crate) fn reply(&mut self, reply: &Reply, network: &mut impl Network) {
        let burst = Burst {
            bytes: &reply.payload,
            segment: reply.payload.len(),
            ecn: Ecn::default(),
            to: reply.to,
        };
        if !network.send(burst) {
            self.dropped.undeliverable += 1;
        }
    }

    /// Does what is due to every peer. Call it every tenth of a second or so.
    pub(crate) fn tick(
        &mut self,
        configuration: &Configuration,
        now: Now,
        network: &mut impl Network,
    ) {
        for peer in configuration.peers() {
            let chores = peer.tunnel.tick(now, configuration.stamper());
            if let Some(initiation) = chores.initiation {
                self.reply(&initiation, network);
            }
            if chores.keepalive {
                self.keep_alive(configuration, peer, now, network);
            }
        }
    }

    /// Sends what is there.
    pub(crate) fn flush(
        &mut self,
        configuration: &Configuration,
        now: Now,
        network: &mut impl Network,
    ) {
        let flushed = self.outbox.flush(now, network);
        self.follow_up(configuration, flushed, now, network);
    }

    fn lose(&mut self, peer: &Peer, cause: DropCause) {
        peer.tunnel.note_dropped(cause, 1);
        self.dropped.count(cause, 1);
    }

    fn follow_up(
        &mut self,
        configuration: &Configuration,
        flushed: Flushed,
        now: Now,
        network: &mut impl Network,
    ) {
        self.dropped.undeliverable += flushed.lost;
        if let Some(peer) = flushed.old {
            self.initiate(configuration, &peer, now, network);
        }
    }
}
