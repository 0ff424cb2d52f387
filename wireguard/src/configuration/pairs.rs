//! Says which peers are one end under two keys, the former and its successor, and which of the two
//! to send to.
//!
//! A peer is in one pair at most. The allowed IPs of either are those of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Peer, PeerIndex};
use crate::session::Session;
use crate::tunnel::Now;
use crate::uapi::Errno;

#[derive(Clone, Default)]
pub(super) struct Pairs {
    /// Both peers of every pair, each with the other.
    partners: BTreeMap<PeerIndex, Partner>,
}

/// What a peer's other self is to it.
#[derive(Clone)]
pub(super) enum Partner {
    Predecessor(Arc<Peer>),
    Successor(Arc<Peer>),
}

impl Pairs {
    /// Pairs two peers, in place of the pair that each may be in.
    ///
    /// # Errors
    ///
    /// A peer cannot succeed itself, and there are no more than two in a row.
    pub(super) fn join(
        &mut self,
        successor: &Arc<Peer>,
        predecessor: &Arc<Peer>,
    ) -> Result<(), Errno> {
        let is_row = matches!(
            self.partners.get(&predecessor.index),
            Some(Partner::Predecessor(_))
        ) || matches!(
            self.partners.get(&successor.index),
            Some(Partner::Successor(_))
        );
        if is_row || successor.index == predecessor.index {
            return Err(Errno::Invalid);
        }
        self.part(successor.index);
        self.part(predecessor.index);
        let partner = Partner::Predecessor(Arc::clone(predecessor));
        self.partners.insert(successor.index, partner);
        let partner = Partner::Successor(Arc::clone(successor));
        self.partners.insert(predecessor.index, partner);
        Ok(())
    }

    /// Ends the pair that a peer is in, if any; what the other was to it.
    pub(super) fn part(&mut self, peer: PeerIndex) -> Option<Partner> {
        let partner = self.partners.remove(&peer)?;
        self.partners.remove(&partner.peer().index);
        Some(partner)
    }

    pub(super) fn partner(&self, peer: PeerIndex) -> Option<&Partner> {
        self.partners.get(&peer)
    }

    /// Which of `peer` and its partner has the younger session to send with now.
    pub(super) fn sender<'a>(
        &'a self,
        peer: &'a Arc<Peer>,
        now: Now,
    ) -> Option<(&'a Arc<Peer>, Arc<Session>)> {
        let own = peer.tunnel.session_to_send(now);
        // Where no key is about to change, this is all that pairs cost a packet.
        if self.partners.is_empty() {
            return own.map(|it| (peer, it));
        }
        let Some(partner) = self.partner(peer.index) else {
            return own.map(|it| (peer, it));
        };
        let other = partner.peer();
        let others = other.tunnel.session_to_send(now);
        let (Some(own), Some(others)) = (&own, &others) else {
            return own
                .map(|it| (peer, it))
                .or_else(|| others.map(|it| (other, it)));
        };
        // Of two born together, the successor's.
        let is_own = match partner {
            Partner::Predecessor(_) => others.born_milliseconds() <= own.born_milliseconds(),
            Partner::Successor(_) => others.born_milliseconds() < own.born_milliseconds(),
        };
        Some(if is_own {
            (peer, Arc::clone(own))
        } else {
            (other, Arc::clone(others))
        })
    }
}

impl Partner {
    pub(super) fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Predecessor(peer) | Self::Successor(peer) => peer,
        }
    }
}
