//! What both ends of a pair do: keep what the device should have, and go back when nothing is heard.

use std::time::{Duration, Instant};

use topology::report::PostQuantum;
use wireguard::PresharedKey;

use super::follower::Follower;
use super::leader::Leader;
use super::message::{Body, Held, Message, Nonce};
use super::secret::{Ends, Fingerprint};
use super::{Node, Report, View};
use crate::preshared::{Choice, Orders};

/// How long nothing may come back before what was agreed on is taken for lost at the other end. A
/// device that starts anew is back sooner, and a machine later.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// How long a device that takes no alternate secret is not asked to again.
const REFUSAL: Duration = Duration::from_secs(600);

pub(super) struct Pair {
    core: Core,
    role: Role,
}

enum Role {
    Leader(Leader),
    Follower(Follower),
}

/// What does not depend on who asks.
pub(super) struct Core {
    pub(super) view: View,
    pub(super) ends: Ends,
    pub(super) orders: Orders,
    /// Whether the alternate secret is one that both ends have left, so that it goes as soon as a
    /// session has the main one.
    pub(super) is_settling: bool,
    /// When this process agreed on the main secret, and between which keys.
    pub(super) agreed: Option<(Instant, Ends)>,
    pub(super) differs: bool,
    pub(super) renewal: Duration,
    is_admitted: bool,
    silent_since: Option<Instant>,
    /// Since when the device does not have what it should although it answers.
    unmet_since: Option<Instant>,
    /// The device takes no alternate secret, so that nothing can be agreed on for a while.
    refused_until: Option<Instant>,
    outbox: Vec<Vec<u8>>,
}

impl Pair {
    /// `None` as long as the device does not know the node.
    pub(super) fn adopt(view: &View, renewal: Duration, now: Instant) -> Option<Self> {
        let held = view.held.as_ref()?;
        let mut core = Core {
            ends: Ends::new([view.own_key, view.key]),
            orders: Orders::adopt(held, &view.bases),
            view: view.clone(),
            is_settling: false,
            agreed: None,
            differs: false,
            renewal,
            is_admitted: false,
            silent_since: None,
            unmet_since: None,
            refused_until: None,
            outbox: Vec::new(),
        };
        // An agent that starts ends nothing: between two such secrets a session has either.
        core.is_admitted = core.orders.alternate.is_some();
        core.see(now);
        let role = Role::of(&core, now);
        Some(Self { core, role })
    }

    pub(super) fn see(&mut self, view: &View, now: Instant) {
        let ends = Ends::new([view.own_key, view.key]);
        let is_other = self.core.ends != ends;
        if self.core.view.files.first() != view.files.first() {
            // What was agreed on stays until there is another, with the file's new content in it.
            self.core.agreed = None;
        }
        self.core.view = view.clone();
        self.core.ends = ends;
        if is_other {
            self.role = Role::of(&self.core, now);
        }
        if self.core.see(now) {
            self.role = Role::of(&self.core, now);
        }
        match &mut self.role {
            Role::Leader(leader) => leader.handle_view(&mut self.core, now),
            Role::Follower(follower) => follower.handle_view(&mut self.core),
        }
    }

    /// Returns whether the two have agreed on a secret by it.
    pub(super) fn handle(&mut self, message: Message, now: Instant) -> bool {
        if message.context != self.core.ends.fingerprint() {
            return false;
        }
        match &mut self.role {
            Role::Leader(leader) => leader.handle(message, &mut self.core, now),
            Role::Follower(follower) => follower.handle(message, &mut self.core, now),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.core.see(now) {
            self.role = Role::of(&self.core, now);
        }
        match &mut self.role {
            Role::Leader(leader) => leader.handle_timeout(&mut self.core, now),
            Role::Follower(follower) => follower.handle_timeout(&mut self.core, now),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let core = &self.core;
        let silence = core.silent_since.filter(|_| core.is_agreed());
        let unmet = core.unmet_since.filter(|_| core.orders.alternate.is_some());
        let patience = silence
            .into_iter()
            .chain(unmet)
            .min()
            .map(|it| it + SILENCE);
        let role = match &self.role {
            Role::Leader(leader) => leader.due(&self.core),
            Role::Follower(follower) => follower.due(&self.core),
        };
        [patience, role].into_iter().flatten().min()
    }

    pub(super) fn node(&self) -> &Node {
        &self.core.view.node
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.core.orders
    }

    pub(super) fn report(&self, now: Instant) -> Report {
        let is_unheard = self.core.refused_until.is_some()
            || match &self.role {
                Role::Leader(leader) => leader.is_unheard(),
                Role::Follower(follower) => follower.is_unheard(now),
            };
        let state = if self.core.is_admitted {
            PostQuantum::Established
        } else if is_unheard {
            PostQuantum::Unsupported
        } else {
            PostQuantum::Pending
        };
        Report {
            state,
            differs: self.core.differs,
        }
    }

    pub(super) fn take_outbox(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.core.outbox)
    }
}

impl Role {
    fn of(core: &Core, now: Instant) -> Self {
        if core.ends.is_led_by(core.view.own_key) {
            Self::Leader(Leader::new(now))
        } else {
            Self::Follower(Follower::new(now))
        }
    }
}

impl Core {
    /// Follows what is seen. Returns whether everything begins anew.
    fn see(&mut self, now: Instant) -> bool {
        let is_unmet = self.view.held.is_some() && !self.is_in_force();
        let is_silent_for_long = lasts(&mut self.silent_since, self.view.is_silent, now);
        let is_unmet_for_long = lasts(&mut self.unmet_since, is_unmet, now);
        self.refused_until = self.refused_until.filter(|it| now < *it);
        if is_silent_for_long && self.is_agreed() {
            self.fall_back();
            return true;
        }
        if is_unmet_for_long && self.orders.alternate.take().is_some() {
            self.refused_until = Some(now + REFUSAL);
            self.unmet_since = None;
            return true;
        }
        if self.is_settling && self.view.is_in_use && self.is_in_force() {
            self.orders.alternate = None;
            self.is_settling = false;
        }
        self.is_admitted = self.has_only_agreed()
            && (self.is_admitted || self.view.is_in_use && self.is_in_force());
        false
    }

