//! What records ask about the place of a client.

use ipnet::IpNet;
use std::net::IpAddr;
use topology::geo::Location;

use super::{Call, wrong};
use crate::expression::{Expression, Kind};
use crate::geo::Description;
use crate::plan::evaluate::{Dependency, Run};
use crate::plan::value::Value;
use crate::text::ParseError;

/// What is known of the place of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Asn,
    City,
    Continent,
    /// Two letters, like `Country2`: databases of today have no three.
    Country,
    Country2,
    Location,
    /// Of the network: who runs it.
    Name,
    Region,
}

const ATTRIBUTES: &[(&str, Attribute)] = &[
    ("ASn", Attribute::Asn),
    ("City", Attribute::City),
    ("Continent", Attribute::Continent),
    ("Country", Attribute::Country),
    ("Country2", Attribute::Country2),
    ("Location", Attribute::Location),
    ("Name", Attribute::Name),
    ("Region", Attribute::Region),
];

/// What `geoiplookup` says of what nobody knows.
const UNKNOWN: &str = "unknown";
/// What `countryCode` and the like say of it.
const NO_CODE: &str = "--";

impl Attribute {
    pub(super) fn read(argument: &Expression) -> Result<Self, ParseError> {
        let found = match &argument.kind {
            Kind::String(name) => ATTRIBUTES.iter().find(|it| it.0 == name),
            _ => None,
        };
        found.map(|it| it.1).ok_or_else(|| {
            let names: Vec<&str> = ATTRIBUTES.iter().map(|it| it.0).collect();
            wrong(
                argument,
                &format!("GeoIPQueryAttribute and one of {}", names.join(", ")),
            )
        })
    }

    /// In lower case, as PowerDNS says it.
    fn of(self, place: &Description) -> Option<String> {
        let text = match self {
            Self::Asn => return place.asn.map(|it| it.to_string()),
            Self::City => place.name.as_deref(),
            Self::Continent => place.continent.as_deref(),
            Self::Country | Self::Country2 => place.country.as_deref(),
            Self::Location => return place.location.map(coordinates),
            Self::Name => place.organization.as_deref(),
            Self::Region => place.region.as_deref(),
        };
        text.map(str::to_lowercase)
    }
}

pub(super) fn run(call: &Call, run: &mut Run<'_, '_>) -> Value {
    if let Call::Look(address, attribute) = call {
        let found = attribute.of(&run.scene.atlas.describe(*address));
        return Value::Text(found.unwrap_or_else(|| UNKNOWN.to_owned()));
    }
    match call {
        Call::Code(attribute) => {
            let found = attribute.of(&described(run));
            Value::Text(found.unwrap_or_else(|| NO_CODE.to_owned()))
        }
        Call::Place(attribute, wanted) => {
            let found = attribute.of(&described(run));
            let is_it = |it: &String| {
                found
                    .as_ref()
                    .is_some_and(|found| found.eq_ignore_ascii_case(it))
            };
            Value::Boolean(wanted.iter().any(is_it))
        }
        // Where nobody knows, PowerDNS says this too.
        Call::LatLon => {
            Value::Text(located(run).map_or_else(|| "0.000000 0.000000".to_owned(), coordinates))
        }
        Call::LatLonLoc => Value::Text(
            located(run).map_or_else(|| loc(0.0, 0.0), |it| loc(it.latitude(), it.longitude())),
        ),
        _ => Value::Nil,
    }
}

/// All that is known of the client's place, on which the answer depends from here on.
fn described(run: &mut Run<'_, '_>) -> Description {
    let description = run.scene.atlas.describe(run.scene.who);
    run.depend(Dependency::Prefix(description.prefix_length));
    description
}

fn located(run: &mut Run<'_, '_>) -> Option<Location> {
    let fix = run.scene.atlas.locate(run.scene.who);
    run.depend(Dependency::Location(fix));
    fix.location
}

fn coordinates(place: Location) -> String {
    format!("{:.6} {:.6}", place.latitude(), place.longitude())
}

/// As a LOC record has it (RFC 1876), of a place that is known to 10 km.
fn loc(latitude: f64, longitude: f64) -> String {
    let part = |degrees: f64, [plus, minus]: [char; 2]| {
        let side = if degrees < 0.0 { minus } else { plus };
        let seconds = (degrees.abs() * 3600.0).round();
        let minutes = (seconds / 60.0).floor();
        format!(
            "{} {} {} {side}",
            (minutes / 60.0).floor(),
            minutes % 60.0,
            seconds % 60.0
        )
    };
    format!(
        "{} {} 0.00m 1.00m 10000.00m 10.00m",
        part(latitude, ['N', 'S']),
        part(longitude, ['E', 'W'])
    )
}

