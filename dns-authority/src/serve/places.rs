//! Decides how many connections there may be, of all clients and of one network's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tally::{Moment, Tally};
use crate::limit::network;

/// Each holds a file descriptor and some kilobytes.
const PLACES_MAX: usize = 1000;
/// One network's clients leave room for others.
const NETWORK_PLACES_MAX: usize = PLACES_MAX / 4;
/// A client that says nothing for so long gives its place to another, and much sooner while others
/// may need it (RFC 7766 section 6.2.3).
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_IN_A_CROWD: Duration = Duration::from_secs(1);

/// The places of all connections, as those of one transport see them. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    /// Of the transport.
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    /// Without those that have none.
    by_network: BTreeMap<u128, usize>,
}

/// Held as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: u128,
}

impl Places {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self {
            taken: Arc::default(),
            tally,
        }
    }

    /// The same places, for another transport.
    pub(super) fn beside(&self, tally: Arc<Tally>) -> Self {
        Self {
            taken: Arc::clone(&self.taken),
            tally,
        }
    }

    /// A place for `client`, or `None` if there is none: all are taken, or its network has its part.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let network = network(client.to_canonical());
        let mut taken = self.taken();
        let of_network = taken.by_network.get(&network).copied().unwrap_or_default();
        if taken.count == PLACES_MAX || of_network == NETWORK_PLACES_MAX {
            self.tally.notice(Moment::Refused);
            return None;
        }
        self.tally.notice(Moment::Opened);
        taken.count += 1;
        taken.by_network.insert(network, of_network + 1);
        Some(Place {
            places: self.clone(),
            network,
        })
    }

    /// How long a client may take for a query or an answer now.
    pub(super) fn patience(&self) -> Duration {
        match self.is_crowded() {
            true => PATIENCE_IN_A_CROWD,
            false => PATIENCE,
        }
    }

    /// Whether others may need a place soon.
    pub(super) fn is_crowded(&self) -> bool {
        PLACES_MAX / 2 < self.taken().count
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn patience(&self) -> Duration {
        self.places.patience()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.tally.notice(Moment::Closed);
        let mut taken = self.places.taken();
        taken.count -= 1;
        let left = taken.by_network.remove(&self.network).unwrap_or(1) - 1;
        if left != 0 {
            taken.by_network.insert(self.network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tallies;
    use super::*;

    #[test]
    fn a_network_leaves_room_for_others() {
        let places = Places::new(Tallies::default().open("tcp"));
        let mut taken = take(&places, "192.0.2.1", PLACES_MAX);
        assert_eq!(taken.len(), NETWORK_PLACES_MAX);
        assert!(places.take("::ffff:192.0.2.9".parse().unwrap()).is_none());
        assert_eq!(places.patience(), PATIENCE);

        taken.pop();
        assert_eq!(take(&places, "192.0.2.9", 2).len(), 1);
    }

    #[test]
    fn nobody_gets_in_when_all_places_are_taken() {
        let places = Places::new(Tallies::default().open("tcp"));
        let networks = ["192.0.2.1", "192.0.3.1", "2001:db8::1", "2001:db8:0:100::1"];
        let taken: Vec<Place> = networks
            .iter()
            .flat_map(|it| take(&places, it, PLACES_MAX))
            .collect();
        assert_eq!(taken.len(), PLACES_MAX);
        assert!(places.take("198.51.100.1".parse().unwrap()).is_none());
        assert_eq!(places.patience(), PATIENCE_IN_A_CROWD);

        drop(taken);
        assert!(places.taken().by_network.is_empty());
        assert_eq!(take(&places, "198.51.100.1", 1).len(), 1);
    }

    fn take(places: &Places, client: &str, count: usize) -> Vec<Place> {
        let client = client.parse().unwrap();
        (0..count).filter_map(|_| places.take(client)).collect()
    }
}