    fn fall_back(&mut self) {
        let main = std::mem::replace(&mut self.orders.main, Choice::Base);
        self.orders.alternate = Some(main);
        self.is_settling = false;
        self.is_admitted = false;
        self.agreed = None;
    }

    /// Takes the alternate secret for the main one, and keeps that as the alternate.
    pub(super) fn swap(&mut self) {
        if let Some(alternate) = self.orders.alternate.take() {
            let main = std::mem::replace(&mut self.orders.main, alternate);
            self.orders.alternate = Some(main);
        }
    }

    pub(super) fn is_agreed(&self) -> bool {
        matches!(self.orders.main, Choice::Agreed(_))
    }

    /// Whether no session can have anything but what the two agreed on.
    fn has_only_agreed(&self) -> bool {
        self.is_agreed()
            && match &self.orders.alternate {
                None => true,
                Some(Choice::Agreed(it)) => !it.is_none(),
                Some(Choice::Base) => false,
            }
    }

    /// Whether the device has what it should. What files were before is no part of this.
    pub(super) fn is_in_force(&self) -> bool {
        let wanted = self.orders.resolve(&self.view.bases);
        let has_alternate = self.is_agreed() || self.orders.alternate.is_some();
        self.view.held.as_ref().is_some_and(|it| {
            it.main == wanted.main && (!has_alternate || it.alternate == wanted.alternate)
        })
    }

    /// Whether anything may be said: what is said is about what the device has.
    pub(super) fn may_speak(&self) -> bool {
        self.is_in_force()
            && self.refused_until.is_none()
            && !self.view.is_changing
            && !self.view.is_silent
    }

    pub(super) fn held(&self) -> Held {
        let of = |it: &Choice| self.ends.fingerprint_of(it.resolve(&self.view.bases));
        Held {
            main: of(&self.orders.main),
            alternate: self.orders.alternate.as_ref().map(of),
        }
    }

    pub(super) fn send(&mut self, nonce: Nonce, echo: Nonce, body: Body) -> Vec<u8> {
        let message = Message {
            context: self.ends.fingerprint(),
            nonce,
            echo,
            held: self.held(),
            body,
        };
        let bytes = message.to_bytes();
        self.outbox.push(bytes.clone());
        bytes
    }

    pub(super) fn send_again(&mut self, bytes: &[u8]) {
        self.outbox.push(bytes.to_vec());
    }

    /// Whether the two should agree on another secret.
    pub(super) fn wants_another(&self, now: Instant) -> bool {
        !self.is_agreed()
            || self
                .agreed
                .is_none_or(|(since, ends)| ends != self.ends || since + self.renewal <= now)
    }
}

/// Whether something holds for so long that it counts. `since` is kept for the next time.
fn lasts(since: &mut Option<Instant>, holds: bool, now: Instant) -> bool {
    if !holds {
        *since = None;
        return false;
    }
    *since.get_or_insert(now) + SILENCE <= now
}

/// The first of `known` that is one of `named`.
pub(super) fn common<'a>(
    ends: &Ends,
    known: &'a [PresharedKey],
    named: &[Fingerprint],
) -> Option<&'a PresharedKey> {
    known
        .iter()
        .find(|it| named.contains(&ends.fingerprint_of(it)))
}
