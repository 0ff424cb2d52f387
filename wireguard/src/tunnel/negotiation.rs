//! One peer's handshakes: when to begin, repeat and give up, and what to answer.

use std::collections::VecDeque;
use std::sync::Arc;

use super::secrets::Secrets;
use super::{Now, SESSION_BITS};
use crate::cookie::{COOKIE_MILLISECONDS, Cookie, MacKeys};
use crate::message::{
    self, CookieReply, INITIATION_BYTES, Initiation, MAC_BYTES, RESPONSE_BYTES, Response,
};
use crate::noise::{self, Claim, Initiated, Timestamp};
use crate::session::Session;
use crate::stamper::Stamper;
use crate::uapi::UnixTime;
use crate::{PresharedKey, PrivateKey, PublicKey};

/// How long until an initiation that got no answer is repeated, in milliseconds: a lost first one
/// costs a second, and a peer that is away is asked every five, as WireGuard asks it.
const RETRY_MILLISECONDS_MIN: u64 = 1_000;
const RETRY_MILLISECONDS_MAX: u64 = 5_000;

/// Added to each wait by chance, so that two ends do not go on beginning at the same moment.
const JITTER_MILLISECONDS_MAX: u64 = 333;

/// How long to go on without an answer.
const ATTEMPT_MILLISECONDS: u64 = 90_000;

/// A peer begins no more often than this; more is a flood, whoever sends it.
const INITIATION_INTERVAL_MILLISECONDS: u64 = 20;

/// Frames that wait for a session: enough for the beginning of many connections, and no more memory
/// than many peers can have.
const WAITING_MAX: usize = 128;
const WAITING_BYTES_MAX: usize = 1 << 18;

/// Our own keys, and what follows from them.
pub(crate) struct Identity {
    pub(crate) private_key: PrivateKey,
    pub(crate) public_key: PublicKey,
    pub(crate) mac_keys: MacKeys,
}

impl Identity {
    pub(crate) fn new(private_key: PrivateKey) -> Self {
        let public_key = private_key.public_key();
        Self {
            mac_keys: MacKeys::of(&public_key),
            private_key,
            public_key,
        }
    }
}

pub(super) struct Negotiation {
    peer: PublicKey,
    mac_keys: MacKeys,
    index: u32,
    identity: Option<Arc<Identity>>,
    secrets: Secrets,
    /// The handshake that we began.
    pending: Option<Pending>,
    /// A handshake should begin as soon as somebody looks.
    is_wanted: bool,
    cookie: Option<(Cookie, u64)>,
    /// The MAC of our last handshake message, which a cookie answers.
    last_mac: [u8; MAC_BYTES],
    greatest_timestamp: Timestamp,
    last_initiation_milliseconds: Option<u64>,
    last_handshake: Option<UnixTime>,
    waiting: VecDeque<Box<[u8]>>,
    waiting_bytes: usize,
    /// Frames that waited in vain, since somebody asked.
    given_up: u64,
    sessions: u8,
}

struct Pending {
    /// `None` before the first message is sent.
    sent: Option<(Initiated, u32)>,
    began_milliseconds: u64,
    next_try_milliseconds: u64,
    pause_milliseconds: u64,
}

impl Negotiation {
    pub(super) fn new(peer: PublicKey, index: u32) -> Self {
        Self {
            peer,
            mac_keys: MacKeys::of(&peer),
            index,
            identity: None,
            secrets: Secrets::default(),
            pending: None,
            is_wanted: false,
            cookie: None,
            last_mac: [0; MAC_BYTES],
            greatest_timestamp: Timestamp::default(),
            last_initiation_milliseconds: None,
            last_handshake: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            given_up: 0,
            sessions: rand::random(),
        }
    }

    pub(super) fn set_identity(&mut self, identity: Option<Arc<Identity>>, is_going_on: bool) {
        self.identity = identity;
        self.start_anew(is_going_on);
    }

    pub(super) fn set_preshared_key(&mut self, key: Option<PresharedKey>, is_going_on: bool) {
        if self.secrets.set_preshared(key) {
            self.start_anew(is_going_on);
        }
    }

    /// A handshake that is under way may end with it.
    pub(super) fn set_alternate_preshared_key(&mut self, key: Option<PresharedKey>) {
        self.secrets.set_alternate(key);
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(super) fn last_handshake(&self) -> Option<UnixTime> {
        self.last_handshake
    }

    /// A handshake under former secrets leads nowhere; one that was under way begins again.
    fn start_anew(&mut self, is_going_on: bool) {
        self.is_wanted |= is_going_on || self.pending.is_some();
        self.pending = None;
    }

    /// How many frames had to go for this one.
    pub(super) fn wait(&mut self, frame: &[u8]) -> u64 {
        let mut overflowed = 0;
        while WAITING_MAX <= self.waiting.len()
            || !self.waiting.is_empty() && WAITING_BYTES_MAX < self.waiting_bytes + frame.len()
        {
            let oldest = self.waiting.pop_front();
            self.waiting_bytes -= oldest.map_or(0, |it| it.len());
            overflowed += 1;
        }
        self.waiting_bytes += frame.len();
        self.waiting.push_back(frame.into());
        overflowed
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn waited(&mut self) -> Vec<Box<[u8]>> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting).into()
    }

