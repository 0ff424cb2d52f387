//! What the command line says of DNSSEC.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::denial::Denial;
use crate::wire::name::Folded;

/// Which zones are signed, and how.
#[derive(Args, Clone, Debug, Default)]
pub struct SigningOptions {
    /// Directory of the private keys of zones; each zone that has a file there is signed
    #[arg(long, env = "CAUSEWAY_DNSSEC_DIR", value_name = "DIR")]
    pub dnssec_dir: Option<PathBuf>,

    /// Makes keys for a zone that has none, and rolls them over: ecdsap256 or ed25519, then :nsec or :nsec3
    /// (compact denial otherwise) and :split (one key for everything otherwise); may be repeated, and
    /// stands at one authority of the zone alone: others are given copies of the file
    #[arg(
        long = "dnssec",
        env = "CAUSEWAY_DNSSEC",
        value_name = "ZONE=ALGORITHM[:...]",
        value_delimiter = ',',
        value_parser = wish,
        requires = "dnssec_dir"
    )]
    pub dnssec: Vec<Wish>,

    /// Resolver, or server of the parent zone, that tells whether the parent has a zone's DS records
    #[arg(long, env = "CAUSEWAY_DNSSEC_PARENT", value_name = "ADDR:PORT")]
    pub dnssec_parent: Option<SocketAddr>,

    /// Days after which keys that only sign are replaced (with :split)
    #[arg(
        long,
        env = "CAUSEWAY_DNSSEC_ZSK_LIFETIME",
        value_name = "DAYS",
        default_value_t = 90,
        value_parser = clap::value_parser!(u64).range(7..)
    )]
    pub dnssec_zsk_lifetime: u64,

    /// Days after which keys that the parent knows are replaced, if it follows CDS records; else never
    #[arg(
        long,
        env = "CAUSEWAY_DNSSEC_KSK_LIFETIME",
        value_name = "DAYS",
        requires = "dnssec_parent",
        value_parser = clap::value_parser!(u64).range(30..)
    )]
    pub dnssec_ksk_lifetime: Option<u64>,
}

/// How a zone is to be signed.
#[derive(Clone, Debug)]
pub struct Wish {
    pub origin: Folded,
    pub algorithm: Algorithm,
    pub denial: Denial,
    /// Whether the parent knows another key than the one that signs.
    pub is_split: bool,
}

fn wish(text: &str) -> Result<Wish, String> {
    let (origin, how) = text
        .split_once('=')
        .ok_or("expected ZONE=ALGORITHM, such as example.com=ecdsap256")?;
    let mut words = how.split(':');
    let mut wish = Wish {
        origin: Folded::parse(origin)
            .map_err(|it| format!("{origin} is not a domain name: {it}"))?,
        algorithm: words.next().unwrap_or_default().parse()?,
        denial: Denial::default(),
        is_split: false,
    };
    for word in words {
        match word {
            "split" => wish.is_split = true,
            other => wish.denial = other.parse().map_err(|it| format!("{it}; or split"))?,
        }
    }
    Ok(wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_a_zone_is_to_be_signed() {
        let read = |text: &str| {
            wish(text).map(|it| {
                format!(
                    "{:?} {} {} {}",
                    it.origin, it.algorithm, it.denial, it.is_split
                )
            })
        };
        let some = |text: &str| Ok(text.to_owned());
        assert_eq!(
            read("a.test=ecdsap256"),
            some("a.test. ecdsap256 compact false")
        );
        assert_eq!(
            read("A.test=ed25519:nsec3:split"),
            some("a.test. ed25519 nsec3 true")
        );
        for bad in [
            "a.test",
            "a..test=ed25519",
            "a.test=rsa",
            "a.test=ed25519:nsec5",
            "a.test=",
        ] {
            assert!(wish(bad).is_err(), "{bad}");
        }
    }
}
