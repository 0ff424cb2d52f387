//! Reads places from a GeoIP database in MaxMind's format: the layouts of GeoIP2, GeoLite2 and DB-IP
//! (nested), and those of the flat files derived from them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use topology::geo::Location;

use super::continents;
use super::ranges::{AddressMap, Builder};
use super::{Description, Field};

/// A database in memory.
pub struct Database {
    name: String,
    reader: Reader<Vec<u8>>,
    /// For each address whose location the database knows, its place in `locations`.
    cells: AddressMap,
    /// Each once.
    locations: Vec<Location>,
}

/// Why a file is no usable database.
#[derive(Debug, thiserror::Error)]
#[error("not a MaxMind database: {0}")]
pub struct InvalidDatabase(String);

/// Several times what the largest city database has: a tree whose parts are shared could otherwise
/// stand for networks without end.
const NETWORKS_MAX: usize = 1 << 26;

impl Database {
    /// `name` is for explanations, `content` the whole file. Looks at all networks: seconds for a
    /// large file.
    ///
    /// # Errors
    ///
    /// The file is damaged, or something else.
    pub fn new(name: String, content: Vec<u8>) -> Result<Self, InvalidDatabase> {
        let reader = Reader::from_source(content).map_err(invalid)?;
        let mut survey = Survey::default();
        let networks = reader.networks(WithinOptions::default()).map_err(invalid)?;
        for (count, network) in networks.enumerate() {
            if count == NETWORKS_MAX {
                let message = format!("it has more than {NETWORKS_MAX} networks");
                return Err(InvalidDatabase(message));
            }
            survey.take(&network.map_err(invalid)?)?;
        }
        Ok(Self {
            cells: AddressMap::new(survey.v4.finish(), survey.v6.finish()),
            locations: survey.locations,
            name,
            reader,
        })
    }

    /// For each address whose location is known, its place in [`locations`](Self::locations).
    pub(super) fn cells(&self) -> &AddressMap {
        &self.cells
    }

    pub(super) fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// What is known of `address` beside its location, and the length of the database's prefix that
    /// holds it.
    pub(super) fn describe(&self, address: IpAddr) -> (Description, u8) {
        let Ok(found) = self.reader.lookup(address) else {
            return (Description::default(), 0);
        };
        let text = |paths: &[&[Field]]| paths.iter().find_map(|it| text(&found, it));
        let country = text(&[&["country", "iso_code"], &["country_code"]]);
        let continent = text(&[&["continent", "code"], &["continent_code"]]);
        let known = |country: &String| continents::of(country).map(str::to_owned);
        let number = |path: &[Field]| found.decode_path(&elements(path)).ok().flatten();
        let description = Description {
            continent: continent.or_else(|| country.as_ref().and_then(known)),
            country,
            region: region(&found).or_else(|| text(&[&["region"], &["state1"]])),
            name: text(&[&["city", "names", "en"], &["city"]]),
            asn: number(&["autonomous_system_number"]),
            organization: text(&[&["autonomous_system_organization"]]),
            ..Description::default()
        };
        let is_empty = description == Description::default();
        let source = (!is_empty).then(|| self.name.clone());
        let length = found.network().map_or(0, |it| it.prefix());
        (
            Description {
                source,
                ..description
            },
            length,
        )
    }
}

type Found<'a> = LookupResult<'a, Vec<u8>>;

fn text(found: &Found<'_>, path: &[Field]) -> Option<String> {
    let text: Option<String> = found.decode_path(&elements(path)).ok().flatten();
    text.filter(|it| !it.is_empty())
}

/// The code of the largest subdivision, as ISO 3166-2 has it behind the country's.
fn region(found: &Found<'_>) -> Option<String> {
    let path = [
        PathElement::Key("subdivisions"),
        PathElement::Index(0),
        PathElement::Key("iso_code"),
    ];
    found.decode_path(&path).ok().flatten()
}

fn elements(path: &[Field]) -> Vec<PathElement<'static>> {
    path.iter().copied().map(PathElement::Key).collect()
}

fn invalid(error: maxminddb::MaxMindDbError) -> InvalidDatabase {
    InvalidDatabase(error.to_string())
}

/// Where all networks are, as they come.
#[derive(Default)]
struct Survey {
    v4: Builder<u32>,
    v6: Builder<u128>,
    locations: Vec<Location>,
    /// Of each location's coordinates, the place in `locations`.
    places: BTreeMap<(u64, u64), u32>,
    /// Of each record that networks point to, what it comes to.
    records: BTreeMap<usize, Option<u32>>,
    /// The record that was looked at last: neighbours often share it.
    last: Option<(usize, Option<u32>)>,
}

/// What a record says of the location.
#[derive(Deserialize)]
struct Record {
    location: Option<Point>,
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

#[derive(Deserialize)]
struct Point {
    latitude: Option<Degrees>,
    longitude: Option<Degrees>,
}

/// A coordinate, in either of the precisions that databases are written with.
struct Degrees(f64);

impl<'de> Deserialize<'de> for Degrees {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asking for a number of 64 bits would refuse those of 32.
        deserializer.deserialize_any(DegreesVisitor)
    }
}

struct DegreesVisitor;

impl Visitor<'_> for DegreesVisitor {
    type Value = Degrees;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("degrees")
    }

    fn visit_f32<E>(self, degrees: f32) -> Result<Degrees, E> {
        // As many decimals as there were before it was written.
        Ok(Degrees((f64::from(degrees) * 1e4).round() / 1e4))
    }

    fn visit_f64<E>(self, degrees: f64) -> Result<Degrees, E> {
        Ok(Degrees(degrees))
    }
}

impl Survey {
    fn take(&mut self, found: &Found<'_>) -> Result<(), InvalidDatabase> {
        let Some(cell) = self.cell(found) else {
            return Ok(());
        };
        let network = found.network().map_err(invalid)?;
        match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4
                    .block(Ipv4Addr::to_bits(first), last.to_bits(), cell);
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6
                    .block(Ipv6Addr::to_bits(first), last.to_bits(), cell);
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => (),
        }
        Ok(())
    }

    fn cell(&mut self, found: &Found<'_>) -> Option<u32> {
        let offset = found.offset()?;
        if let Some((_, cell)) = self.last.filter(|it| it.0 == offset) {
            return cell;
        }
        let cell = match self.records.get(&offset) {
            Some(cell) => *cell,
            None => {
                let cell = location(found).map(|it| self.intern(it));
                self.records.insert(offset, cell);
                cell
            }
        };
        self.last = Some((offset, cell));
        cell
    }

    fn intern(&mut self, location: Location) -> u32 {
        let next = u32::try_from(self.locations.len()).expect("fewer than records of a file");
        let key = (
            location.latitude().to_bits(),
            location.longitude().to_bits(),
        );
        *self.places.entry(key).or_insert_with(|| {
            self.locations.push(location);
            next
        })
    }
}

fn location(found: &Found<'_>) -> Option<Location> {
    let Record {
        location,
        latitude,
        longitude,
    } = found.decode().ok()??;
    let nested = location.and_then(|it| it.latitude.zip(it.longitude));
    let (Degrees(latitude), Degrees(longitude)) = nested.or_else(|| latitude.zip(longitude))?;
    Location::new(latitude, longitude).ok()
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
