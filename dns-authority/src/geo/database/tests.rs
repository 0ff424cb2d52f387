use super::super::ranges::NOTHING;
use super::*;

#[test]
fn reads_the_nested_layout() {
    let location = map(&[("latitude", double(50.11)), ("longitude", double(8.68))]);
    let country = map(&[("iso_code", text("DE"))]);
    let region = [&[0x01, 0x04], map(&[("iso_code", text("HE"))]).as_slice()].concat();
    let record = [
        ("country", country),
        ("location", location),
        ("subdivisions", region),
    ];
    let record = map(&record);
    let database = Database::new("nested.mmdb".to_owned(), lower_half(&record)).unwrap();

    let frankfurt = Location::new(50.11, 8.68).unwrap();
    assert_eq!(database.locations(), [frankfurt]);
    assert_eq!(database.cells().find(address("10.0.0.1")), (0, 1));
    assert_eq!(database.cells().find(address("192.0.2.1")), (NOTHING, 1));
    assert_eq!(database.cells().find(address("2001:db8::1")), (NOTHING, 0));
    let (described, length) = database.describe(address("10.0.0.1"));
    assert_eq!(length, 1);
    assert_eq!(described.country.as_deref(), Some("DE"));
    assert_eq!(described.continent.as_deref(), Some("EU"), "by the country");
    assert_eq!(described.region.as_deref(), Some("HE"));
    assert_eq!(described.source.as_deref(), Some("nested.mmdb"));
}

#[test]
fn reads_the_flat_layout() {
    let record = map(&[
        ("city", text("Ashburn")),
        ("country_code", text("US")),
        ("latitude", single(39.04)),
        ("longitude", single(-77.49)),
        ("state1", text("Virginia")),
    ]);
    let database = Database::new("flat.mmdb".to_owned(), lower_half(&record)).unwrap();

    let ashburn = Location::new(39.04, -77.49).unwrap();
    assert_eq!(database.locations(), [ashburn]);
    let (described, _) = database.describe(address("10.0.0.1"));
    assert_eq!(described.region.as_deref(), Some("Virginia"));
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

fn single(number: f32) -> Vec<u8> {
    [&[0x04, 0x08], number.to_be_bytes().as_slice()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [&[0x68], number.to_be_bytes().as_slice()].concat()
}
