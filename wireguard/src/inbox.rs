//! Opens datagrams where they lie, and says what is to be done about them.

use std::net::IpAddr;
use std::sync::Arc;

use crate::cipher::{BATCH_MAX, Span, TAG_BYTES};
use crate::configuration::{Configuration, Peer};
use crate::congestion::Ecn;
use crate::dropped::{DropCause, Dropped};
use crate::ingress::Arrival;
use crate::message::{DATA_HEADER_BYTES, Message};
use crate::offload;
use crate::packet::source_and_length;
use crate::tunnel::{Endpoint, Now, Reply};

/// What came out of datagrams. Cleared when it is carried out, but for what was dropped.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Packets for the interface, without their padding.
    pub(crate) packets: Vec<offload::Span>,
    pub(crate) replies: Vec<Reply>,
    /// Peers to whom something is to be sent under their new session.
    pub(crate) established: Vec<Arc<Peer>>,
    /// Peers whose session should be renewed.
    pub(crate) old: Vec<Arc<Peer>>,
    pub(crate) dropped: Dropped,
    /// The datagrams of one session that wait to be opened together.
    run: Vec<Span>,
    receiver: u32,
}

impl Inbox {
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.replies.clear();
        self.established.clear();
        self.old.clear();
    }

    /// Counts what came from a peer, as it seems, and goes no further.
    pub(crate) fn lose(&mut self, peer: &Peer, cause: DropCause, packets: u64) {
        peer.tunnel.note_dropped(cause, packets);
        self.dropped.count(cause, packets);
    }

    /// Opens datagrams that lie in `buffer`.
    pub(crate) fn open(
        &mut self,
        configuration: &Configuration,
        buffer: &mut [u8],
        arrival: Arrival,
        now: Now,
    ) {
        let from = (arrival.from, arrival.ecn);
        let mut next = arrival.start;
        while next < arrival.end {
            let datagram = next..arrival.end.min(next + arrival.segment.max(1));
            next = datagram.end;
            match Message::parse(&buffer[datagram.clone()]) {
                Some(Message::Data { receiver, counter }) => {
                    if self.receiver != receiver || self.run.len() == BATCH_MAX {
                        self.open_run(configuration, buffer, from, now);
                        self.receiver = receiver;
                    }
                    self.run.push(Span {
                        start: datagram.start + DATA_HEADER_BYTES,
                        length: datagram.len() - DATA_HEADER_BYTES - TAG_BYTES,
                        counter,
                    });
                }
                Some(_) => {
                    self.open_run(configuration, buffer, from, now);
                    configuration.handle_handshake(&buffer[datagram], arrival.from, now, self);
                }
                None => self.dropped.malformed += 1,
            }
        }
        self.open_run(configuration, buffer, from, now);
    }

    fn open_run(
        &mut self,
        configuration: &Configuration,
        buffer: &mut [u8],
        from: (Endpoint, Ecn),
        now: Now,
    ) {
        let run = std::mem::take(&mut self.run);
        if !run.is_empty() {
            self.open_spans(configuration, buffer, &run, from, now);
        }
        self.run = run;
        self.run.clear();
    }

    fn open_spans(
        &mut self,
        configuration: &Configuration,
        buffer: &mut [u8],
        run: &[Span],
        (from, ecn): (Endpoint, Ecn),
        now: Now,
    ) {
        let Some(peer) = configuration.peer_addressed(self.receiver) else {
            self.dropped.no_peer += run.len() as u64;
            return;
        };
        let Some(session) = peer.tunnel.session_addressed(self.receiver, now) else {
            self.lose(peer, DropCause::NotAuthentic, run.len() as u64);
            return;
        };
        let genuine = session.opening().open(buffer, run);
        let forged = run.len() as u64 - u64::from(genuine.count_ones());
        self.lose(peer, DropCause::NotAuthentic, forged);

        let mut new = 0;
        let mut replay = session.replay();
        for (index, span) in run.iter().enumerate() {
            let bit = genuine & 1 << index;
            if bit != 0 && replay.take(span.counter) {
                new |= bit;
            }
        }
        drop(replay);
        let replayed = (genuine & !new).count_ones();
        self.lose(peer, DropCause::Replayed, replayed.into());
        if new == 0 {
            return;
        }

        let (bytes, has_packets) = self.deliver(configuration, peer, buffer, ecn, run, new);
        let heard = peer
            .tunnel
            .note_received(&session, bytes, has_packets, from, now);
        if heard.is_confirmed && configuration.has_waiting(peer) {
            self.established.push(Arc::clone(peer));
        }
        if heard.is_old {
            self.old.push(Arc::clone(peer));
        }
    }

    /// Passes on what is in genuine datagrams; their bytes, and whether any was not empty.
    fn deliver(
        &mut self,
        configuration: &Configuration,
        peer: &Peer,
        buffer: &mut [u8],
        ecn: Ecn,
        run: &[Span],
        new: u64,
    ) -> (u64, bool) {
        let mut bytes = 0;
        let mut has_packets = false;
        // Packets of one run have one source more often than not.
        let mut allowed: Option<IpAddr> = None;
        for (index, span) in run.iter().enumerate() {
            if new & 1 << index == 0 {
                continue;
            }
            bytes += (DATA_HEADER_BYTES + span.length + TAG_BYTES) as u64;
            if span.length == 0 {
                continue;
            }
            has_packets = true;
            let padded = &mut buffer[span.start..span.start + span.length];
            let Some((source, length)) = source_and_length(padded) else {
                self.lose(peer, DropCause::Malformed, 1);
                continue;
            };
            if allowed != Some(source) && !configuration.is_allowed(source, peer) {
                self.lose(peer, DropCause::Spoofed, 1);
                continue;
            }
            allowed = Some(source);
            if !ecn.says_nothing() && !ecn.tell(padded) {
                self.lose(peer, DropCause::Congested, 1);
                continue;
            }
            let start = span.start;
            self.packets.push(offload::Span { start, length });
        }
        (bytes, has_packets)
    }
}
