//! Places that the operator gives to prefixes: the longest prefix that holds an address decides.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;
use topology::geo::Location;

/// Prefixes with their places, cut into disjoint ranges so that a lookup is one binary search and
/// tells how far its result reaches.
#[derive(Clone, Debug)]
pub struct Overrides {
    places: Vec<Place>,
    /// In ascending order without gaps; the first starts at 0, each ends before the next.
    ranges: Vec<Range>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub prefix: IpNet,
    /// `None` if the entry only says that nobody knows: it hides what a database says.
    pub location: Option<Location>,
    pub country: Option<String>,
    pub continent: Option<String>,
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    /// IPv4 addresses as IPv4-mapped IPv6 ones.
    start: u128,
    /// Index in `places`.
    place: Option<usize>,
}

/// What is wrong with a file of overrides, with line and column where they are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOverrides(String);

impl Overrides {
    /// The place of `address`, and how many leading bits an address must share with it to get the
    /// same.
    pub(super) fn find(&self, address: IpAddr) -> (Option<&Place>, u8) {
        let bits = mapped(address);
        let after = self.ranges.partition_point(|it| it.start <= bits);
        let range = self.ranges[after - 1];

        // A block that holds `bits` stays inside the range if it is too small to reach the
        // addresses just outside.
        let shared = |outside: u128| (bits ^ outside).leading_zeros() + 1;
        let before = range.start.checked_sub(1).map_or(0, shared);
        let behind = self.ranges.get(after).map_or(0, |next| shared(next.start));
        let length = u8::try_from(before.max(behind)).expect("at most 128");

        let length = if address.is_ipv4() {
            length.saturating_sub(IPV4_MAPPED_BITS)
        } else {
            length
        };
        (range.place.map(|it| &self.places[it]), length)
    }

    fn new(places: Vec<Place>) -> Result<Self, InvalidOverrides> {
        let mut sorted: Vec<(u128, u128, usize)> = places
            .iter()
            .enumerate()
            .map(|(index, place)| {
                let (first, last) = (place.prefix.network(), place.prefix.broadcast());
                (mapped(first), mapped(last), index)
            })
            .collect();
        // Of two that start alike, the longer prefix comes second and covers the first.
        sorted.sort_by_key(|(first, last, _)| (*first, u128::MAX - last));
        if let Some([(_, _, twice), _]) = sorted
            .array_windows()
            .find(|[a, b]| (a.0, a.1) == (b.0, b.1))
        {
            let prefix = places[*twice].prefix;
            return Err(InvalidOverrides(format!("{prefix} is given a place twice")));
        }
        Ok(Self {
            ranges: flatten(&sorted),
            places,
        })
    }
}

/// Cuts nested prefixes (first, last, place), outer before inner, into disjoint ranges.
fn flatten(sorted: &[(u128, u128, usize)]) -> Vec<Range> {
    let mut ranges = vec![Range {
        start: 0,
        place: None,
    }];
    let mut begin = |start: u128, place: Option<usize>| {
        let last = ranges.last_mut().expect("the first range is never removed");
        if last.start == start {
            last.place = place;
        } else {
            ranges.push(Range { start, place });
        }
    };

    let mut open: Vec<(u128, usize)> = Vec::new();
    for (first, last, place) in sorted {
        while let Some((end, _)) = open.pop_if(|(end, _)| *end < *first) {
            begin(end + 1, open.last().map(|it| it.1));
        }
        begin(*first, Some(*place));
        open.push((*last, *place));
    }
    while let Some((end, _)) = open.pop() {
        if let Some(after) = end.checked_add(1) {
            begin(after, open.last().map(|it| it.1));
        }
    }
    ranges
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => it.to_bits(),
    }
}

/// Bits of `::ffff:0:0/96`, which precede an IPv4 address.
const IPV4_MAPPED_BITS: u8 = 96;

impl Default for Overrides {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            ranges: flatten(&[]),
        }
    }
}

/// Reads the YAML list that `--geo-overrides` names.
impl FromStr for Overrides {
    type Err = InvalidOverrides;

