//! Decides which WireGuard key this node has, and when another one takes its place: made before the
//! old one breaks, so that no packet is lost.
//!
//! ```text
//!            the device has a key, or nobody gives it one
//!   Missing ──────────────────────────────────────────────▶ Steady ◀───────────────────┐
//!                                          asked, or old enough │     every tunnel has a │
//!                                                               ▼  session of it, or     │
//!                                                           Announced   DRAIN is over    │
//!                    everybody knows of the next key for OVERLAP │                       │
//!                                                               ▼                       │
//!                                                           Switched ───────────────────┘
//! ```
//!
//! Each step is on disk before it is in force, so that a kill at any moment leaves a key that the
//! others accept: in `Announced` the old one, from `Switched` on the new one.

use std::time::{Duration, Instant};

use topology::report::Problem;
use wireguard::uapi::DeviceState;
use wireguard::{PrivateKey, PublicKey};

use crate::desired::{Desired, Identity, OwnNode};

/// How long the next key is in every cluster's reach before it is used. A connected mirror needs
/// milliseconds, an agent that is being restarted seconds.
pub const OVERLAP: Duration = Duration::from_secs(30);

/// How long the old key stays announced for peers that have no session with the new one: idle ones
/// make it within a keepalive, and those that are away learn the new key when they come back.
pub const DRAIN: Duration = Duration::from_secs(60);

/// How long a device without a key is left to whoever may be about to give it the key that the Node
/// announces.
const PATIENCE: Duration = Duration::from_secs(10);

/// The node's key over time.
#[derive(Debug)]
pub struct Keys {
    phase: Phase,
    rekey_after: Option<Duration>,
    is_asked: bool,
}

#[derive(Debug)]
enum Phase {
    Missing {
        since: Instant,
    },
    Steady {
        current: PrivateKey,
        made_unix_milliseconds: u64,
    },
    Announced {
        current: PrivateKey,
        next: PrivateKey,
        /// Since when everybody could know of the next key, without a break.
        heard: Option<Instant>,
    },
    Switched {
        current: PrivateKey,
        made_unix_milliseconds: u64,
        previous: PublicKey,
        at: Instant,
        at_unix_milliseconds: u64,
    },
}

/// What was kept on disk.
#[derive(Debug, Default)]
pub struct Kept {
    pub current: Option<PrivateKey>,
    /// When the current key was made, in milliseconds since 1970.
    pub made_unix_milliseconds: u64,
    pub next: Option<PrivateKey>,
}

/// What is seen when a step is decided.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// `None` while it does not answer.
    pub device: Option<&'a DeviceState>,
    /// What the mesh announces of this node.
    pub own: Option<&'a OwnNode>,
    /// Whether the own store and every peered cluster are in reach, so that they hear what is announced.
    pub is_heard_everywhere: bool,
    /// Whether no other node's key is changing that comes before ours, see [`is_in_turn`].
    pub is_in_turn: bool,
    pub now: Instant,
    pub now_unix_milliseconds: u64,
}

/// What to do next: on disk first, then [`Keys::take`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Keep this key as the node's. It is new, or the device's.
    Keep(PrivateKey),
    /// Keep this one as the next.
    Prepare(PrivateKey),
    /// The next key becomes the node's.
    Switch,
    /// The old key is announced no more. Nothing changes on disk.
    Settle,
}

/// What came of asking for another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    Begun,
    /// The node has no key yet that could be replaced.
    Missing,
    UnderWay,
}

impl Keys {
    /// Goes on where an earlier agent was killed. Without `rekey_after` a key is replaced only when
    /// somebody asks for it.
    pub fn new(kept: Kept, rekey_after: Option<Duration>, now: Instant) -> Self {
        let phase = match (kept.current, kept.next) {
            (None, _) => Phase::Missing { since: now },
            (Some(current), None) => Phase::Steady {
                current,
                made_unix_milliseconds: kept.made_unix_milliseconds,
            },
            (Some(current), Some(next)) => Phase::Announced {
                current,
                next,
                heard: None,
            },
        };
        Self {
            phase,
            rekey_after,
            is_asked: false,
        }
    }

    /// The key that the device should have; `None` as long as it is left to others.
    pub fn current(&self) -> Option<&PrivateKey> {
        match &self.phase {
            Phase::Missing { .. } => None,
            Phase::Steady { current, .. }
            | Phase::Announced { current, .. }
            | Phase::Switched { current, .. } => Some(current),
        }
    }

    /// The keys that others should accept: the one they reach the node by, and the one that is about
    /// to take its place, or has done so.
    pub fn announced(&self) -> Option<(PublicKey, Option<PublicKey>)> {
        match &self.phase {
            Phase::Missing { .. } => None,
            Phase::Steady { current, .. } => Some((current.public_key(), None)),
            Phase::Announced { current, next, .. } => {
                Some((current.public_key(), Some(next.public_key())))
            }
            Phase::Switched {
                current, previous, ..
            } => Some((*previous, Some(current.public_key()))),
        }
    }

    /// Wants another key now.
    pub fn ask(&mut self) -> Asked {
        match self.phase {
            Phase::Missing { .. } => Asked::Missing,
            Phase::Steady { .. } if !self.is_asked => {
                self.is_asked = true;
                Asked::Begun
            }
            Phase::Steady { .. } | Phase::Announced { .. } | Phase::Switched { .. } => {
                Asked::UnderWay
            }
        }
    }

