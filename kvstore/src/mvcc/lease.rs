//! Leases as a state machine: who has how long, and which keys die with it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::Entry;
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
    keys: BTreeSet<ByKey>,
}

/// What a key is now, by its key: a pointer where a key would be two words.
#[derive(Debug)]
struct ByKey(Arc<Entry>);

/// What a client may know about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    pub granted_seconds: i64,
    pub keys: Vec<Vec<u8>>,
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
                keys: BTreeSet::new(),
            },
        );
        Ok(ttl_seconds)
    }

    /// Forgets the lease and returns its keys, in order.
    pub(super) fn remove(&mut self, id: i64) -> Option<Vec<Arc<[u8]>>> {
        let lease = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(lease.expiry, id));
        let keys = lease.keys.iter().map(|it| Arc::clone(&it.0.key));
        Some(keys.collect())
    }

    pub(super) fn keep_alive(&mut self, id: i64, now: Instant) -> Option<i64> {
        let lease = self.by_id.get_mut(&id)?;
        self.by_expiry.remove(&(lease.expiry, id));
        lease.expiry = expiry(lease.ttl_seconds, now);
        self.by_expiry.insert((lease.expiry, id));
        Some(lease.ttl_seconds)
    }

    /// The key ends with the lease that its entry names; lease 0 is no lease.
    pub(super) fn attach(&mut self, entry: &Arc<Entry>) {
        if let Some(lease) = self.by_id.get_mut(&entry.lease) {
            lease.keys.replace(ByKey(Arc::clone(entry)));
        }
    }

    pub(super) fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
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
            keys: lease.keys.iter().map(|it| it.0.key.to_vec()).collect(),
            remaining_seconds: i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
        })
    }

    pub(super) fn keys(&self, id: i64) -> impl Iterator<Item = &[u8]> {
        let lease = self.by_id.get(&id).into_iter();
        lease.flat_map(|it| &it.keys).map(|it| &*it.0.key)
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

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByKey {}

fn expiry(ttl_seconds: i64, now: Instant) -> Instant {
    let ttl = Duration::from_secs(ttl_seconds.unsigned_abs());
    // The longest lease is 285 years, which every platform's clock can count.
    now.checked_add(ttl).unwrap_or(now)
}
