//! Says for everybody which places are nearer than others, computed once for all addresses: an
//! answer is one walk, and its scope is exactly where all places rank alike.

use std::collections::BTreeMap;
use std::net::IpAddr;

use topology::geo::Location;

use super::ranges::{AddressMap, NOTHING};

/// How near some places are to every address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ranking {
    places: Vec<Key>,
    /// The list of each address.
    lists: AddressMap,
    /// One list after the other, each with a rank for every place.
    ranks: Vec<u8>,
}

/// The rank of each place, as seen from one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ranks<'a> {
    places: &'a [Key],
    ranks: &'a [u8],
}

/// What a place is known by: its coordinates as bits, `None` if nobody knows them.
pub(super) type Key = Option<(u64, u64)>;

/// As many distinct places as one ranking compares; whoever has more compares when asked.
pub(super) const PLACES_MAX: usize = 64;

impl Ranking {
    /// How near all places are to `address`, and the length of the shortest prefix that holds it
    /// and nothing to which any is nearer, or less near, in comparison with another.
    pub fn find(&self, address: IpAddr) -> (Ranks<'_>, u8) {
        let (list, prefix_length) = self.lists.find(address.to_canonical());
        let first = list as usize * self.places.len();
        let ranks = Ranks {
            places: &self.places,
            ranks: &self.ranks[first..first + self.places.len()],
        };
        (ranks, prefix_length)
    }

    /// Ranks places, each with its key, of which there are at most [`PLACES_MAX`] in ascending
    /// order, for all to whose location `cells` has the number. Nobody knows where the others are:
    /// all places are equally near to them.
    pub(super) fn new(
        places: &BTreeMap<Key, Option<Location>>,
        locations: &[Option<Location>],
        cells: &AddressMap,
    ) -> Self {
        let mut lists = BTreeMap::new();
        let mut ranks = Vec::new();
        let mut intern = |list: Vec<u8>| {
            let next = u32::try_from(lists.len()).expect("at most one for each location");
            *lists.entry(list).or_insert_with_key(|list| {
                ranks.extend_from_slice(list);
                next
            })
        };
        let unknown = intern(vec![0; places.len()]);
        let distinct: Vec<Option<Location>> = places.values().copied().collect();
        let by_cell: Vec<u32> = locations
            .iter()
            .map(|it| intern(ranks_from(*it, &distinct)))
            .collect();
        Self {
            places: places.keys().copied().collect(),
            lists: cells.renumber(|cell| match cell {
                NOTHING => unknown,
                cell => by_cell[cell as usize],
            }),
            ranks,
        }
    }

    /// How many ranges of addresses it knows apart, and how many lists.
    pub fn size(&self) -> (usize, usize) {
        let lists_count = self.ranks.len().checked_div(self.places.len());
        (self.lists.ranges_count(), lists_count.unwrap_or(0))
    }
}

impl Ranks<'_> {
    /// 0 for the nearest, the same for equally near ones. A place that was not ranked comes last.
    pub fn of(self, place: Option<Location>) -> u8 {
        let found = self.places.binary_search(&key(place));
        found.map_or(u8::MAX, |it| self.ranks[it])
    }
}

pub(super) fn key(place: Option<Location>) -> Key {
    place.map(|it| (it.latitude().to_bits(), it.longitude().to_bits()))
}

/// The rank of each place as seen from `client`. Places that nobody knows come last.
fn ranks_from(client: Option<Location>, places: &[Option<Location>]) -> Vec<u8> {
    let Some(client) = client else {
        return vec![0; places.len()];
    };
    let distance = |place: &Option<Location>| place.map_or(u32::MAX, |it| client.distance_to(it).0);
    let distances: Vec<u32> = places.iter().map(distance).collect();
    let mut steps = distances.clone();
    steps.sort_unstable();
    steps.dedup();
    let rank = |distance: &u32| steps.partition_point(|it| it < distance);
    let ranks = distances.iter().map(rank);
    ranks
        .map(|it| u8::try_from(it).expect("less than the number of places"))
        .collect()
}