/// How much of the address of `who` decides which of `nets` hold it.
pub(super) fn scope<'a>(nets: impl IntoIterator<Item = &'a IpNet>, who: IpAddr) -> Dependency {
    let who = who.to_canonical();
    let bits = nets.into_iter().filter_map(|net| match (net, who) {
        (IpNet::V4(net), IpAddr::V4(who)) => {
            let shared = (net.network().to_bits() ^ who.to_bits()).leading_zeros();
            Some(u32::from(net.prefix_len()).min(shared + 1))
        }
        (IpNet::V6(net), IpAddr::V6(who)) => {
            let shared = (net.network().to_bits() ^ who.to_bits()).leading_zeros();
            Some(u32::from(net.prefix_len()).min(shared + 1))
        }
        (IpNet::V4(_), IpAddr::V6(_)) | (IpNet::V6(_), IpAddr::V4(_)) => None,
    });
    match bits.max() {
        None | Some(0) => Dependency::Nothing,
        Some(bits) => Dependency::Prefix(u8::try_from(bits).unwrap_or(u8::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Atlas;
    use crate::plan::evaluate::Scene;

    #[test]
    fn tells_what_is_known_of_a_place() {
        let place = Description {
            location: Some(Location::new(50.11, 8.68).unwrap()),
            country: Some("DE".to_owned()),
            continent: Some("EU".to_owned()),
            region: Some("HE".to_owned()),
            name: Some("Frankfurt".to_owned()),
            asn: Some(64_496),
            organization: Some("Example Net".to_owned()),
            ..Description::default()
        };
        let known = [
            "64496",
            "frankfurt",
            "eu",
            "de",
            "de",
            "50.110000 8.680000",
            "example net",
            "he",
        ];
        for ((name, attribute), expected) in ATTRIBUTES.iter().zip(known) {
            assert_eq!(attribute.of(&place).as_deref(), Some(expected), "{name}");
            assert_eq!(attribute.of(&Description::default()), None, "{name}");
        }
    }

    #[test]
    fn depends_on_as_much_of_the_address_as_all_that_is_known() {
        let text = "[{prefix: 10.1.0.0/16, latitude: 1, longitude: 1, country: US, region: VA, asn: 64496}, \
            {prefix: 10.1.2.0/24, latitude: 1, longitude: 1, country: US, region: NY}]";
        let atlas = Atlas::new(text.parse().unwrap(), Vec::new());
        let is_in = |attribute, wanted: &str| Call::Place(attribute, vec![wanted.to_owned()]);
        let text = |it: &str| Value::Text(it.to_owned());
        for (call, who, expected, bits) in [
            (Call::Code(Attribute::Region), "10.1.2.9", text("ny"), 24),
            (Call::Code(Attribute::Region), "10.1.3.9", text("va"), 24),
            (Call::Code(Attribute::Asn), "10.1.2.9", text("--"), 24),
            (
                is_in(Attribute::Region, "VA"),
                "10.1.128.1",
                Value::Boolean(true),
                17,
            ),
            (
                is_in(Attribute::Asn, "64496"),
                "10.1.128.1",
                Value::Boolean(true),
                17,
            ),
            (
                is_in(Attribute::Asn, "64497"),
                "10.1.128.1",
                Value::Boolean(false),
                17,
            ),
        ] {
            let scene = Scene {
                atlas: &atlas,
                who: who.parse().unwrap(),
                ..Scene::bare()
            };
            let mut run = Run::new(&scene);
            let value = super::run(&call, &mut run);
            assert_eq!(value, expected, "{call:?} {who}");
            assert_eq!(run.dependency, Dependency::Prefix(bits), "{call:?} {who}");
        }
    }

    #[test]
    fn writes_places_as_loc_records_do() {
        let rest = "0.00m 1.00m 10000.00m 10.00m";
        assert_eq!(loc(50.11, 8.68), format!("50 6 36 N 8 40 48 E {rest}"));
        assert_eq!(loc(-33.99999, -70.5), format!("34 0 0 S 70 30 0 W {rest}"));
    }

    #[test]
    fn tells_how_much_of_an_address_a_network_decides() {
        for (nets, who, expected) in [
            (&["10.0.0.0/8"][..], "10.9.9.9", Dependency::Prefix(8)),
            (&["10.0.0.0/8"], "11.0.0.1", Dependency::Prefix(8)),
            (&["10.0.0.0/8"], "192.0.2.1", Dependency::Prefix(1)),
            (
                &["10.0.0.0/8", "10.1.2.0/24"],
                "10.1.9.9",
                Dependency::Prefix(21),
            ),
            (&["0.0.0.0/0", "::/0"], "10.1.9.9", Dependency::Nothing),
            (&["2001:db8::/32"], "10.1.9.9", Dependency::Nothing),
            (&["2001:db8::/32"], "2001:db8::1", Dependency::Prefix(32)),
        ] {
            let nets: Vec<IpNet> = nets.iter().map(|it| it.parse().unwrap()).collect();
            assert_eq!(
                scope(&nets, who.parse().unwrap()),
                expected,
                "{nets:?} {who}"
            );
        }
    }
}
