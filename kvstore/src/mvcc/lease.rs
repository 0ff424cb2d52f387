//! Leases as a state machine: who has how long, and which keys die with it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::key_set::KeySet;
use super::refusal::Refusal;

/// Shorter leases are lengthened to this, as an etcd with default timing does.
pub const LEASE_TTL_SECONDS_MIN: i64 = 2;

/// etcd's own bound.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// ```text
/// grant ─▶ alive ─ keep_alive ─▶ alive
///            └─ revoked, or its time is over ─▶ gone, with its keys
/// ```
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    by_expiry: BTreeSet<(Instant, i64)>,
}

#[derive(Debug)]
struct Lease {
    ttl_seconds: i64,
    expiry: Instant,
    /// Each key knows its place, so that none has to be looked for.
    keys: Slab<Arc<[u8]>>,
    judged: Vec<Judged>,
}

/// Where a key stands among the keys of its lease: the place's number, counted from one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(NonZeroUsize);

/// How many keys of a lease are outside of some set, counted once and kept up to date.
#[derive(Debug)]
struct Judged {
    set: Arc<KeySet>,
    outside: usize,
}

/// Sets of keys by which one lease is judged at a time: a lease has one owner, and few others ask.
const JUDGED_MAX: usize = 8;

/// What a client may know about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    pub granted_seconds: i64,
    /// Whole seconds, rounded down.
    pub remaining_seconds: i64,
}

impl Leases {
    pub(super) fn grant(
        &mut self,
        id: i64,
        ttl_seconds: i64,
        now: Instant,
    ) -> Result<i64, Refusal> {
        if LEASE_TTL_SECONDS_MAX < ttl_seconds {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.by_id.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }

        let ttl_seconds = ttl_seconds.max(LEASE_TTL_SECONDS_MIN);
        let expiry = expiry(ttl_seconds, now);
        self.by_expiry.insert((expiry, id));
        self.by_id.insert(
            id,
            Lease {
                ttl_seconds,
                expiry,
                keys: Slab::new(),
                judged: Vec::new(),
            },
        );
        Ok(ttl_seconds)
    }

    /// Forgets the lease and returns its keys, in order.
    pub(super) fn remove(&mut self, id: i64) -> Option<Vec<Arc<[u8]>>> {
        let lease = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(lease.expiry, id));
        let mut keys: Vec<Arc<[u8]>> = lease.keys.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        Some(keys)
    }

    pub(super) fn keep_alive(&mut self, id: i64, now: Instant) -> Option<i64> {
        let lease = self.by_id.get_mut(&id)?;
        self.by_expiry.remove(&(lease.expiry, id));
        lease.expiry = expiry(lease.ttl_seconds, now);
        self.by_expiry.insert((lease.expiry, id));
        Some(lease.ttl_seconds)
    }

    /// From now on `key` ends with lease `id`; lease 0, and one that there is not, has no place for it.
    pub(super) fn attach(&mut self, id: i64, key: &Arc<[u8]>) -> Option<Place> {
        let lease = self.by_id.get_mut(&id)?;
        for judged in &mut lease.judged {
            judged.outside += usize::from(!judged.set.contains(key));
        }
        let index = lease.keys.insert(Arc::clone(key));
        NonZeroUsize::new(index + 1).map(Place)
    }

    pub(super) fn detach(&mut self, id: i64, place: Place) {
        let lease = self.by_id.get_mut(&id);
        // A lease that ended took its places along.
        let Some((lease, key)) =
            lease.and_then(|it| it.keys.try_remove(place.0.get() - 1).map(|key| (it, key)))
        else {
            return;
        };
        for judged in &mut lease.judged {
            judged.outside -= usize::from(!judged.set.contains(&key));
        }
    }

    /// Whether `set` has all keys of lease `id`. Walks them the first time only.
    pub(super) fn is_within(&mut self, id: i64, set: &Arc<KeySet>) -> bool {
        let Some(lease) = self.by_id.get_mut(&id) else {
            return true;
        };
        if let Some(known) = lease.judged.iter().find(|it| it.set == *set) {
            return known.outside == 0;
        }
        let keys = lease.keys.iter();
        let outside = keys.filter(|(_, key)| !set.contains(key)).count();
        if JUDGED_MAX <= lease.judged.len() {
            lease.judged.remove(0);
        }
        lease.judged.push(Judged {
            set: Arc::clone(set),
            outside,
        });
        outside == 0
    }

    pub(super) fn next_expired(&self, now: Instant) -> Option<i64> {
        self.by_expiry
            .first()
            .filter(|(expiry, _)| *expiry <= now)
            .map(|(_, id)| *id)
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn view(&self, id: i64, now: Instant) -> Option<LeaseView> {
        let lease = self.by_id.get(&id)?;
        let remaining = lease.expiry.saturating_duration_since(now);
        Some(LeaseView {
            granted_seconds: lease.ttl_seconds,
            remaining_seconds: i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
        })
    }

    pub(super) fn keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        let lease = self.by_id.get(&id).into_iter();
        lease.flat_map(|it| &it.keys).map(|(_, key)| &**key)
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Ids and granted seconds.
    pub(super) fn granted(&self) -> Vec<(i64, i64)> {
        let leases = self.by_id.iter();
        leases.map(|(id, it)| (*id, it.ttl_seconds)).collect()
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.by_expiry.iter().map(|(_, id)| *id).collect()
    }
}

fn expiry(ttl_seconds: i64, now: Instant) -> Instant {
    let ttl = Duration::from_secs(ttl_seconds.unsigned_abs());
    // The longest lease is 285 years, which every platform's clock can count.
    now.checked_add(ttl).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::super::key_range::KeyRange;
    use super::*;

    #[test]
    fn remembers_few_answers_and_gives_the_right_one_to_all() {
        let mut leases = Leases::default();
        leases.grant(7, 60, now()).unwrap();
        leases.attach(7, &Arc::from(*b"3/key"));
        let sets: Vec<_> = (0..2 * JUDGED_MAX)
            .map(|it| Arc::new(KeySet::new([KeyRange::prefix(&format!("{it}/"))])))
            .collect();
        for _ in 0..2 {
            for (index, set) in sets.iter().enumerate() {
                assert_eq!(leases.is_within(7, set), index == 3);
            }
        }

        assert_eq!(leases.by_id[&7].judged.len(), JUDGED_MAX);
        assert!(leases.is_within(8, &sets[0]), "there is no such lease");
    }

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn now() -> Instant {
        Instant::now()
    }
}