    /// What is to be done next, if anything. `fresh` makes a key.
    pub fn next_step(
        &mut self,
        sight: Sight<'_>,
        fresh: impl FnOnce() -> PrivateKey,
    ) -> Option<Step> {
        match &mut self.phase {
            Phase::Missing { since } => first_key(sight, *since, fresh),
            Phase::Steady {
                made_unix_milliseconds,
                ..
            } => {
                let age = sight
                    .now_unix_milliseconds
                    .saturating_sub(*made_unix_milliseconds);
                let is_old = self
                    .rekey_after
                    .is_some_and(|it| it <= Duration::from_millis(age));
                (self.is_asked || is_old).then(|| Step::Prepare(fresh()))
            }
            Phase::Announced {
                current,
                next,
                heard,
            } => {
                let names_both = sight.own.is_some_and(|it| {
                    it.public_key == Some(current.public_key())
                        && it.next_public_key == Some(next.public_key())
                });
                if !names_both || !sight.is_heard_everywhere {
                    *heard = None;
                    return None;
                }
                let since = *heard.get_or_insert(sight.now);
                (since + OVERLAP <= sight.now && sight.is_in_turn).then_some(Step::Switch)
            }
            Phase::Switched {
                at,
                at_unix_milliseconds,
                ..
            } => {
                let is_over = *at + DRAIN <= sight.now;
                let at = *at_unix_milliseconds;
                let is_met = sight.device.is_some_and(|it| is_met_by_all(it, at));
                (is_over || is_met).then_some(Step::Settle)
            }
        }
    }

    /// Takes a step that is on disk.
    pub fn take(&mut self, step: Step, now: Instant, now_unix_milliseconds: u64) {
        let phase = std::mem::replace(&mut self.phase, Phase::Missing { since: now });
        self.phase = match (step, phase) {
            (Step::Keep(current), _) => Phase::Steady {
                current,
                made_unix_milliseconds: now_unix_milliseconds,
            },
            (Step::Prepare(next), Phase::Steady { current, .. }) => {
                self.is_asked = false;
                Phase::Announced {
                    current,
                    next,
                    heard: None,
                }
            }
            (Step::Switch, Phase::Announced { current, next, .. }) => Phase::Switched {
                previous: current.public_key(),
                current: next,
                made_unix_milliseconds: now_unix_milliseconds,
                at: now,
                at_unix_milliseconds: now_unix_milliseconds,
            },
            (
                Step::Settle,
                Phase::Switched {
                    current,
                    made_unix_milliseconds,
                    ..
                },
            ) => Phase::Steady {
                current,
                made_unix_milliseconds,
            },
            // A step that does not follow from where we are.
            (Step::Prepare(_) | Step::Switch | Step::Settle, phase) => phase,
        };
    }

    /// What keeps the key from being used, or its successor from taking its place.
    pub fn problem(&self, own: Option<&OwnNode>) -> Option<Problem> {
        let announced = own.and_then(|it| it.public_key);
        match &self.phase {
            Phase::Missing { .. } => announced.map(|it| Problem {
                what: format!("the Node announces the WireGuard key {it}, which neither --wireguard-key nor the device has yet"),
                remedy: "give it to the device once (wg set … private-key FILE): the agent keeps it from then on; or take the annotation network.cilium.io/wg-pub-key from the Node, and the agent makes a key".to_owned(),
            }),
            Phase::Announced { current, .. } if announced.is_some_and(|it| it != current.public_key()) => Some(Problem {
                what: "the Node's annotation names another WireGuard key than the node has, so the next key cannot take its place".to_owned(),
                remedy: "take the annotation network.cilium.io/wg-pub-key from the Node: the agent announces its keys itself".to_owned(),
            }),
            Phase::Steady { .. } | Phase::Announced { .. } | Phase::Switched { .. } => None,
        }
    }
}

/// Whether this node's key may change now, as far as the keys of its peers are concerned.
///
/// Two ends that change theirs in the same moment would each call the other by its old key. So the
/// first of them by name goes first, unless another has begun already.
pub fn is_in_turn(identity: &Identity, desired: &Desired, device: Option<&DeviceState>) -> bool {
    let own = (&identity.cluster, &identity.node);
    let mut changing = desired
        .peers
        .iter()
        .filter(|(_, it)| it.successor_of.is_some());
    changing.all(|(key, peer)| {
        let state = device.and_then(|it| it.peers.get(key));
        let has_changed = state.is_some_and(|it| it.last_handshake.is_some());
        own < (&peer.cluster, &peer.node) && !has_changed
    })
}

/// The device's own key, if it has one. A key that the Node announces already may be about to come
/// from whoever started the device; any other is better made at once.
fn first_key(sight: Sight<'_>, since: Instant, fresh: impl FnOnce() -> PrivateKey) -> Option<Step> {
    if let Some(key) = sight.device.and_then(|it| it.private_key.clone()) {
        return Some(Step::Keep(key));
    }
    let own = sight.own?;
    let is_expected = own.public_key.is_some() && sight.now < since + PATIENCE;
    (!is_expected).then(|| Step::Keep(fresh()))
}

/// Whether every peer that there was a session with has one that began since then.
fn is_met_by_all(device: &DeviceState, unix_milliseconds: u64) -> bool {
    let mut handshakes = device.peers.values().filter_map(|it| it.last_handshake);
    handshakes.all(|it| {
        let milliseconds = it.seconds * 1_000 + u64::from(it.nanoseconds / 1_000_000);
        unix_milliseconds <= milliseconds
    })
}

#[cfg(test)]
mod tests;