    fn from_str(text: &str) -> Result<Self, InvalidOverrides> {
        let entries: Vec<Spanned<Entry>> =
            serde_saphyr::from_str(text).map_err(|error| InvalidOverrides(one_line(&error)))?;
        let places = entries.into_iter().map(place).collect::<Result<_, _>>()?;
        Self::new(places)
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
    name: Option<String>,
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
        prefix: entry.prefix.trunc(),
        location,
        country: entry.country,
        continent: entry.continent,
        name: entry.name,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lets_the_longest_prefix_win_and_says_how_far_it_reaches() {
        let overrides = parse(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"]);

        check(&overrides, "10.200.0.1", "10.0.0.0/8", 9);
        check(&overrides, "10.1.128.0", "10.1.0.0/16", 17);
        check(&overrides, "10.1.2.9", "10.1.2.0/24", 24);
        check(&overrides, "10.1.3.9", "10.1.0.0/16", 24);
        check(&overrides, "192.0.2.1", "-", 1);
        check(&overrides, "2001:db8::1", "2001:db8::/32", 32);
        check(&overrides, "2001:db9::1", "-", 32);
    }

    #[test]
    fn knows_nothing_when_empty() {
        check(&Overrides::default(), "192.0.2.1", "-", 0);
    }

    #[test]
    fn reads_a_file_and_says_what_is_wrong_with_it() {
        let text = "- prefix: 10.1.0.0/16\n  latitude: 50.11\n  longitude: 8.68\n  country: DE\n";
        let overrides: Overrides = text.parse().unwrap();
        let (place, _) = overrides.find("10.1.2.3".parse().unwrap());
        assert_eq!(place.unwrap().country.as_deref(), Some("DE"));

        check_error("- prefix: nowhere\n", "1:11: ");
        check_error("- prefix: 10.0.0.0/8\n  lattitude: 1\n", "2:3: ");
        check_error(
            "- {prefix: 10.0.0.0/8, latitude: 1}\n",
            "1:3: 10.0.0.0/8: latitude and",
        );
        check_error(
            "- {prefix: 10.0.0.0/8, latitude: 99, longitude: 0}\n",
            "1:3: 10.0.0.0/8: latitude 99, longitude 0 is no place on Earth",
        );
        check_error(
            "[{prefix: 10.0.0.0/8}, {prefix: 10.0.0.1/8}]",
            "10.0.0.0/8 is given a place twice",
        );
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_prefix(
            prefixes in proptest::collection::btree_map(
                (0..8_u8, 0..8_u8).prop_map(|(bits, length)| net(bits << 5, length)), 0..1, 0..12),
            probes in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..8),
        ) {
            let prefixes: Vec<String> = prefixes.keys().map(ToString::to_string).collect();
            let overrides = parse(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
            let longest = |address: IpAddr| {
                let holding = overrides.places.iter().filter(|it| it.prefix.contains(&address));
                holding.max_by_key(|it| it.prefix.prefix_len())
            };

            for (first, second) in probes {
                let address = IpAddr::from([first, 0, 0, 1]);
                let (place, length) = overrides.find(address);
                prop_assert_eq!(place, longest(address));
                let block = IpNet::new(address, length).unwrap();
                let other = IpAddr::from([second, 7, 7, 7]);
                if block.contains(&other) {
                    prop_assert_eq!(overrides.find(other).0, place);
                }
            }
        }
    }

    fn net(first: u8, length: u8) -> IpNet {
        IpNet::new(IpAddr::from([first, 0, 0, 0]), length)
            .unwrap()
            .trunc()
    }

    fn parse(prefixes: &[&str]) -> Overrides {
        let entries: Vec<String> = prefixes
            .iter()
            .map(|it| format!("{{prefix: '{it}'}}"))
            .collect();
        format!("[{}]", entries.join(", ")).parse().unwrap()
    }

    #[track_caller]
    fn check(overrides: &Overrides, address: &str, prefix: &str, length: u8) {
        let (place, found) = overrides.find(address.parse().unwrap());
        let place = place.map_or_else(|| "-".to_owned(), |it| it.prefix.to_string());
        assert_eq!((place.as_str(), found), (prefix, length));
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = text.parse::<Overrides>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
