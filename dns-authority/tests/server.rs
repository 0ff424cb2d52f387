//! The authority as its users meet it: the binary, asked by `dig` and `kdig`, with real targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the clock to notice what hangs"
)]

#[path = "server/answers.rs"]
mod answers;
#[path = "server/conformance.rs"]
mod conformance;
#[path = "server/drains.rs"]
mod drains;
#[path = "server/files.rs"]
mod files;
#[path = "server/health.rs"]
mod health;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/mesh.rs"]
mod mesh;
#[path = "server/mmdb.rs"]
mod mmdb;
#[path = "server/peers.rs"]
mod peers;
#[path = "server/places.rs"]
mod places;
#[path = "server/powerdns.rs"]
mod powerdns;
#[path = "server/process.rs"]
mod process;
#[path = "server/scale.rs"]
mod scale;
#[path = "server/sharing.rs"]
mod sharing;
#[path = "server/signed.rs"]
mod signed;
#[path = "server/target.rs"]
mod target;
#[path = "server/transports.rs"]
mod transports;

/// Frankfurt and Ashburn: clients in 10.1 and 10.2, targets near each.
const OVERRIDES: &str = "
- {prefix: 10.1.0.0/16, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 192.0.2.0/24, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 127.0.0.11/32, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 10.2.0.0/16, latitude: 39.04, longitude: -77.49, name: Ashburn}
- {prefix: 198.51.100.0/24, latitude: 39.04, longitude: -77.49, name: Ashburn}
- {prefix: 127.0.0.12/32, latitude: 39.04, longitude: -77.49, name: Ashburn}
";

/// A zone with `records` from its eighth line on.
fn zone(records: &str) -> String {
    format!(
        "$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.1
mail MX 10 www
alias CNAME www
{records}"
    )
}
