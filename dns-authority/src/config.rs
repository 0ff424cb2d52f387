//! The command line.

mod signing;

pub use signing::{SigningOptions, Wish};

use std::path::PathBuf;

use clap::Parser;

use crate::lifetime::Bounds;
use crate::shared_health::Vantage;
use crate::wire::name::Folded;

use crate::serve;

/// Authoritative DNS with health-checked, geo-aware answers
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    mut_arg("admin", |it| it.default_value("127.0.0.1:9963")),
    after_help = "\
Example:
  dns-authority --zone example.com=/etc/zones/example.com --state-dir /var/lib/causeway/dns

Zones are files of ordinary records and of LUA records in PowerDNS's notation, as far as they are one call of
all, ifportup, ifurlup, pickclosest, pickhashed, pickrandom, pickwhashed or pickwrandom. Changed files are taken
over within a second or two; one with a mistake is reported, and its zone stays as it was.

Probes of https:// URLs accept any certificate unless a record asks for more, as PowerDNS's do: they find out
whether a target serves, not whether it is the right one. Whoever can redirect such a probe can make a target count
as healthy, nothing more.

Ask `meshctl explain dns NAME --from ADDRESS` why an answer is what it is."
)]
pub struct Config {
    #[command(flatten)]
    pub serving: serve::options::Options,

    /// A zone and its file; may be repeated (commas between several in the environment)
    #[arg(
        long = "zone",
        env = "CAUSEWAY_ZONE",
        value_name = "ORIGIN=FILE",
        value_delimiter = ',',
        value_parser = zone_source
    )]
    pub zones: Vec<ZoneSource>,

    /// A GeoIP database in MaxMind's format; may be repeated, the first that knows an address wins
    #[arg(
        long,
        env = "CAUSEWAY_GEOIP",
        value_name = "MMDB",
        value_delimiter = ','
    )]
    pub geoip: Vec<PathBuf>,

    /// YAML list of {prefix, latitude, longitude, country, continent, name}; wins over --geoip
    #[arg(long, env = "CAUSEWAY_GEO_OVERRIDES", value_name = "FILE")]
    pub geo_overrides: Option<PathBuf>,

    /// How to reach the own cluster's etcd; adds names of the mesh's global services
    #[arg(long, env = "CAUSEWAY_ETCD_CONFIG", value_name = "FILE")]
    pub etcd_config: Option<PathBuf>,

    /// Directory that keeps the health of targets over restarts; without it, they begin unknown
    #[arg(long, env = "CAUSEWAY_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Certificates of authorities, in PEM, for probes that are to verify their targets
    #[arg(long, env = "CAUSEWAY_PROBE_ROOTS", value_name = "FILE")]
    pub probe_roots: Option<PathBuf>,

    /// Name that other authorities know this one by; each needs its own [default: the host's name]
    #[arg(long, env = "CAUSEWAY_VANTAGE", value_name = "NAME")]
    pub vantage: Option<Vantage>,

    /// Seconds for which answers of health-checked records are kept right after a change
    ///
    /// With this or --ttl-max, such answers are kept for a tenth of the time since health last changed: at
    /// least for --ttl-min and at most for --ttl-max, each of which is the record's TTL if it is not given.
    #[arg(long, env = "CAUSEWAY_TTL_MIN", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=TTL_MAX))]
    pub ttl_min: Option<u32>,

    /// Seconds for which answers of health-checked records are kept after a long calm; see --ttl-min
    #[arg(long, env = "CAUSEWAY_TTL_MAX", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=TTL_MAX))]
    pub ttl_max: Option<u32>,

    #[command(flatten)]
    pub signing: SigningOptions,

    #[command(flatten)]
    pub transfer: crate::transfer::options::Options,

    #[command(flatten)]
    pub daemon: daemon::Options,
}

/// A week in seconds: what is kept for longer is not health-checked.
const TTL_MAX: i64 = 604_800;

impl Config {
    /// Between which TTLs answers of health-checked records are.
    pub fn ttl_bounds(&self) -> Bounds {
        Bounds {
            min: self.ttl_min,
            max: self.ttl_max,
        }
    }
}

/// Where a zone comes from.
#[derive(Clone, Debug)]
pub struct ZoneSource {
    pub origin: Folded,
    pub file: PathBuf,
}

fn zone_source(text: &str) -> Result<ZoneSource, String> {
    let parts = text.split_once('=');
    let Some((origin, file)) =
        parts.filter(|(origin, file)| !origin.is_empty() && !file.is_empty())
    else {
        return Err("expected ORIGIN=FILE, such as example.com=/etc/zones/example.com".to_owned());
    };
    let origin =
        Folded::parse(origin).map_err(|it| format!("{origin} is not a domain name: {it}"))?;
    Ok(ZoneSource {
        origin,
        file: file.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_defaults_that_the_help_shows() {
        let config = Config::try_parse_from(["dns-authority"]).unwrap();

        let listen: Vec<String> = config
            .serving
            .listen
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(listen, ["0.0.0.0:53", "[::]:53"]);
        assert_eq!(config.daemon.admin.to_string(), "127.0.0.1:9963");
    }

    #[test]
    fn reads_several_zones_and_refuses_nonsense() {
        let config = Config::try_parse_from([
            "dns-authority",
            "--zone",
            "a.test=x",
            "--zone",
            "b.test.=y=z",
        ])
        .unwrap();
        let zones: Vec<String> = config
            .zones
            .iter()
            .map(|it| format!("{:?} {}", it.origin, it.file.display()))
            .collect();
        assert_eq!(zones, ["a.test. x", "b.test. y=z"]);

        for bad in ["a.test", "a..test=x", "a.test=", "=x"] {
            let error = Config::try_parse_from(["dns-authority", "--zone", bad]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
        }
    }
}