    pub(super) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Asks for a handshake, which goes on being asked for until there is one or time is up.
    pub(super) fn want(&mut self, now: Now) {
        self.is_wanted = false;
        self.pending.get_or_insert(Pending {
            sent: None,
            began_milliseconds: now.milliseconds,
            next_try_milliseconds: now.milliseconds,
            pause_milliseconds: RETRY_MILLISECONDS_MIN,
        });
    }

    /// Whether an initiation is due; gives up on a peer that did not answer for too long.
    pub(super) fn is_due(&mut self, now: Now) -> bool {
        let Some(pending) = &self.pending else {
            return false;
        };
        if pending.began_milliseconds + ATTEMPT_MILLISECONDS <= now.milliseconds {
            tracing::debug!(peer = %self.peer, "no answer to the handshake; giving up until there is traffic");
            self.pending = None;
            self.given_up += self.waited().len() as u64;
            return false;
        }
        pending.next_try_milliseconds <= now.milliseconds
    }

    /// The next initiation, if it is time for one.
    pub(super) fn initiate(
        &mut self,
        now: Now,
        stamper: &Stamper,
    ) -> Option<[u8; INITIATION_BYTES]> {
        let identity = Arc::clone(self.identity.as_ref()?);
        self.want(now);
        if !self.is_due(now) {
            return None;
        }
        let local_index = self.local_index();
        let (initiated, handshake) =
            noise::initiate(&identity.private_key, &self.peer, stamper.stamp(now.unix))?;
        let mut message = message::initiation(local_index, &handshake);
        self.sign(&mut message, now);

        let pending = self.pending.as_mut()?;
        pending.sent = Some((initiated, local_index));
        let jitter = rand::random_range(0..=JITTER_MILLISECONDS_MAX);
        pending.next_try_milliseconds = now.milliseconds + pending.pause_milliseconds + jitter;
        pending.pause_milliseconds = (pending.pause_milliseconds * 2).min(RETRY_MILLISECONDS_MAX);
        Some(message)
    }

    pub(super) fn answer(
        &mut self,
        claim: Claim,
        message: Initiation<'_>,
        now: Now,
    ) -> Option<([u8; RESPONSE_BYTES], Session)> {
        let is_flood = self
            .last_initiation_milliseconds
            .is_some_and(|it| now.milliseconds < it + INITIATION_INTERVAL_MILLISECONDS);
        if is_flood || claim.timestamp <= self.greatest_timestamp {
            return None;
        }
        self.greatest_timestamp = claim.timestamp;
        self.last_initiation_milliseconds = Some(now.milliseconds);

        let (handshake, keys) = claim.respond(self.secrets.preshared())?;
        self.is_wanted |= self.secrets.offer();
        let local_index = self.local_index();
        let mut response = message::response(local_index, message.sender, &handshake);
        self.sign(&mut response, now);
        let session = Session::new(&keys, local_index, message.sender, false, now.milliseconds);
        Some((response, session))
    }

    pub(super) fn finish(&mut self, message: Response<'_>, now: Now) -> Option<Session> {
        let (initiated, local_index) = self.pending.as_mut()?.sent.as_mut()?;
        if *local_index != message.receiver {
            return None;
        }
        let keys = self.secrets.finish(initiated, message)?;
        let session = Session::new(
            &keys,
            message.receiver,
            message.sender,
            true,
            now.milliseconds,
        );
        self.pending = None;
        self.last_handshake = Some(now.unix);
        Some(session)
    }

    pub(super) fn handle_confirmed(&mut self, now: Now) {
        self.secrets.handle_confirmed();
        self.pending = None;
        self.last_handshake = Some(now.unix);
    }

    pub(super) fn take_cookie(&mut self, reply: CookieReply<'_>, now: Now) -> bool {
        let cookie = self.mac_keys.open(reply, &self.last_mac);
        let is_genuine = cookie.is_some();
        if let Some(cookie) = cookie {
            self.cookie = Some((cookie, now.milliseconds));
        }
        is_genuine
    }

    fn sign(&mut self, message: &mut [u8], now: Now) {
        self.cookie = self
            .cookie
            .filter(|(_, since)| now.milliseconds < since + COOKIE_MILLISECONDS);
        let cookie = self.cookie.map(|(cookie, _)| cookie);
        self.last_mac = self.mac_keys.sign(message, cookie.as_ref());
    }

    /// A session index that none of the last sessions had.
    fn local_index(&mut self) -> u32 {
        self.sessions = self.sessions.wrapping_add(1);
        self.index << SESSION_BITS | u32::from(self.sessions)
    }
}
