//! The secrets that a peer's handshakes mix in, and which of them its sessions have.

use crate::PresharedKey;
use crate::message::Response;
use crate::noise::{Initiated, Keys};

#[derive(Default)]
pub(super) struct Secrets {
    preshared: Option<PresharedKey>,
    /// What a response to us may be made with instead.
    alternate: Option<PresharedKey>,
    /// What the session was made with that we offered last, until it is known what became of it.
    offered: Option<PresharedKey>,
    has_offered: bool,
    /// The same of the session that we send with.
    current: Option<PresharedKey>,
}

impl Secrets {
    pub(super) fn preshared(&self) -> Option<&PresharedKey> {
        self.preshared.as_ref()
    }

    pub(super) fn alternate(&self) -> Option<&PresharedKey> {
        self.alternate.as_ref()
    }

    /// Returns whether it is another one.
    pub(super) fn set_preshared(&mut self, key: Option<PresharedKey>) -> bool {
        let is_other = self.preshared != key;
        self.preshared = key;
        is_other
    }

    pub(super) fn set_alternate(&mut self, key: Option<PresharedKey>) {
        self.alternate = key;
    }

    /// Whether the session that we send with was made with the preshared key that there is now.
    pub(super) fn is_preshared_in_use(&self) -> bool {
        self.preshared.is_some() && self.preshared == self.current
    }

    /// Takes an initiation. The answer is whether the peer did not take what we answered before,
    /// although another end's key might be the alternate one: then it is on us to begin.
    pub(super) fn offer(&mut self) -> bool {
        let is_asked_again = std::mem::replace(&mut self.has_offered, true);
        self.offered.clone_from(&self.preshared);
        is_asked_again && self.alternate.is_some()
    }

    /// The peer has the session that we offered.
    pub(super) fn handle_confirmed(&mut self) {
        self.has_offered = false;
        self.current = self.offered.take();
    }

    /// Ends a handshake that we began. A response that fits neither secret changes nothing, and costs
    /// one more try than it would without an alternate.
    pub(super) fn finish(
        &mut self,
        initiated: &mut Initiated,
        response: Response<'_>,
    ) -> Option<Keys> {
        let mut finish = |key: Option<&PresharedKey>| initiated.finish(response.handshake, key);
        let (keys, current) = match finish(self.preshared.as_ref()) {
            Some(keys) => (keys, self.preshared.clone()),
            None => {
                let alternate = self.alternate.as_ref()?;
                (finish(Some(alternate))?, Some(alternate.clone()))
            }
        };
        self.current = current;
        self.offered = None;
        self.has_offered = false;
        Some(keys)
    }
}
