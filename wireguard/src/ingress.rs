//! Carries datagrams to the interface: opens them, answers handshakes, and joins packets to frames.

use crate::configuration::Configuration;
use crate::congestion::Ecn;
use crate::dropped::Dropped;
use crate::egress::{Egress, Network};
use crate::inbox::Inbox;
use crate::offload::{Coalescer, Frame, Offloads};
use crate::tunnel::{Endpoint, Now};

/// What takes packets.
pub(crate) trait Interface {
    /// Takes a frame whose pieces lie in `buffer`; false if it is lost.
    fn write(&mut self, frame: &Frame<'_>, buffer: &[u8]) -> bool;
}

/// Datagrams that came from one place together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Where they lie in the buffer.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The bytes of each but the last.
    pub(crate) segment: usize,
    /// What all of them bear.
    pub(crate) ecn: Ecn,
    pub(crate) from: Endpoint,
}

/// What one thread receives.
pub(crate) struct Ingress {
    inbox: Inbox,
    coalescer: Coalescer,
    offloads: Offloads,
    egress: Egress,
}

impl Ingress {
    /// `offloads` is what the interface takes, `mtu` its largest packet in bytes.
    pub(crate) fn new(offloads: Offloads, mtu: usize) -> Self {
        Self {
            inbox: Inbox::default(),
            coalescer: Coalescer::default(),
            offloads,
            egress: Egress::new(mtu),
        }
    }

    pub(crate) fn set_mtu(&mut self, mtu: usize) {
        self.egress.set_mtu(mtu);
    }

    /// What was lost since the last time.
    pub(crate) fn take_dropped(&mut self) -> Dropped {
        let mut dropped = std::mem::take(&mut self.inbox.dropped);
        dropped += self.egress.take_dropped();
        dropped
    }

    /// Takes datagrams that lie in `buffer`, which are changed.
    pub(crate) fn carry(
        &mut self,
        configuration: &Configuration,
        buffer: &mut [u8],
        arrivals: impl Iterator<Item = Arrival>,
        now: Now,
        network: &mut impl Network,
        interface: &mut impl Interface,
    ) {
        for arrival in arrivals {
            self.inbox.open(configuration, buffer, arrival, now);
        }
        let packets = &self.inbox.packets;
        for frame in self.coalescer.coalesce(buffer, packets, self.offloads) {
            if !interface.write(&frame, buffer) {
                self.inbox.dropped.undeliverable += frame.pieces.len() as u64;
            }
        }
        for reply in &self.inbox.replies {
            self.egress.reply(reply, network);
        }
        for peer in &self.inbox.established {
            self.egress.greet(configuration, peer, now, network);
        }
        for peer in &self.inbox.old {
            self.egress.initiate(configuration, peer, now, network);
        }
        self.inbox.clear();
    }
}
