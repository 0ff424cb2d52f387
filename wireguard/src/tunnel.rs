//! One peer's tunnel: its sessions, where the peer is, and what is due to it.
//!
//! What every packet needs is read without a lock: the session, the endpoint and the marks of what
//! happened when. The handshake is behind a lock, as it is rare.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use crate::dropped::DropCause;
use crate::message::{CookieReply, INITIATION_BYTES, Initiation, RESPONSE_BYTES, Response};
use crate::noise::Claim;
use crate::session::Session;
use crate::stamper::Stamper;
use crate::uapi::{PeerState, UnixTime};
use crate::{PresharedKey, PublicKey};

mod activity;
mod drops;
mod former;
mod negotiation;
mod secrets;

pub(crate) use negotiation::Identity;

use activity::{Activity, Due};
use drops::Drops;
use former::Former;
use negotiation::Negotiation;

/// The time at which something happens, on both clocks that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Since some moment in the past; goes on while the machine sleeps, and never back. Not 0.
    pub(crate) milliseconds: u64,
    pub(crate) unix: UnixTime,
}

/// Where a peer is, and where it knows us to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// Our address that the peer sent to last, so that answers leave from there.
    pub(crate) source: Option<IpAddr>,
}

/// A tunnel to one peer.
pub(crate) struct Tunnel {
    /// What wants the peer's next handshake message is compared with it.
    public_key: PublicKey,
    endpoint: ArcSwapOption<Endpoint>,
    /// The session that we send with.
    current: ArcSwapOption<Session>,
    /// Those before, as long as something may come in under them.
    former: Former,
    /// One that we offered, until something under it proves that the peer has it.
    next: ArcSwapOption<Session>,
    activity: Activity,
    drops: Drops,
    /// In milliseconds; 0 for none.
    persistent_keepalive: AtomicU64,
    negotiation: Mutex<Negotiation>,
}

/// How many bits of a session index are the session's own.
pub(crate) const SESSION_BITS: u32 = 8;

/// A handshake message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) payload: Vec<u8>,
    pub(crate) to: Endpoint,
}

/// What genuine datagrams brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The peer has the session that we offered; what waited for one can go.
    pub(crate) is_confirmed: bool,
    /// The session is old, and [`initiate`](Tunnel::initiate) is due.
    pub(crate) is_old: bool,
}

/// What is due to a peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chores {
    pub(crate) initiation: Option<Reply>,
    /// An empty packet under the session.
    pub(crate) keepalive: bool,
}

impl Tunnel {
    /// `index` is the beginning of every session index that the peer addresses us by.
    pub(crate) fn new(public_key: PublicKey, index: u32) -> Self {
        Self {
            public_key,
            endpoint: ArcSwapOption::empty(),
            current: ArcSwapOption::empty(),
            former: Former::default(),
            next: ArcSwapOption::empty(),
            activity: Activity::default(),
            drops: Drops::default(),
            persistent_keepalive: AtomicU64::new(0),
            negotiation: Mutex::new(Negotiation::new(public_key, index)),
        }
    }

    /// Takes our own keys into use, or none. What peers still send under the sessions of the former
    /// key is taken; what we send waits for a session of the new one.
    pub(crate) fn set_identity(&self, identity: Option<Arc<Identity>>) {
        let mut negotiation = self.negotiation();
        let is_going_on = self.current.load().is_some();
        let is_gone = identity.is_none();
        negotiation.set_identity(identity, is_going_on);
        self.former.push(self.current.swap(None));
        self.next.store(None);
        if is_gone {
            self.former.clear();
        }
    }

    /// From the next handshake on; a session that there is goes on until both ends have the key.
    pub(crate) fn set_preshared_key(&self, key: Option<PresharedKey>) {
        let is_going_on = self.current.load().is_some();
        self.negotiation().set_preshared_key(key, is_going_on);
    }

    /// What a response to us may be made with instead; what others begin is answered without it.
    pub(crate) fn set_alternate_preshared_key(&self, key: Option<PresharedKey>) {
        self.negotiation().set_alternate_preshared_key(key);
    }

    pub(crate) fn set_endpoint(&self, address: SocketAddr) {
        let known = self.endpoint.load();
        if known.as_ref().is_none_or(|it| it.address != address) {
            self.follow(Endpoint {
                address,
                source: None,
            });
        }
    }

