//! Decides whether a user may make one more request now: a token bucket for each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::Limits;
use super::peer::Peer;

/// Users whose buckets are not full at one time: as many as there may be connections. A full bucket is
/// as good as none and needs no memory.
const USERS_MAX: usize = 8_192;

#[derive(Debug)]
pub(super) struct Rates {
    /// In which a bucket gains one request.
    interval: Duration,
    /// In which an empty bucket becomes full.
    capacity: Duration,
    /// When each bucket will be full again.
    full_at: BTreeMap<User, Instant>,
}

/// Who shares a bucket.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum User {
    Address(IpAddr),
    Named(Arc<str>),
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let interval = Duration::from_secs(1) / limits.requests_per_second.max(1);
        Self {
            interval,
            capacity: interval * limits.requests_burst.max(1),
            full_at: BTreeMap::new(),
        }
    }

    /// Takes one request from the user's bucket, or says how long to wait for the next.
    pub(super) fn take(&mut self, user: &User, now: Instant) -> Result<(), Duration> {
        if USERS_MAX <= self.full_at.len() && !self.full_at.contains_key(user) {
            self.full_at.retain(|_, full_at| now < *full_at);
            if USERS_MAX <= self.full_at.len() {
                return Err(self.capacity);
            }
        }

        let full_at = self.full_at.get(user).copied();
        let full_at = full_at.map_or(now, |it| it.max(now)) + self.interval;
        let missing = full_at - now;
        if self.capacity < missing {
            return Err(missing - self.capacity);
        }
        self.full_at.insert(user.clone(), full_at);
        Ok(())
    }
}

impl From<&Peer> for User {
    fn from(peer: &Peer) -> Self {
        match &peer.common_name {
            Some(name) => Self::Named(Arc::clone(name)),
            None => Self::Address(peer.address.ip().to_canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some time to count from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn allows_a_burst_and_then_a_rate() {
        let mut rates = rates(10, 3);
        let (user, other) = (User::Named("a".into()), User::Named("b".into()));
        let start = start();
        let mut take = |user: &User, milliseconds| {
            rates.take(user, start + Duration::from_millis(milliseconds))
        };

        for _ in 0..3 {
            assert_eq!(take(&user, 0), Ok(()));
        }
        assert_eq!(take(&user, 0), Err(Duration::from_millis(100)));
        assert_eq!(take(&user, 60), Err(Duration::from_millis(40)));
        assert_eq!(take(&other, 60), Ok(()), "each user has a bucket");
        assert_eq!(take(&user, 100), Ok(()));
        assert_eq!(take(&user, 100), Err(Duration::from_millis(100)));

        for _ in 0..3 {
            assert_eq!(take(&user, 60_000), Ok(()));
        }
        assert!(take(&user, 60_000).is_err(), "no more than the burst");
    }

    #[test]
    fn remembers_no_more_users_than_it_may() {
        let mut rates = rates(10, 1);
        let start = start();
        let user = |number: u32| User::Address(IpAddr::from(number.to_be_bytes()));
        for number in 0..u32::try_from(USERS_MAX).unwrap() {
            assert_eq!(rates.take(&user(number), start), Ok(()));
        }
        assert!(rates.take(&user(u32::MAX), start).is_err());

        let later = start + Duration::from_secs(1);
        assert_eq!(rates.take(&user(u32::MAX), later), Ok(()));
        assert_eq!(rates.full_at.len(), 1, "full buckets are forgotten");
    }

    fn rates(requests_per_second: u32, requests_burst: u32) -> Rates {
        Rates::new(&Limits {
            requests_per_second,
            requests_burst,
            ..Limits::default()
        })
    }
}
