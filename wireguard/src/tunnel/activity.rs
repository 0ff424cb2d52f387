//! Decides what a peer is owed from what was sent and received when.
//!
//! Marks are set once per batch of packets, without a lock; the timekeeper reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Now;

/// Who received a packet and sent nothing since says so after this time: in milliseconds.
const KEEPALIVE_MILLISECONDS: u64 = 10_000;

/// Who sent a packet and heard nothing since asks for a new session after this time, which is when
/// the other end should have kept alive, and a retry more.
const SILENCE_MILLISECONDS: u64 = KEEPALIVE_MILLISECONDS + 5_000;

#[derive(Debug, Default)]
pub(super) struct Activity {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    /// When the first packet was sent that nothing was heard after; 0 if there is none.
    unanswered_since: AtomicU64,
    /// When the first packet was received that nothing was sent after; 0 if there is none.
    unacknowledged_since: AtomicU64,
    /// When something last went either way; 0 if it never did.
    last_traversal: AtomicU64,
    /// One more than the session that asked for its successor because it received.
    asked: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Handshake,
    Keepalive,
}

impl Activity {
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self, bytes: u64, has_packets: bool, now: Now) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_traversal
            .store(now.milliseconds, Ordering::Relaxed);
        clear(&self.unacknowledged_since);
        if has_packets {
            mark(&self.unanswered_since, now);
        }
    }

    pub(super) fn note_received(&self, bytes: u64, has_packets: bool, now: Now) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_traversal
            .store(now.milliseconds, Ordering::Relaxed);
        clear(&self.unanswered_since);
        if has_packets {
            mark(&self.unacknowledged_since, now);
        }
    }

    /// True the first time that a session asks.
    pub(super) fn asks_once(&self, local_index: u32) -> bool {
        let asked = u64::from(local_index) + 1;
        self.asked.swap(asked, Ordering::Relaxed) != asked
    }

    /// `persistent_keepalive` is in milliseconds, 0 for none.
    pub(super) fn due(&self, persistent_keepalive: u64, now: Now) -> Option<Due> {
        let has_passed = |since: u64, wait: u64| {
            let since = (since != 0).then_some(since);
            since.is_some_and(|it| it.saturating_add(wait) <= now.milliseconds)
        };
        if has_passed(
            self.unanswered_since.load(Ordering::Relaxed),
            SILENCE_MILLISECONDS,
        ) {
            // The next packet starts to count anew.
            clear(&self.unanswered_since);
            return Some(Due::Handshake);
        }
        let unacknowledged = self.unacknowledged_since.load(Ordering::Relaxed);
        let last = self.last_traversal.load(Ordering::Relaxed);
        let is_idle = persistent_keepalive != 0
            && (last == 0 || last.saturating_add(persistent_keepalive) <= now.milliseconds);
        if !is_idle && !has_passed(unacknowledged, KEEPALIVE_MILLISECONDS) {
            return None;
        }
        // Also if there is no session to send it with: once per interval is enough.
        self.last_traversal
            .store(now.milliseconds, Ordering::Relaxed);
        clear(&self.unacknowledged_since);
        Some(Due::Keepalive)
    }
}

/// Keeps the first of several moments.
fn mark(since: &AtomicU64, now: Now) {
    // Read first: most packets find it marked, and reading does not take the line from others.
    if since.load(Ordering::Relaxed) == 0 {
        since.store(now.milliseconds, Ordering::Relaxed);
    }
}

fn clear(since: &AtomicU64) {
    if since.load(Ordering::Relaxed) != 0 {
        since.store(0, Ordering::Relaxed);
    }
}