    /// `seconds` of 0 turns the persistent keepalive off.
    pub(crate) fn set_persistent_keepalive(&self, seconds: u16) {
        let milliseconds = u64::from(seconds) * 1_000;
        self.persistent_keepalive
            .store(milliseconds, Ordering::Relaxed);
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.public_key
    }

    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint.load().as_deref().copied()
    }

    /// Forgets our own address, as it is gone: the system chooses another.
    pub(crate) fn forget_source(&self) {
        if let Some(Endpoint { address, .. }) = self.endpoint() {
            self.follow(Endpoint {
                address,
                source: None,
            });
        }
    }

    /// The tunnel as `wg show` describes it, except for what the device keeps about the peer.
    pub(crate) fn state(&self) -> PeerState {
        let keepalive = self.persistent_keepalive.load(Ordering::Relaxed) / 1_000;
        let has_session = self.current.load().is_some();
        let mut negotiation = self.negotiation();
        self.drops
            .count(DropCause::Undeliverable, negotiation.take_given_up());
        let secrets = negotiation.secrets();
        PeerState {
            endpoint: self.endpoint().map(|it| it.address),
            preshared_key: secrets.preshared().cloned(),
            alternate_preshared_key: secrets.alternate().cloned(),
            preshared_key_in_use: has_session && secrets.is_preshared_in_use(),
            persistent_keepalive_seconds: keepalive.try_into().unwrap_or(u16::MAX),
            last_handshake: negotiation.last_handshake(),
            received_bytes: self.activity.received_bytes(),
            sent_bytes: self.activity.sent_bytes(),
            dropped: self.drops.by_cause(),
            ..PeerState::default()
        }
    }

    /// The session to send with now.
    pub(crate) fn session_to_send(&self, now: Now) -> Option<Arc<Session>> {
        let session = self.current.load_full()?;
        session.is_alive(now.milliseconds).then_some(session)
    }

    /// The session by which the peer addresses us.
    pub(crate) fn session_addressed(&self, local_index: u32, now: Now) -> Option<Arc<Session>> {
        [&self.current, &self.next]
            .into_iter()
            .chain(self.former.slots())
            .filter_map(|it| it.load_full())
            .find(|it| it.local_index == local_index && it.is_alive(now.milliseconds))
    }

    /// Follows datagrams that were sent under a session. The answer is whether
    /// [`initiate`](Self::initiate) is due.
    pub(crate) fn note_sent(
        &self,
        session: &Session,
        bytes: u64,
        has_packets: bool,
        now: Now,
    ) -> bool {
        self.activity.note_sent(bytes, has_packets, now);
        session.is_old_for_sending(now.milliseconds)
    }

    /// Follows genuine datagrams that came in under a session.
    pub(crate) fn note_received(
        &self,
        session: &Arc<Session>,
        bytes: u64,
        has_packets: bool,
        from: Endpoint,
        now: Now,
    ) -> Heard {
        self.activity.note_received(bytes, has_packets, now);
        self.follow(from);
        let is_old = session.is_old_for_receiving(now.milliseconds) && self.is_current(session);
        Heard {
            is_confirmed: self.is_next(session) && self.promote(session, now),
            is_old: is_old && self.activity.asks_once(session.local_index),
        }
    }

    /// Follows what went no further on its way from or to the peer.
    pub(crate) fn note_dropped(&self, cause: DropCause, packets: u64) {
        self.drops.count(cause, packets);
    }

    /// Keeps a frame until there is a session; the oldest go if there are too many, and how many those
    /// are is the answer.
    pub(crate) fn wait(&self, frame: &[u8]) -> u64 {
        let overflowed = self.negotiation().wait(frame);
        self.note_dropped(DropCause::Overflowed, overflowed);
        overflowed
    }

    /// The frames that waited, in order.
    pub(crate) fn waited(&self) -> Vec<Box<[u8]>> {
        self.negotiation().waited()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.negotiation().has_waiting()
    }

    /// Begins a handshake, unless one is on its way.
    pub(crate) fn initiate(&self, now: Now, stamper: &Stamper) -> Option<Reply> {
        let to = self.endpoint()?;
        let payload = self.negotiation().initiate(now, stamper)?;
        Some(self.handshake_message(payload.to_vec(), to, now))
    }

    /// Answers an initiation that names this peer. `None` if it is a replay or one too many.
    pub(crate) fn answer(
        &self,
        claim: Claim,
        message: Initiation<'_>,
        from: Endpoint,
        now: Now,
    ) -> Option<Reply> {
        let (payload, session) = self.negotiation().answer(claim, message, now)?;
        self.next.store(Some(Arc::new(session)));
        let length = INITIATION_BYTES as u64;
        self.activity.note_received(length, false, now);
        self.follow(from);
        Some(self.handshake_message(payload.to_vec(), from, now))
    }

    /// Takes a response. Afterwards something must be sent, be it empty: it confirms the session.
    pub(crate) fn finish(&self, message: Response<'_>, from: Endpoint, now: Now) -> bool {
        let mut negotiation = self.negotiation();
        let Some(session) = negotiation.finish(message, now) else {
            return false;
        };
        self.former.push(self.current.swap(Some(Arc::new(session))));
        // What the peer offered beside may be what it uses: it is done as well.
        self.former.push(self.next.swap(None));
        drop(negotiation);
        self.activity
            .note_received(RESPONSE_BYTES as u64, false, now);
        self.follow(from);
        tracing::debug!(peer = %self.public_key, "handshake complete");
        true
    }

    /// Takes a cookie, which goes with the next handshake message.
    pub(crate) fn take_cookie(&self, reply: CookieReply<'_>, now: Now) -> bool {
        self.negotiation().take_cookie(reply, now)
    }

    /// Finds out what is due. Call it every tenth of a second or so.
    pub(crate) fn tick(&self, now: Now, stamper: &Stamper) -> Chores {
        self.end_old_sessions(now);
        let persistent = self.persistent_keepalive.load(Ordering::Relaxed);
        let due = self.activity.due(persistent, now);
        let has_session = self.session_to_send(now).is_some();
        let wants_session =
            due == Some(Due::Handshake) || due == Some(Due::Keepalive) && !has_session;
        let mut negotiation = self.negotiation();
        if wants_session || negotiation.is_wanted() {
            negotiation.want(now);
        }
        let is_due = negotiation.is_due(now);
        drop(negotiation);
        let initiation = is_due.then(|| self.initiate(now, stamper)).flatten();
        Chores {
            initiation,
            keepalive: due == Some(Due::Keepalive) && has_session,
        }
    }

    fn end_old_sessions(&self, now: Now) {
        let slots = [&self.current, &self.next].into_iter();
        for slot in slots.chain(self.former.slots()) {
            let old = slot.load();
            if old
                .as_ref()
                .is_some_and(|it| !it.is_alive(now.milliseconds))
            {
                slot.compare_and_swap(&old, None);
            }
        }
    }

    fn is_next(&self, session: &Arc<Session>) -> bool {
        let next = self.next.load();
        next.as_ref().is_some_and(|it| Arc::ptr_eq(it, session))
    }

    fn is_current(&self, session: &Arc<Session>) -> bool {
        let current = self.current.load();
        current.as_ref().is_some_and(|it| Arc::ptr_eq(it, session))
    }

    /// The peer has the session that we offered.
    fn promote(&self, session: &Arc<Session>, now: Now) -> bool {
        let mut negotiation = self.negotiation();
        // Another thread may have been here.
        if !self.is_next(session) {
            return false;
        }
        negotiation.handle_confirmed(now);
        self.former
            .push(self.current.swap(Some(Arc::clone(session))));
        self.next.store(None);
        drop(negotiation);
        tracing::debug!(peer = %self.public_key, "handshake complete");
        true
    }

    /// Sends there from now on: where the peer's last genuine datagram came from, or as configured.
    fn follow(&self, endpoint: Endpoint) {
        let known = self.endpoint.load();
        if known.as_deref() != Some(&endpoint) {
            self.endpoint.store(Some(Arc::new(endpoint)));
        }
    }

    fn handshake_message(&self, payload: Vec<u8>, to: Endpoint, now: Now) -> Reply {
        self.activity.note_sent(payload.len() as u64, false, now);
        Reply { payload, to }
    }

    fn negotiation(&self) -> MutexGuard<'_, Negotiation> {
        // Whole between any two calls, so a panic elsewhere does not spoil it.
        self.negotiation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
