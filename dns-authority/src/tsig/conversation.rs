//! A request and its answers, each of which signs the one before (RFC 8945 section 5.3).

use std::sync::Arc;

use super::record::{Record, Signature, counted};
use super::{BAD_TIME, FUDGE, Key, digest, has_header, is_same, record_bytes};
use crate::wire::whole;

/// One side of a signed request with its answers, of which a transfer has many.
#[derive(Clone, Debug)]
pub struct Conversation {
    key: Arc<Key>,
    /// Of the message that was signed last.
    mac: Vec<u8>,
    /// Messages since then, whose signature is to come.
    pub(super) unsigned: Vec<u8>,
    unsigned_count: usize,
    is_first: bool,
    /// What is wrong with the request; 0 if nothing.
    error: u16,
    /// When the request was signed, by its own clock.
    asked_at: u64,
}

/// An answer whose signature does not prove that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    #[error("the answer is not signed")]
    Unsigned,
    #[error(
        "the peer does not accept the key (error {0}); check its name, algorithm and secret on both sides"
    )]
    Refused(u16),
    #[error("the answer's signature does not match")]
    Wrong,
    #[error("the answer was signed at another time; check the clocks of both machines")]
    Untimely,
}

/// So many messages of a stream may pass before one is signed (RFC 8945 section 5.3.1).
const UNSIGNED_MAX: usize = 99;

impl Conversation {
    /// Signs a request; its answers are [`hear`](Self::hear)d.
    pub fn asking(key: &Arc<Key>, request: &mut Vec<u8>, now: u64) -> Self {
        let mut conversation = Self {
            key: Arc::clone(key),
            mac: Vec::new(),
            unsigned: Vec::new(),
            unsigned_count: 0,
            is_first: true,
            error: 0,
            asked_at: now,
        };
        conversation.add(request, now, &[]);
        conversation.is_first = true;
        conversation
    }

    /// Answers a request.
    pub(super) fn answering(key: &Arc<Key>, signature: &Signature<'_>, error: u16) -> Self {
        Self {
            key: Arc::clone(key),
            mac: signature.record.mac.to_vec(),
            unsigned: Vec::new(),
            unsigned_count: 0,
            is_first: true,
            error,
            asked_at: signature.record.seconds,
        }
    }

    /// The key's name in lower case, as it travels.
    pub fn key_name(&self) -> &[u8] {
        self.key.name()
    }

    /// Why the request is answered `NOTAUTH` although its signature is right; 0 if it is not.
    pub fn error(&self) -> u16 {
        self.error
    }

    /// Octets that each message needs for its signature.
    pub fn record_bytes(&self) -> usize {
        record_bytes(&self.key)
    }

    /// Signs the next answer, in seconds since 1970.
    pub fn sign(&mut self, response: &mut Vec<u8>, now: u64) {
        if self.error == BAD_TIME {
            // The client learns our time, and that it is ours, by its own (section 5.2.3).
            let [_, _, ours @ ..] = now.to_be_bytes();
            return self.add(response, self.asked_at, &ours);
        }
        self.add(response, now, &[]);
    }

    fn add(&mut self, message: &mut Vec<u8>, seconds: u64, other: &[u8]) {
        let algorithm = self.key.algorithm.name();
        let key = Arc::clone(&self.key);
        let mut record = Record {
            name: key.name(),
            algorithm: &algorithm,
            seconds,
            fudge: FUDGE,
            mac: &[],
            id: [message[0], message[1]],
            error: self.error,
            other,
        };
        let tag = self.tag(message, &record);
        record.mac = tag.as_ref();
        record.add(message);
        self.mac = tag.as_ref().to_vec();
        self.unsigned.clear();
        self.is_first = false;
    }

    /// The MAC of the next message, whose record this is.
    fn tag(&self, message: &[u8], record: &Record<'_>) -> aws_lc_rs::hmac::Tag {
        // The first message of all has none before it.
        let before = match self.mac.is_empty() {
            true => Vec::new(),
            false => counted(&self.mac),
        };
        let variables = match self.is_first {
            true => record.variables(),
            false => record.timers().to_vec(),
        };
        digest(&self.key, &[&before, &self.unsigned, message, &variables])
    }

    /// Checks the next answer, whose TSIG record begins at `at`.
    ///
    /// # Errors
    ///
    /// It is not what the peer sent, or not the next. Nothing of the stream may be believed then.
    pub fn hear(&mut self, answer: &[u8], at: Option<usize>, now: u64) -> Result<(), Unbelievable> {
        if !has_header(answer) {
            return Err(Unbelievable::Wrong);
        }
        let Some(at) = at else {
            self.unsigned_count += 1;
            if self.is_first || UNSIGNED_MAX < self.unsigned_count {
                return Err(Unbelievable::Unsigned);
            }
            self.unsigned.extend_from_slice(answer);
            return Ok(());
        };
        let signature = Signature::read(answer, at).ok_or(Unbelievable::Wrong)?;
        if signature.record.mac.is_empty() && signature.record.error != 0 {
            return Err(Unbelievable::Refused(signature.record.error));
        }
        let tag = self.tag(&signature.message(answer), &signature.record);
        let is_ours = signature.record.name.eq_ignore_ascii_case(self.key.name());
        if !is_ours || !is_same(tag.as_ref(), signature.record.mac) {
            return Err(Unbelievable::Wrong);
        }
        if signature.record.error == BAD_TIME || !signature.is_timely(now) {
            return Err(Unbelievable::Untimely);
        }
        if signature.record.error != 0 {
            return Err(Unbelievable::Refused(signature.record.error));
        }
        self.mac = signature.record.mac.to_vec();
        self.unsigned.clear();
        self.unsigned_count = 0;
        self.is_first = false;
        Ok(())
    }

    /// Whether the stream may end here: its last message must be signed.
    pub fn is_complete(&self) -> bool {
        !self.is_first && self.unsigned_count == 0
    }
}

impl Conversation {
    /// [`hear`](Self::hear)s an answer whose records were not read yet.
    ///
    /// # Errors
    ///
    /// It is malformed, or not believable.
    pub fn hear_whole(&mut self, answer: &[u8], now: u64) -> Result<whole::Whole, Unbelievable> {
        let whole = whole::read(answer).map_err(|_| Unbelievable::Wrong)?;
        self.hear(answer, whole.signature, now)?;
        Ok(whole)
    }
}
