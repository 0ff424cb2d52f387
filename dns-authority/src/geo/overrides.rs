//! Places that the operator, or the mesh, gives to prefixes: the longest prefix that holds an address decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;
use topology::geo::Location;
use topology::id::ClusterName;
use topology::mesh::Mesh;

use super::ranges::{Address, AddressMap, Builder, NOTHING, Ranges};

/// Prefixes with their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Whether the mesh says so, and not the operator.
    is_mesh: bool,
    places: Vec<Place>,
    /// For each address its place in `places`.
    map: AddressMap,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub prefix: IpNet,
    /// `None` if the entry only says that nobody knows: it hides what a database says.
    pub location: Option<Location>,
    pub country: Option<String>,
    pub continent: Option<String>,
    pub region: Option<String>,
    pub name: Option<String>,
    /// `None` leaves it to the databases.
    pub asn: Option<u32>,
}

/// What is wrong with a file of overrides, with line and column where they are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOverrides(String);

impl Overrides {
    /// What the mesh says of its prefixes: nodes and pods are where their cluster is.
    pub fn of_mesh(mesh: &Mesh) -> Self {
        let locations = mesh.clusters().into_iter();
        let locations = locations.filter_map(|it| Some((it, mesh.location(it)?)));
        let locations: BTreeMap<&ClusterName, Location> = locations.collect();
        let nodes = mesh.nodes().iter();
        let places = nodes.filter_map(|((cluster, _), node)| {
            let location = locations.get(cluster)?;
            let addresses = node.addresses.iter().map(|it| it.address.into());
            let prefixes = node.pod_prefixes().chain(addresses);
            Some(prefixes.map(|prefix| Place::of_cluster(prefix, cluster, *location)))
        });
        Self {
            is_mesh: true,
            ..Self::of_places(places.flatten())
        }
    }

    /// Of several places of one prefix the first counts.
    fn of_places(places: impl IntoIterator<Item = Place>) -> Self {
        let mut seen = BTreeSet::new();
        let mut places: Vec<Place> = places.into_iter().collect();
        places
            .iter_mut()
            .for_each(|it| it.prefix = canonical(it.prefix));
        places.retain(|it| seen.insert(it.prefix));
        let map = map(&places);
        Self {
            places,
            map,
            is_mesh: false,
        }
    }

    /// What says so, for people: `override 10.0.0.0/8`.
    pub(super) fn source(&self, place: &Place) -> String {
        let source = if self.is_mesh { "mesh" } else { "override" };
        format!("{source} {}", place.prefix)
    }

    /// The place of `address`, and how many leading bits an address must share with it to get the
    /// same.
    pub(super) fn find(&self, address: IpAddr) -> (Option<&Place>, u8) {
        let (place, length) = self.map.find(address);
        (self.places.get(place as usize), length)
    }

    /// For each address, its place in [`places`](Self::places).
    pub(super) fn map(&self) -> &AddressMap {
        &self.map
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }
}

impl Place {
    fn of_cluster(prefix: IpNet, cluster: &ClusterName, location: Location) -> Self {
        Self {
            prefix,
            location: Some(location),
            country: None,
            continent: None,
            region: None,
            name: Some(format!("cluster {cluster}")),
            asn: None,
        }
    }
}

/// The prefix without what lies behind it; of IPv4 if it is one, however it is written.
fn canonical(prefix: IpNet) -> IpNet {
    let v4 = match prefix {
        IpNet::V4(_) => None,
        IpNet::V6(it) => it
            .addr()
            .to_ipv4_mapped()
            .zip(it.prefix_len().checked_sub(IPV4_MAPPED_BITS)),
    };
    let v4 = v4.and_then(|(address, length)| IpNet::new(address.into(), length).ok());
    v4.unwrap_or(prefix).trunc()
}

/// Bits of `::ffff:0:0/96`, which precede an IPv4 address.
const IPV4_MAPPED_BITS: u8 = 96;

fn map(places: &[Place]) -> AddressMap {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (number, place) in (0..).zip(places) {
        match place.prefix {
            IpNet::V4(it) => v4.push((it.network().to_bits(), it.broadcast().to_bits(), number)),
            IpNet::V6(it) => v6.push((it.network().to_bits(), it.broadcast().to_bits(), number)),
        }
    }
    AddressMap::new(flatten(v4), flatten(v6))
}

/// Makes nested blocks (first, last, place) disjoint: the innermost counts.
fn flatten<A: Address>(mut blocks: Vec<(A, A, u32)>) -> Ranges<A> {
    // Of two that start alike, the shorter prefix comes first.
    blocks.sort_by_key(|(first, last, _)| (*first, Reverse(*last)));
    let mut ranges = Builder::default();
    let mut open: Vec<(A, u32)> = Vec::new();
    let around = |open: &[(A, u32)]| open.last().map_or(NOTHING, |it| it.1);
    for (first, last, place) in blocks {
        while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
            end.next()
                .into_iter()
                .for_each(|it| ranges.begin(it, around(&open)));
        }
        ranges.begin(first, place);
        open.push((last, place));
    }
    while let Some((end, _)) = open.pop() {
        end.next()
            .into_iter()
            .for_each(|it| ranges.begin(it, around(&open)));
    }
    ranges.finish()
}

/// Reads the YAML list that `--geo-overrides` names.
impl FromStr for Overrides {
    type Err = InvalidOverrides;

    fn from_str(text: &str) -> Result<Self, InvalidOverrides> {
        let entries: Vec<Spanned<Entry>> =
            serde_saphyr::from_str(text).map_err(|error| InvalidOverrides(one_line(&error)))?;
        let places = entries.into_iter().map(place);
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = places.iter().find(|it| !seen.insert(it.prefix)) {
            let message = format!("{} is given a place twice", twice.prefix);
            return Err(InvalidOverrides(message));
        }
        Ok(Self::of_places(places))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: IpNet,
    latitude: Option<f64>,
    longitude: Option<f64>,
    country: Option<String>,
    continent: Option<String>,
    region: Option<String>,
    name: Option<String>,
    asn: Option<u32>,
}

fn place(entry: Spanned<Entry>) -> Result<Place, InvalidOverrides> {
    let at = entry.referenced;
    let error =
        |message: String| InvalidOverrides(format!("{}:{}: {message}", at.line(), at.column()));
    let entry = entry.value;
    let location = match (entry.latitude, entry.longitude) {
        (Some(latitude), Some(longitude)) => {
            let location = Location::new(latitude, longitude);
            Some(location.map_err(|it| error(format!("{}: {it}", entry.prefix)))?)
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(error(format!(
                "{}: latitude and longitude are needed together",
                entry.prefix
            )));
        }
    };
    Ok(Place {
        prefix: canonical(entry.prefix),
        location,
        country: entry.country,
        continent: entry.continent,
        region: entry.region,
        name: entry.name,
        asn: entry.asn,
    })
}

/// The place and the first line of the message: the rest quotes the file.
fn one_line(error: &serde_saphyr::Error) -> String {
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    match error.location() {
        Some(location) => format!("{}:{}: {message}", location.line(), location.column()),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
