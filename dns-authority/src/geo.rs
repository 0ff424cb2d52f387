//! Decides where an address is: by the operator's overrides, else by what the mesh says of its own
//! prefixes, else by GeoIP databases.

mod continents;
mod database;
mod overrides;
mod ranges;
mod ranking;

pub use database::{Database, InvalidDatabase};
pub use overrides::{InvalidOverrides, Overrides, Place};
pub use ranking::{Ranking, Ranks};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use topology::geo::Location;

use ranges::{AddressMap, NOTHING};
use ranking::Key;

/// Everything that is known about where addresses are.
#[derive(Debug, Default)]
pub struct Atlas {
    /// The first that knows an address decides.
    layers: Vec<Overrides>,
    /// After the layers, and each field for itself: the first that knows it.
    databases: Vec<Arc<Database>>,
    /// For each address whose location is decided, its place in `locations`.
    cells: AddressMap,
    locations: Vec<Option<Location>>,
    rankings: Rankings,
}

/// Where an address is, for choosing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fix {
    pub location: Option<Location>,
    /// Every address that shares this many leading bits (0 to 32, or to 128 for IPv6) has the same
    /// location: the scope that RFC 7871 asks for.
    pub prefix_length: u8,
}

/// All that is known of an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub location: Option<Location>,
    /// ISO 3166 country code.
    pub country: Option<String>,
    /// Two letters: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<String>,
    /// The country's largest part that holds it: the code behind the country's in ISO 3166-2, or
    /// the name where a database has no code.
    pub region: Option<String>,
    /// A city or site.
    pub name: Option<String>,
    /// The number of the autonomous system that announces it.
    pub asn: Option<u32>,
    /// Whose system that is.
    pub organization: Option<String>,
    /// Who says so: the overriding prefix, or the name of the first database that knows anything.
    pub source: Option<String>,
    /// Every address that shares this many leading bits has the same description.
    pub prefix_length: u8,
}

/// The name of a field in a database's records.
type Field = &'static str;

impl Atlas {
    pub fn new(overrides: Overrides, databases: Vec<Database>) -> Self {
        let databases = databases.into_iter().map(Arc::new).collect();
        Self::of_layers(vec![overrides], databases)
    }

    /// Of several layers, and then of several databases, the first that knows decides. Takes time
    /// in proportion to the ranges of the databases.
    pub fn of_layers(layers: Vec<Overrides>, databases: Vec<Arc<Database>>) -> Self {
        let mut locations = Vec::new();
        let mut cells = AddressMap::default();
        for layer in &layers {
            let places = layer.places().iter().map(|it| it.location);
            let known = join(layer.map(), &mut locations, places);
            cells = cells.over(&known);
        }
        for database in &databases {
            let places = database.locations().iter().map(|it| Some(*it));
            let known = join(database.cells(), &mut locations, places);
            cells = cells.over(&known);
        }
        Self {
            layers,
            databases,
            cells,
            locations,
            rankings: Rankings::default(),
        }
    }

    pub fn locate(&self, address: IpAddr) -> Fix {
        let (cell, prefix_length) = self.cells.find(address.to_canonical());
        Fix {
            location: self.locations.get(cell as usize).copied().flatten(),
            prefix_length,
        }
    }

    /// The same decision as [`locate`](Self::locate), and what else is known.
    pub fn describe(&self, address: IpAddr) -> Description {
        let address = address.to_canonical();
        let Fix {
            location,
            mut prefix_length,
        } = self.locate(address);
        let mut known = Description::default();
        for layer in &self.layers {
            let (place, length) = layer.find(address);
            prefix_length = prefix_length.max(length);
            if let Some(place) = place {
                known = Description {
                    source: Some(layer.source(place)),
                    ..place.into()
                };
                break;
            }
        }
        let is_overridden = known.source.is_some();
        for database in &self.databases {
            let (found, length) = database.describe(address);
            prefix_length = prefix_length.max(length);
            known.asn = known.asn.or(found.asn);
            known.organization = known.organization.or(found.organization);
            if !is_overridden {
                known.country = known.country.or(found.country);
                known.continent = known.continent.or(found.continent);
                known.region = known.region.or(found.region);
                known.name = known.name.or(found.name);
                known.source = known.source.or(found.source);
            }
        }
        Description {
            location,
            prefix_length,
            ..known
        }
    }

    /// Finds out how near some places are to everybody, or finds it again; `None` if there are too
    /// many to do so beforehand.
    pub fn rank(&self, places: impl IntoIterator<Item = Option<Location>>) -> Option<Arc<Ranking>> {
        let places = places.into_iter().map(|it| (ranking::key(it), it));
        let places: BTreeMap<Key, Option<Location>> = places.collect();
        let make = || Ranking::new(&places, &self.locations, &self.cells);
        let is_small = places.len() <= ranking::PLACES_MAX;
        is_small.then(|| self.rankings.get(places.keys().copied().collect(), make))
    }
}

/// The map with numbers of `places` among all locations, which they join.
fn join(
    map: &AddressMap,
    locations: &mut Vec<Option<Location>>,
    places: impl Iterator<Item = Option<Location>>,
) -> AddressMap {
    let first = u32::try_from(locations.len()).expect("bounded by the sizes of files");
    locations.extend(places);
    match first {
        // As it is, and shared.
        0 => map.clone(),
        first => map.renumber(|it| match it {
            NOTHING => NOTHING,
            it => first + it,
        }),
    }
}

impl From<&Place> for Description {
    fn from(place: &Place) -> Self {
        Self {
            location: place.location,
            country: place.country.clone(),
            continent: place.continent.clone(),
            region: place.region.clone(),
            name: place.name.clone(),
            asn: place.asn,
            organization: None,
            source: None,
            prefix_length: 0,
        }
    }
}

/// The rankings that are in use, by the places they rank.
#[derive(Debug, Default)]
struct Rankings(Mutex<BTreeMap<Vec<Key>, Weak<Ranking>>>);

impl Rankings {
    fn get(&self, places: Vec<Key>, make: impl FnOnce() -> Ranking) -> Arc<Ranking> {
        // Whoever panicked here has left the map as it was.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ranking) = known.get(&places).and_then(Weak::upgrade) {
            return ranking;
        }
        known.retain(|_, it| it.strong_count() != 0);
        let ranking = Arc::new(make());
        known.insert(places, Arc::downgrade(&ranking));
        ranking
    }
}

#[cfg(test)]
mod tests;
