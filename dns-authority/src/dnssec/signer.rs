//! Signs sets of records with a zone's keys, each set once as long as it stays the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::algorithm::Failed;
use super::cache::{Cache, Signature};
use super::canonical::{self, Records};
use super::denial::Denial;
use super::keys::{Keys, Pair};
use super::records::Covers;
use crate::wire::kind;

/// Signs for one zone.
#[derive(Clone, Debug)]
pub struct Signer {
    keys: Keys,
    /// What signs all but the zone's keys.
    zone: Arc<Pair>,
    /// What signs the zone's keys.
    entry: Vec<Arc<Pair>>,
    desk: Arc<Desk>,
}

/// What all signers share: the time, and what was signed.
#[derive(Debug)]
pub struct Desk {
    /// In seconds since 1970. Told, so that no answer has to ask for it.
    now: AtomicU64,
    /// Of sets that the zones have.
    lasting: Cache,
    /// Of sets made for one query, which anybody can have made without end: they take nobody else's
    /// place.
    passing: Cache,
}

/// Of about 300 octets each.
const LASTING_MAX: usize = 100_000;
/// Clients ask again for what is not there, but not for long.
const PASSING_MAX: usize = 10_000;

/// How long signatures are valid: long enough to find out over holidays that none are made any more, and
/// for the longest times to live. In seconds, as all that follows.
const VALIDITY: u64 = 14 * DAY;
/// They are made anew when half of it is over.
const USE: u64 = 7 * DAY;
/// Those that were made together are not made anew together.
const JITTER: u64 = DAY;
/// Clocks of validators may be so far behind (or ours ahead).
const BACKDATE: u64 = 3600;
const DAY: u64 = 24 * 3600;

/// Whether a set is one of the zone's, or made for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Lasting,
    Passing,
}

impl Desk {
    /// `now` is in seconds since 1970.
    pub fn new(now: u64) -> Self {
        Self {
            now: AtomicU64::new(now),
            lasting: Cache::new(LASTING_MAX),
            passing: Cache::new(PASSING_MAX),
        }
    }

    /// Tells the time, in seconds since 1970.
    pub fn tell(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Signer {
    /// `None` if there is no key to sign with.
    pub fn new(keys: &Keys, desk: Arc<Desk>) -> Option<Self> {
        Some(Self {
            keys: keys.clone(),
            zone: Arc::clone(&keys.signing()?.pair),
            entry: keys.entry().map(|it| Arc::clone(&it.pair)).collect(),
            desk,
        })
    }

    pub fn denial(&self) -> Denial {
        self.keys.denial
    }

    /// All keys of the zone.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Calls `with` with the data of each RRSIG record of a set. `owner` is in lower case, a wildcard if
    /// the set was found by one; `ttl` is in seconds.
    ///
    /// # Errors
    ///
    /// The cryptographic library failed.
    pub fn sign(
        &self,
        (owner, kind, ttl): (&[u8], u16, u32),
        records: &mut Records,
        origin: Origin,
        mut with: impl FnMut(Arc<[u8]>),
    ) -> Result<(), Failed> {
        let is_of_keys = matches!(kind, kind::DNSKEY | kind::CDS | kind::CDNSKEY);
        let pairs = if is_of_keys {
            &self.entry[..]
        } else {
            std::slice::from_ref(&self.zone)
        };
        for pair in pairs {
            with(self.sign_with(pair, (owner, kind, ttl), records, origin)?);
        }
        Ok(())
    }

    fn sign_with(
        &self,
        pair: &Pair,
        (owner, kind, ttl): (&[u8], u16, u32),
        records: &mut Records,
        origin: Origin,
    ) -> Result<Arc<[u8]>, Failed> {
        // The key, and behind it what is signed.
        let mut covered = pair.dnskey.clone();
        records.write(owner, kind, ttl, &mut covered);
        let cache = match origin {
            Origin::Lasting => &self.desk.lasting,
            Origin::Passing => &self.desk.passing,
        };
        let now = self.desk.now();
        if let Some(known) = cache.get(&covered, now) {
            return Ok(known);
        }
        let jitter = jitter(&covered);
        let covers = Covers {
            kind,
            algorithm: pair.private.algorithm(),
            labels: canonical::labels(owner),
            ttl,
            expiration: now + VALIDITY - jitter,
            inception: now.saturating_sub(BACKDATE),
            tag: pair.tag,
            signer: &self.keys.origin,
        };
        let mut data = Vec::with_capacity(covers.length());
        covers.write(&mut data);
        let message = [&data[..], &covered[pair.dnskey.len()..]].concat();
        data.extend(pair.private.sign(&message)?);
        let data: Arc<[u8]> = data.into();
        let signature = Signature {
            data: Arc::clone(&data),
            // A clock that was put back must not give out what begins later.
            from: covers.inception,
            until: now + USE - jitter,
        };
        cache.put(&covered, signature);
        Ok(data)
    }
}

/// In seconds, by what is signed: FNV-1a, for nothing but to spread.
fn jitter(covered: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    covered.iter().fold(0xcbf2_9ce4_8422_2325, step) % JITTER
}

#[cfg(test)]
mod tests;
