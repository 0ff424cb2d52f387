//! The sessions that we do not send with any more, as long as the peer may.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::session::Session;

/// How many are kept. Two ends that begin a handshake at the same moment each send with another of
/// the two sessions, and go on to do so until the next; if that happens again, what each end sent
/// with before, what it was offered and what it sends with now are three more.
const COUNT: usize = 3;

/// The last ones, the latest first.
#[derive(Default)]
pub(super) struct Former([ArcSwapOption<Session>; COUNT]);

impl Former {
    /// Only for whoever holds the lock of the negotiation: two at once could lose one.
    pub(super) fn push(&self, session: Option<Arc<Session>>) {
        if session.is_some() {
            self.0.iter().fold(session, |it, slot| slot.swap(it));
        }
    }

    pub(super) fn clear(&self) {
        for slot in &self.0 {
            slot.store(None);
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &ArcSwapOption<Session>> {
        self.0.iter()
    }
}
