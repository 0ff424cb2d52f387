//! Where things are on Earth, and how far apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point on Earth: latitude −90 to 90, longitude −180 to 180, in degrees, never NaN.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Degrees", into = "Degrees")]
pub struct Location(Degrees);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Degrees {
    latitude: f64,
    longitude: f64,
}

impl Location {
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, InvalidLocation> {
        Degrees {
            latitude,
            longitude,
        }
        .try_into()
    }

    pub fn latitude(self) -> f64 {
        self.0.latitude
    }

    pub fn longitude(self) -> f64 {
        self.0.longitude
    }

    /// The great-circle distance, by the haversine formula on a sphere of 6,371 km.
    ///
    /// Rounded to whole kilometres, which hides what platforms' floating point disagrees on.
    pub fn distance_to(self, other: Self) -> Kilometers {
        let (here, there) = (self.0, other.0);
        let half_chord = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
        let a = half_chord(here.latitude, there.latitude)
            + here.latitude.to_radians().cos()
                * there.latitude.to_radians().cos()
                * half_chord(here.longitude, there.longitude);
        let distance = 2.0 * EARTH_RADIUS_KILOMETERS * a.clamp(0.0, 1.0).sqrt().asin();

        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "half of Earth's circumference is 20,015 km"
        )]
        Kilometers(distance.round() as u32)
    }
}

const EARTH_RADIUS_KILOMETERS: f64 = 6_371.0;

impl TryFrom<Degrees> for Location {
    type Error = InvalidLocation;

    fn try_from(degrees: Degrees) -> Result<Self, InvalidLocation> {
        let valid = (-90.0..=90.0).contains(&degrees.latitude)
            && (-180.0..=180.0).contains(&degrees.longitude);
        if valid {
            Ok(Self(degrees))
        } else {
            Err(InvalidLocation {
                latitude: degrees.latitude,
                longitude: degrees.longitude,
            })
        }
    }
}

impl From<Location> for Degrees {
    fn from(location: Location) -> Self {
        location.0
    }
}

/// How far apart two clusters are: measured where tunnels between them are probed, else from their
/// places.
///
/// In text a number is a distance in kilometres.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Distance {
    Kilometers(Kilometers),
    RoundTrip(RoundTrip),
}

impl fmt::Display for Distance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kilometers(it) => it.fmt(formatter),
            Self::RoundTrip(it) => it.fmt(formatter),
        }
    }
}

/// How long a packet takes there and back.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrip {
    #[serde(rename = "roundTripMicroseconds")]
    pub microseconds: u32,
}

impl RoundTrip {
    /// Round trips of one step are equally long to whoever chooses by them: steps are 1 ms wide, and
    /// from 10 ms on a tenth of their beginning, so that what a path's load does to it moves no
    /// traffic.
    pub fn step(self) -> u32 {
        let mut step = self.microseconds.min(LINEAR_MICROSECONDS) / STEP_MICROSECONDS;
        let mut next = u64::from(LINEAR_MICROSECONDS) * 11 / 10;
        while next <= u64::from(self.microseconds) {
            step += 1;
            next = next * 11 / 10;
        }
        step
    }
}

const STEP_MICROSECONDS: u32 = 1_000;
const LINEAR_MICROSECONDS: u32 = 10_000;

impl fmt::Display for RoundTrip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.microseconds / 1_000, self.microseconds % 1_000);
        match whole {
            0..10 => write!(formatter, "{whole}.{:02} ms", rest / 10),
            10..100 => write!(formatter, "{whole}.{} ms", rest / 100),
            _ => write!(formatter, "{whole} ms"),
        }
    }
}

/// A distance in whole kilometres.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Kilometers(pub u32);

impl fmt::Display for Kilometers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} km", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("latitude {latitude}, longitude {longitude} is no place on Earth")]
pub struct InvalidLocation {
    latitude: f64,
    longitude: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn measures_great_circles_also_across_the_antimeridian() {
        let frankfurt = Location::new(50.11, 8.68).unwrap();
        let ashburn = Location::new(39.04, -77.49).unwrap();
        let fiji = Location::new(-17.7, 178.0).unwrap();
        let samoa = Location::new(-13.8, -171.8).unwrap();

        assert_eq!(frankfurt.distance_to(ashburn), Kilometers(6_549));
        assert_eq!(fiji.distance_to(samoa), Kilometers(1_174));
    }

    #[test]
    fn refuses_what_is_no_place() {
        assert!(Location::new(f64::NAN, 0.0).is_err());
        assert!(Location::new(91.0, 0.0).is_err());
        assert!(Location::new(0.0, -181.0).is_err());
    }

    proptest! {
        #[test]
        fn is_symmetric_and_zero_only_at_home(a in place(), b in place()) {
            prop_assert_eq!(a.distance_to(b), b.distance_to(a));
            prop_assert_eq!(a.distance_to(a), Kilometers(0));
            prop_assert!(a.distance_to(b) <= Kilometers(20_016));
        }
    }

    fn place() -> impl Strategy<Value = Location> {
        (-90.0..=90.0, -180.0..=180.0).prop_map(|(lat, lon)| Location::new(lat, lon).unwrap())
    }
}
