//! Signs messages and checks signatures with keys that two servers share (RFC 8945).

mod conversation;
mod file;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

use crate::wire::name::Shown;
use crate::wire::query::HEADER_BYTES;

pub use conversation::{Conversation, Unbelievable};
pub use file::{KeyFileError, read_keys};
use record::{Record, Signature};

/// A secret that messages are signed with.
#[derive(Clone)]
pub struct Key {
    /// In lower case, as it travels.
    name: Box<[u8]>,
    algorithm: Algorithm,
    secret: hmac::Key,
}

/// How MACs are computed. SHA-1 is here for peers that have nothing newer: as a MAC it still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// The keys that are known, by name.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<Box<[u8]>, Arc<Key>>);

/// Why a signed request is not served, and what is told to whom sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The record is none.
    Malformed,
    /// `BADKEY` or `BADSIG`: told without a signature, since there is nothing to sign with.
    Unproven { error: u16, record: Unsigned },
}

/// What comes back of a signature that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    name: Vec<u8>,
    algorithm: Vec<u8>,
    seconds: u64,
    fudge: u16,
    id: [u8; 2],
}

/// The codes of RFC 8945 section 3.
pub const BAD_SIGNATURE: u16 = 16;
pub const BAD_KEY: u16 = 17;
pub const BAD_TIME: u16 = 18;
pub const BAD_TRUNCATION: u16 = 22;

/// How far clocks may be apart, in seconds (RFC 8945 section 10 recommends so much).
const FUDGE: u16 = 300;

impl Key {
    /// `name` as it travels.
    pub fn new(name: &[u8], algorithm: Algorithm, secret: &[u8]) -> Self {
        Self {
            name: name.to_ascii_lowercase().into_boxed_slice(),
            algorithm,
            secret: hmac::Key::new(algorithm.hmac(), secret),
        }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} ({})",
            Shown(&self.name),
            self.algorithm.text()
        )
    }
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// As key files have it (RFC 8945 section 6).
    fn text(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// As a name that travels.
    fn name(self) -> Vec<u8> {
        let text = self.text();
        let length = u8::try_from(text.len()).expect("a short word");
        [&[length], text.as_bytes(), &[0]].concat()
    }
}

impl Keys {
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let named = keys.into_iter().map(|it| (it.name.clone(), Arc::new(it)));
        Self(named.collect())
    }

    /// The key with this name, given as it travels.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Key>> {
        self.0.get(&*name.to_ascii_lowercase())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a request whose TSIG record begins at `at`, in seconds since 1970. The answer is signed by
    /// the conversation that this begins, also one that says the time is wrong.
    ///
    /// # Errors
    ///
    /// Nothing proves who sent it.
    pub fn check(&self, request: &[u8], at: usize, now: u64) -> Result<Conversation, Refusal> {
        let signature = Signature::read(request, at).ok_or(Refusal::Malformed)?;
        let unproven = |error| Refusal::Unproven {
            error,
            record: signature.unsigned(),
        };
        let key = self
            .find(signature.record.name)
            .ok_or_else(|| unproven(BAD_KEY))?;
        if !signature
            .record
            .algorithm
            .eq_ignore_ascii_case(&key.algorithm.name())
        {
            return Err(unproven(BAD_KEY));
        }
        let full = key.algorithm.hmac().tag_len();
        let length = signature.record.mac.len();
        // RFC 8945 section 5.2.2.1: shorter ones prove too little, longer ones do not exist.
        if full < length || length < (full / 2).max(10) {
            return Err(Refusal::Malformed);
        }
        let tag = digest(
            key,
            &[&signature.message(request), &signature.record.variables()],
        );
        if !is_same(&tag.as_ref()[..length], signature.record.mac) {
            return Err(unproven(BAD_SIGNATURE));
        }
        let error = match () {
            () if !signature.is_timely(now) => BAD_TIME,
            // Nobody needs truncated ones any more, so that they are not taken.
            () if length < full => BAD_TRUNCATION,
            () => 0,
        };
        Ok(Conversation::answering(key, &signature, error))
    }
}

/// The request without its signature, which begins at `at`, as it was before it was signed.
pub fn stripped(message: &[u8], at: usize) -> Vec<u8> {
    let mut stripped = message[..at].to_vec();
    let count = u16::from_be_bytes([stripped[10], stripped[11]]);
    stripped[10..12].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
    stripped
}

impl Unsigned {
    /// Adds the record to the answer, which says `NOTAUTH`.
    pub fn add(&self, response: &mut Vec<u8>, error: u16) {
        let record = Record {
            name: &self.name,
            algorithm: &self.algorithm,
            seconds: self.seconds,
            fudge: self.fudge,
            mac: &[],
            id: self.id,
            error,
            other: &[],
        };
        record.add(response);
    }
}

fn digest(key: &Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&key.secret);
    parts.iter().for_each(|it| context.update(it));
    context.sign()
}

/// In a time that does not tell where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// How many octets a signature of this key takes in a message, with what it may have to say of the time.
fn record_bytes(key: &Key) -> usize {
    let fixed = 10 + 8 + 2 + 4 + 2 + 6;
    key.name.len() + key.algorithm.name().len() + key.algorithm.hmac().tag_len() + fixed
}

/// A message cannot be shorter.
fn has_header(message: &[u8]) -> bool {
    HEADER_BYTES <= message.len()
}

#[cfg(test)]
mod tests;
