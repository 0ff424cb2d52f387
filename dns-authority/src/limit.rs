//! Decides whether an answer may go to where its query says it came from: those who send queries in
//! somebody else's name shall gain nothing by it.
//!
//! Every network of clients has a budget of answers per second, in a table of a fixed size. Beyond it, some
//! answers are cut to nothing, so that a resolver that is really there comes back over TCP or with a
//! cookie, and the rest are not sent.

use std::array;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foldhash::quality::FixedState;
use ipnet::IpNet;

/// How much is answered to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Per second and network of clients; at most [`PER_SECOND_MAX`].
    pub per_second: u32,
    /// One of so many answers beyond that is sent without content; 0 for none.
    pub slip: u32,
    /// Networks that are never limited.
    pub exempt: Vec<IpNet>,
}

/// What an answer says. Those that say no have smaller budgets of their own: real clients need few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// There are records.
    Yes,
    /// The name has none of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Anything else, such as a refusal.
    Error,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// Only its header and question, with the sign that it is not whole.
    Slip,
    Drop,
}

/// The budgets of all networks. Any number of threads may ask it at once.
#[derive(Debug)]
pub struct Limiter {
    rates: Rates,
    hash: FixedState,
    buckets: Box<[Bucket]>,
    start: Instant,
}

/// What a rate may be at most: the clock of budgets goes on by microseconds.
pub const PER_SECOND_MAX: u32 = 1 << 20;

/// A clock tick is about a microsecond.
const TICKS_PER_SECOND: u64 = 1 << 20;
/// A budget that was not used adds up for so long.
const BURST_TICKS: u64 = TICKS_PER_SECOND;
/// What an answer other than [`Tone::Yes`] has of the budget.
const PART: u64 = 4;
/// Networks that share a place in memory; each takes up to four slots.
const SLOTS: usize = 8;
/// Half a megabyte, for tens of thousands of networks at once; more would fall out of the processor's
/// cache.
const BUCKETS: usize = 1 << 13;
/// The lower bits of a slot are a time, the others tell networks apart.
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Another thread may be faster so many times.
const ATTEMPTS_MAX: usize = 4;
/// What counts as one network: the smallest that is routed, and what one site has.
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 56;

/// The slots of the networks whose hashes are alike: one line of the processor's cache.
///
/// A slot is the time at which its budget is whole again, after the tag of whose it is.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; SLOTS]);

impl Limiter {
    /// `seed` keeps attackers from choosing networks that share a place; nobody else may know it.
    pub fn new(rates: Rates, seed: u64, now: Instant) -> Self {
        Self {
            rates,
            hash: FixedState::with_seed(seed),
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            start: now,
        }
    }

    /// What becomes of an answer of `tone` to `client`, who may be anybody. `entropy` is any number.
    pub fn judge(&self, client: IpAddr, tone: Tone, now: Instant, entropy: u64) -> Verdict {
        let hash = self.hash.hash_one(network(client));
        let bucket = usize::try_from(hash).unwrap_or_default() & (BUCKETS - 1);
        let bucket = &self.buckets[bucket];
        let since = now.saturating_duration_since(self.start);
        // Above 2^28 seconds there is no year in which this runs.
        let ticks = since.as_secs() * TICKS_PER_SECOND + u64::from(since.subsec_nanos()) * 4 / 3815;
        let now = (ticks + BURST_TICKS) & TIME_MASK;
        let cost = TICKS_PER_SECOND / u64::from(self.rates.per_second.clamp(1, PER_SECOND_MAX));
        let tag = hash & !TIME_MASK;

        // Even the smallest budget is enough for one answer in a while.
        let part = (cost * PART).min(BURST_TICKS);
        let is_within_part = match tone {
            Tone::Yes => true,
            Tone::NoData => bucket.take(other(tag, 1), now, part),
            Tone::NoName => bucket.take(other(tag, 2), now, part),
            Tone::Error => bucket.take(other(tag, 3), now, part),
        };
        let is_within = is_within_part && bucket.take(tag, now, cost);
        if is_within || self.rates.exempt.iter().any(|it| it.contains(&client)) {
            Verdict::Send
        } else if self.rates.slip != 0 && entropy.is_multiple_of(self.rates.slip.into()) {
            Verdict::Slip
        } else {
            Verdict::Drop
        }
    }
}

impl Bucket {
    /// Takes `cost` from a budget, unless it is spent.
    fn take(&self, tag: u64, now: u64, cost: u64) -> bool {
        for _ in 0..ATTEMPTS_MAX {
            let slots: [u64; SLOTS] = array::from_fn(|it| self.0[it].load(Ordering::Relaxed));
            let mine = slots.iter().position(|it| it & !TIME_MASK == tag);
            // Who owes least loses least.
            let place = mine.or_else(|| (0..SLOTS).min_by_key(|it| slots[*it] & TIME_MASK));
            let place = place.unwrap_or_default();
            let whole_at = match mine {
                Some(_) => now.max(slots[place] & TIME_MASK),
                None => now,
            };
            if now + BURST_TICKS < whole_at + cost {
                return false;
            }
            let new = tag | (whole_at + cost) & TIME_MASK;
            let old = slots[place];
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            if self.0[place]
                .compare_exchange(old, new, success, failure)
                .is_ok()
            {
                return true;
            }
        }
        // So many at once are too many.
        false
    }
}

/// The tag of another budget of the same network.
fn other(tag: u64, budget: u64) -> u64 {
    tag ^ budget << TIME_BITS
}

/// The network that `client`, in its own family, shares budgets and places with, as a number.
pub fn network(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(it) => u128::from(it.to_bits() >> (u32::BITS - V4_BITS)),
        // Never equal to one of IPv4: those have few bits, and ::/56 is nobody's.
        IpAddr::V6(it) => it.to_bits() >> (u128::BITS - V6_BITS) << 64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests;
