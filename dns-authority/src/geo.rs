//! Decides where an address is: by the operator's overrides, else by GeoIP databases.

mod database;
mod overrides;

pub use database::{Database, InvalidDatabase};
pub use overrides::{InvalidOverrides, Overrides, Place};

use std::net::IpAddr;

use topology::geo::Location;

/// Everything that is known about where addresses are.
#[derive(Debug, Default)]
pub struct Atlas {
    overrides: Overrides,
    /// The first that knows an address decides.
    databases: Vec<Database>,
}

/// Where an address is, for choosing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fix {
    pub location: Option<Location>,
    /// Every address that shares this many leading bits (0 to 32, or to 128 for IPv6) has the same
    /// location: the scope that RFC 7871 asks for.
    pub prefix_length: u8,
    pub source: Source,
}

/// Who says where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The database at this place on the command line, counted from 0.
    Database(usize),
    Nobody,
    Override,
}

/// Where an address is, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub location: Option<Location>,
    /// ISO 3166 country code.
    pub country: Option<String>,
    /// Two letters: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<String>,
    /// A city or site.
    pub name: Option<String>,
    /// Who says so: the overriding prefix or the database's name.
    pub source: Option<String>,
}

impl Atlas {
    pub fn new(overrides: Overrides, databases: Vec<Database>) -> Self {
        Self {
            overrides,
            databases,
        }
    }

    pub fn locate(&self, address: IpAddr) -> Fix {
        let address = address.to_canonical();
        let (place, mut prefix_length) = self.overrides.find(address);
        if let Some(place) = place {
            return Fix {
                location: place.location,
                prefix_length,
                source: Source::Override,
            };
        }
        for (index, database) in self.databases.iter().enumerate() {
            let (location, length) = database.locate(address);
            prefix_length = prefix_length.max(length);
            if location.is_some() {
                return Fix {
                    location,
                    prefix_length,
                    source: Source::Database(index),
                };
            }
        }
        Fix {
            location: None,
            prefix_length,
            source: Source::Nobody,
        }
    }

    /// The same decision as [`locate`](Self::locate), in words.
    pub fn describe(&self, address: IpAddr) -> Description {
        let address = address.to_canonical();
        let fix = self.locate(address);
        match fix.source {
            Source::Nobody => Description::default(),
            Source::Database(index) => Description {
                location: fix.location,
                ..self.databases[index].describe(address)
            },
            Source::Override => {
                self.overrides
                    .find(address)
                    .0
                    .map_or_else(Description::default, |place| Description {
                        location: place.location,
                        country: place.country.clone(),
                        continent: place.continent.clone(),
                        name: place.name.clone(),
                        source: Some(format!("override {}", place.prefix)),
                    })
            }
        }
    }
}
