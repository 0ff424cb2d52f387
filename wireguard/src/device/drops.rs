//! Counts the packets and datagrams that went no further, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dropped::Dropped;

#[derive(Debug, Default)]
pub(super) struct Drops {
    congested: AtomicU64,
    malformed: AtomicU64,
    no_peer: AtomicU64,
    not_authentic: AtomicU64,
    overflowed: AtomicU64,
    replayed: AtomicU64,
    spoofed: AtomicU64,
    undeliverable: AtomicU64,
}

impl Drops {
    pub(super) fn count(&self, dropped: Dropped) {
        if dropped == Dropped::default() {
            return;
        }
        for (counter, count) in [
            (&self.congested, dropped.congested),
            (&self.malformed, dropped.malformed),
            (&self.no_peer, dropped.no_peer),
            (&self.not_authentic, dropped.not_authentic),
            (&self.overflowed, dropped.overflowed),
            (&self.replayed, dropped.replayed),
            (&self.spoofed, dropped.spoofed),
            (&self.undeliverable, dropped.undeliverable),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}
