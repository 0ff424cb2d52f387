//! What clients hold at the moment, against what they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::limits::{Limits, Slots};

/// Shared by the services that one kind of client reaches: those on the network, or the own process.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) leases_max: usize,
    pub(super) watches_per_stream_max: usize,
    pub(super) watch_streams: Slots,
    pub(super) watches: Slots,
    pending: Arc<AtomicUsize>,
}

/// Events between the store and the transport, until dropped.
#[derive(Debug)]
pub(super) struct Pending {
    all: Arc<AtomicUsize>,
    events: usize,
}

impl Usage {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            leases_max: limits.leases,
            watches_per_stream_max: limits.watches_per_stream,
            watch_streams: Slots::new(limits.watch_streams),
            watches: Slots::new(limits.watches),
            pending: Arc::default(),
        }
    }

    pub(super) fn pending(&self, events: usize) -> Pending {
        self.pending.fetch_add(events, Ordering::Relaxed);
        Pending {
            all: Arc::clone(&self.pending),
            events,
        }
    }

    pub(super) fn events_pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.all.fetch_sub(self.events, Ordering::Relaxed);
    }
}
