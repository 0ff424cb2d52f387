//! Decides how much of the server one client, and all of them together, may use.

use std::collections::BTreeMap;
use std::net::IpAddr;
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            connections_per_address: 2_048,
            greeting_timeout: Duration::from_secs(5),
        }
    }
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
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
        })
    }

    /// `None` if there are as many connections as may be.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // An IPv4 client is the same one through a socket of either kind.
        let address = address.to_canonical();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let from_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if self.all <= taken.all || self.per_address <= from_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, from_address + 1);
        Some(Place {
            places: Arc::clone(self),
            address,
        })
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
    }
}
