//! Reads places from a GeoIP database in MaxMind's format, in the layouts of GeoIP2, GeoLite2 and
//! DB-IP (nested) and of the flat city files derived from them.

use std::fmt;
use std::net::IpAddr;

use maxminddb::{PathElement, Reader};
use topology::geo::Location;

use super::Description;

/// A database in memory.
pub struct Database {
    name: String,
    reader: Reader<Vec<u8>>,
}

/// Why a file is no usable database.
#[derive(Debug, thiserror::Error)]
#[error("not a MaxMind database: {0}")]
pub struct InvalidDatabase(String);

impl Database {
    /// `name` is for explanations, `content` the whole file.
    pub fn new(name: String, content: Vec<u8>) -> Result<Self, InvalidDatabase> {
        match Reader::from_source(content) {
            Ok(reader) => Ok(Self { name, reader }),
            Err(error) => Err(InvalidDatabase(error.to_string())),
        }
    }

    /// The location of `address` and the length of the database's prefix that holds it.
    pub(super) fn locate(&self, address: IpAddr) -> (Option<Location>, u8) {
        let Ok(found) = self.reader.lookup(address) else {
            return (None, 0);
        };
        let length = found.network().map_or(0, |it| it.prefix());
        let number = |path: &[PathElement<'_>]| found.decode_path::<f64>(path).ok().flatten();
        let coordinate = |name: &'static str| {
            number(&[PathElement::Key("location"), PathElement::Key(name)])
                .or_else(|| number(&[PathElement::Key(name)]))
        };
        let location = coordinate("latitude")
            .zip(coordinate("longitude"))
            .and_then(|(latitude, longitude)| Location::new(latitude, longitude).ok());
        (location, length)
    }

    pub(super) fn describe(&self, address: IpAddr) -> Description {
        let Ok(found) = self.reader.lookup(address) else {
            return Description::default();
        };
        let text = |path: &[&'static str]| {
            let path: Vec<PathElement<'_>> = path.iter().copied().map(PathElement::Key).collect();
            found.decode_path::<String>(&path).ok().flatten()
        };
        Description {
            location: None,
            country: text(&["country", "iso_code"]).or_else(|| text(&["country_code"])),
            continent: text(&["continent", "code"]).or_else(|| text(&["continent_code"])),
            name: text(&["city", "names", "en"]).or_else(|| text(&["city"])),
            source: Some(self.name.clone()),
        }
    }
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
mod tests {
    use super::*;

    #[test]
    fn reads_the_nested_layout() {
        let location = map(&[("latitude", double(50.11)), ("longitude", double(8.68))]);
        let country = map(&[("iso_code", text("DE"))]);
        let record = map(&[("country", country), ("location", location)]);
        let database = Database::new("nested.mmdb".to_owned(), lower_half(&record)).unwrap();

        let frankfurt = Location::new(50.11, 8.68).unwrap();
        assert_eq!(database.locate(address("10.0.0.1")), (Some(frankfurt), 1));
        assert_eq!(database.locate(address("192.0.2.1")), (None, 1));
        assert_eq!(database.locate(address("2001:db8::1")), (None, 0));
        let described = database.describe(address("10.0.0.1"));
        assert_eq!(described.country.as_deref(), Some("DE"));
        assert_eq!(described.source.as_deref(), Some("nested.mmdb"));
    }

    #[test]
    fn reads_the_flat_layout() {
        let record = map(&[
            ("city", text("Ashburn")),
            ("country_code", text("US")),
            ("latitude", double(39.04)),
            ("longitude", double(-77.49)),
        ]);
        let database = Database::new("flat.mmdb".to_owned(), lower_half(&record)).unwrap();

        let ashburn = Location::new(39.04, -77.49).unwrap();
        assert_eq!(database.locate(address("10.0.0.1")), (Some(ashburn), 1));
        let described = database.describe(address("10.0.0.1"));
        assert_eq!(described.name.as_deref(), Some("Ashburn"));
        assert_eq!(described.country.as_deref(), Some("US"));
    }

    #[test]
    fn refuses_what_is_no_database() {
        let error = Database::new("x".to_owned(), b"GIF89a".to_vec()).unwrap_err();
        assert!(
            error.to_string().starts_with("not a MaxMind database: "),
            "{error}"
        );
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A database that knows `record` of 0.0.0.0/1 and nothing of the rest: one node of the search
    /// tree, 16 octets of separation, the record, and the metadata.
    fn lower_half(record: &[u8]) -> Vec<u8> {
        let (known, unknown) = ([0, 0, 1 + 16], [0, 0, 1]);
        let mut file = [known, unknown].concat();
        file.extend([0; 16]);
        file.extend_from_slice(record);
        file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        file.extend(map(&[
            ("binary_format_major_version", vec![0xa1, 2]),
            ("binary_format_minor_version", vec![0xa0]),
            ("build_epoch", vec![0x01, 0x02, 1]),
            ("database_type", text("Test")),
            ("description", vec![0xe0]),
            ("ip_version", vec![0xa1, 4]),
            ("languages", vec![0x00, 0x04]),
            ("node_count", vec![0xc1, 1]),
            ("record_size", vec![0xa1, 24]),
        ]));
        file
    }

    fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | u8::try_from(entries.len()).unwrap()];
        for (key, value) in entries {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        bytes
    }

    fn text(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 29, "longer texts are written otherwise");
        [&[0x40 | length], text.as_bytes()].concat()
    }

    fn double(number: f64) -> Vec<u8> {
        [&[0x68], number.to_be_bytes().as_slice()].concat()
    }
}
