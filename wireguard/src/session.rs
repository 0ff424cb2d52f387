//! The keys that two peers agreed on, and how long they may be used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cipher::Cipher;
use crate::noise::Keys;
use crate::replay::Replay;

/// After so many messages the initiator asks for new keys (WireGuard paper, section 6).
const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

/// No message has this counter or a greater one. Threads that send at once may each take a batch
/// beyond it, which is still far from the end of the numbers.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Ages in milliseconds: when the initiator that sends asks for new keys, and when keys end.
const REKEY_AFTER_MILLISECONDS: u64 = 120_000;
pub(crate) const REJECT_AFTER_MILLISECONDS: u64 = 180_000;

/// When the initiator that receives asks for new keys, as a peer that only sends could not.
const REKEY_AFTER_RECEIVING_MILLISECONDS: u64 = REJECT_AFTER_MILLISECONDS - 10_000 - 5_000;

/// Shared by the threads that seal and open; nothing in it is locked while they do.
pub(crate) struct Session {
    /// By which the peer addresses us.
    pub(crate) local_index: u32,
    /// By which we address the peer.
    pub(crate) remote_index: u32,
    is_initiator: bool,
    born_milliseconds: u64,
    sealing: Cipher,
    opening: Cipher,
    next_counter: AtomicU64,
    replay: Mutex<Replay>,
}

impl Session {
    pub(crate) fn new(
        keys: &Keys,
        local_index: u32,
        remote_index: u32,
        is_initiator: bool,
        now_milliseconds: u64,
    ) -> Self {
        Self {
            local_index,
            remote_index,
            is_initiator,
            born_milliseconds: now_milliseconds,
            sealing: Cipher::new(&keys.sending),
            opening: Cipher::new(&keys.receiving),
            next_counter: AtomicU64::new(0),
            replay: Mutex::default(),
        }
    }

    pub(crate) fn sealing(&self) -> &Cipher {
        &self.sealing
    }

    pub(crate) fn opening(&self) -> &Cipher {
        &self.opening
    }

    /// The first of `count` counters that nobody else gets; `None` if the session is used up.
    pub(crate) fn reserve(&self, count: u64) -> Option<u64> {
        if REJECT_AFTER_MESSAGES <= self.next_counter.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.next_counter.fetch_add(count, Ordering::Relaxed))
    }

    /// The counters that came in under the session. Held for a batch, and for no cipher.
    pub(crate) fn replay(&self) -> MutexGuard<'_, Replay> {
        // Whole between any two calls, so a panic elsewhere does not spoil it.
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_alive(&self, now_milliseconds: u64) -> bool {
        self.age(now_milliseconds) < REJECT_AFTER_MILLISECONDS
            && self.next_counter.load(Ordering::Relaxed) < REJECT_AFTER_MESSAGES
    }

    pub(crate) fn born_milliseconds(&self) -> u64 {
        self.born_milliseconds
    }

    /// Whether whoever just sent something should ask for new keys.
    pub(crate) fn is_old_for_sending(&self, now_milliseconds: u64) -> bool {
        REKEY_AFTER_MESSAGES <= self.next_counter.load(Ordering::Relaxed)
            || self.is_initiator && REKEY_AFTER_MILLISECONDS <= self.age(now_milliseconds)
    }

    /// Whether whoever just received something should ask for new keys.
    pub(crate) fn is_old_for_receiving(&self, now_milliseconds: u64) -> bool {
        self.is_initiator && REKEY_AFTER_RECEIVING_MILLISECONDS <= self.age(now_milliseconds)
    }

    fn age(&self, now_milliseconds: u64) -> u64 {
        now_milliseconds.saturating_sub(self.born_milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn ends_with_its_numbers() {
        let session = session(true);
        session
            .next_counter
            .store(REJECT_AFTER_MESSAGES - 1, Ordering::Relaxed);

        assert!(session.is_alive(0));
        assert!(session.is_old_for_sending(0));
        assert_eq!(session.reserve(64), Some(REJECT_AFTER_MESSAGES - 1));
        assert_eq!(session.reserve(1), None);
        assert!(!session.is_alive(0));
    }

    #[test]
    fn ends_with_its_time_and_its_initiator_renews_it_before() {
        for (is_initiator, age, sending, receiving, alive) in [
            (true, 119_999, false, false, true),
            (true, 120_000, true, false, true),
            (true, 165_000, true, true, true),
            (false, 179_999, false, false, true),
            (false, 180_000, false, false, false),
        ] {
            let session = session(is_initiator);

            assert_eq!(session.is_old_for_sending(age), sending, "{age}");
            assert_eq!(session.is_old_for_receiving(age), receiving, "{age}");
            assert_eq!(session.is_alive(age), alive, "{age}");
        }
    }

    fn session(is_initiator: bool) -> Session {
        let keys = Keys {
            sending: Zeroizing::new([1; 32]),
            receiving: Zeroizing::new([2; 32]),
        };
        Session::new(&keys, 1, 2, is_initiator, 0)
    }
}
