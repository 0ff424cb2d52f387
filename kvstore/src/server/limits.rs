//! Decides how much of the server one client, and all of them together, may use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What clients on the network may use; the own process is not limited.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time, those in their greeting included. Each holds some 100 KiB of buffers.
    pub connections: usize,
    /// Connections at a time from one address, behind which there may be a whole cluster.
    pub connections_per_address: usize,
    /// A client that has not finished its TLS handshake and begun to speak HTTP within this time is
    /// dropped.
    pub greeting_timeout: Duration,
    /// Leases at a time. A writer with 100 000 keys needs a hundred, a node one.
    pub leases: usize,
    /// Of one user: the common name of its certificate or, in plaintext, its address. Far above what
    /// a mirror needs, and below what starves everyone else.
    pub requests_per_second: u32,
    /// Requests that one user may make at once, after a pause.
    pub requests_burst: u32,
    /// Requests and watch streams of one connection at a time.
    pub streams_per_connection: u32,
    /// Watches at a time, over all streams. A watch holds less than 1 KiB.
    pub watches: usize,
    /// Watches of one stream, which are brought up to date one after another.
    pub watches_per_stream: usize,
    /// Watch streams at a time. A stream holds two or three responses of a mebibyte if its client does
    /// not read.
    pub watch_streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            connections_per_address: 2_048,
            greeting_timeout: Duration::from_secs(5),
            leases: 65_536,
            requests_per_second: 20_000,
            requests_burst: 40_000,
            streams_per_connection: 1_024,
            watches: 131_072,
            watches_per_stream: 4_096,
            watch_streams: 8_192,
        }
    }
}

impl Limits {
    /// For the own process.
    pub(super) fn none() -> Self {
        Self {
            leases: usize::MAX,
            watches: usize::MAX,
            watches_per_stream: usize::MAX,
            watch_streams: usize::MAX,
            ..Self::default()
        }
    }
}

/// So many of something at a time. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    max: usize,
    taken: Arc<AtomicUsize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: Arc::default(),
        }
    }

    /// `None` if all are taken.
    pub(super) fn take(&self) -> Option<Slot> {
        let next = |taken| (taken < self.max).then(|| taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        Some(Slot(Arc::clone(&self.taken)))
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            all: limits.connections,
            per_address: limits.connections_per_address,
            taken: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// `None` if there are as many connections as may be.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // An IPv4 client is the same one through a socket of either kind.
        let address = address.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let from_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if self.all <= taken.all || self.per_address <= from_address {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, from_address + 1);
        Some(Place {
            places: Arc::clone(self),
            address,
        })
    }

    pub(super) fn taken(&self) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.places.taken;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn counts_connections_in_all_and_by_address() {
        let places = Places::new(&Limits {
            connections: 3,
            connections_per_address: 2,
            ..Limits::default()
        });
        let address = |last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last));
        let mapped = IpAddr::from(Ipv6Addr::from_bits(0xffff_0a00_0001));

        let first = places.take(address(1)).unwrap();
        let second = places.take(mapped).unwrap();
        assert!(places.take(address(1)).is_none(), "two of one address");
        let third = places.take(address(2)).unwrap();
        assert!(places.take(address(3)).is_none(), "three in all");

        drop(first);
        let fourth = places.take(address(1)).unwrap();
        drop((second, third, fourth));
        assert_eq!(places.taken.lock().unwrap().by_address, BTreeMap::new());
        assert_eq!((places.taken(), places.refused()), (0, 2));
    }

    #[test]
    fn gives_a_slot_back_when_it_is_dropped() {
        let slots = Slots::new(1);
        let slot = slots.take().unwrap();
        let others = slots.clone();
        assert!(others.take().is_none());
        drop(slot);
        assert!(slots.take().is_some());
        assert_eq!((slots.taken(), others.taken()), (0, 0));
    }
}
