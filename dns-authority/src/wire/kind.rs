//! Types of records and questions, as IANA numbers them, and their names.

use std::fmt;
use std::str::FromStr as _;

use hickory_proto::rr::RecordType;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const SIG: u16 = 24;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const DS: u16 = 43;
pub const RRSIG: u16 = 46;
pub const NSEC: u16 = 47;
pub const DNSKEY: u16 = 48;
pub const NSEC3: u16 = 50;
pub const NSEC3PARAM: u16 = 51;
pub const CDS: u16 = 59;
pub const CDNSKEY: u16 = 60;
pub const HTTPS: u16 = 65;
/// In the bitmap of a name that does not exist (RFC 9824 section 2); no record has this type.
pub const NXNAME: u16 = 128;
pub const TSIG: u16 = 250;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;
pub const CAA: u16 = 257;
/// Private to PowerDNS: what such a record says is never answered.
pub const LUA: u16 = 65_402;

/// The type's name, or `TYPE` and its number (RFC 3597 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub u16);

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = RecordType::from(self.0);
        match matches!(kind, RecordType::Unknown(_)) {
            true => write!(formatter, "TYPE{}", self.0),
            false => write!(formatter, "{kind}"),
        }
    }
}

/// The type that `text` names, in any case, or numbers as in `TYPE65280`.
pub fn named(text: &str) -> Option<u16> {
    let text = text.to_ascii_uppercase();
    if let Some(number) = text.strip_prefix("TYPE") {
        return number.parse().ok();
    }
    RecordType::from_str(&text).ok().map(u16::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_types_by_name_and_by_number() {
        assert_eq!(named("aaaa"), Some(AAAA));
        assert_eq!(named("TYPE65280"), Some(65280));
        assert_eq!(named("TYPE65536"), None);
        assert_eq!(named("BOGUS"), None);
        assert_eq!(Shown(HTTPS).to_string(), "HTTPS");
        assert_eq!(Shown(65280).to_string(), "TYPE65280");
    }
}
