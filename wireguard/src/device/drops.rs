//! Counts the packets and datagrams that went no further, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::configuration::Dropped;

#[derive(Debug, Default)]
pub(super) struct Drops {
    malformed: AtomicU64,
    no_peer: AtomicU64,
    not_authentic: AtomicU64,
    spoofed: AtomicU64,
    /// The network or the interface took no more: a full buffer, no route, a link that is down.
    undeliverable: AtomicU64,
}

impl Drops {
    pub(super) fn count(&self, dropped: Dropped) {
        let counter = match dropped {
            Dropped::Malformed => &self.malformed,
            Dropped::NoPeer => &self.no_peer,
            Dropped::NotAuthentic => &self.not_authentic,
            Dropped::Spoofed => &self.spoofed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_undeliverable(&self) {
        self.undeliverable.fetch_add(1, Ordering::Relaxed);
    }
}
