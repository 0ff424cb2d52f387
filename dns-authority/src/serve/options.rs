//! The part of the command line that says where and how queries are answered.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use ipnet::IpNet;

use crate::limit::{PER_SECOND_MAX, Rates};

const NSID_BYTES_MAX: usize = 64;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Address that answers queries, over UDP and TCP; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        default_value = "0.0.0.0:53,[::]:53"
    )]
    pub listen: Vec<SocketAddr>,

    /// Threads that answer over UDP, for each address; 0 for one per core
    #[arg(
        long,
        env = "CAUSEWAY_UDP_THREADS",
        value_name = "COUNT",
        default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(0..=256)
    )]
    pub udp_threads: u16,

    /// Address that answers queries over TLS, usually with port 853; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_LISTEN_TLS",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        requires = "tls_cert"
    )]
    pub listen_tls: Vec<SocketAddr>,

    /// Address that answers queries over HTTPS, usually with port 443; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_LISTEN_HTTPS",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        requires = "tls_cert"
    )]
    pub listen_https: Vec<SocketAddr>,

    /// Address that answers queries over QUIC, usually with port 853; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_LISTEN_QUIC",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        requires = "tls_cert"
    )]
    pub listen_quic: Vec<SocketAddr>,

    /// PEM file of the certificate for encrypted transports, with those that it is signed by; read
    /// again when it changes
    #[arg(
        long,
        env = "CAUSEWAY_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file of the key of --tls-cert
    #[arg(
        long,
        env = "CAUSEWAY_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// File with the secret of DNS cookies, 32 hexadecimal digits, and on its next line the former one
    /// while others still use it; the same for all servers of a name. Read again when it changes; without
    /// it, every start has another secret
    #[arg(long, env = "CAUSEWAY_COOKIE_SECRET_FILE", value_name = "FILE")]
    pub cookie_secret_file: Option<PathBuf>,

    /// What the server is called, told to those who ask for it (NSID); nothing by default
    #[arg(
        long,
        env = "CAUSEWAY_NSID",
        value_name = "NAME",
        default_value = "",
        value_parser = nsid
    )]
    pub nsid: String,

    /// Answers per second to one network of clients (IPv4 /24, IPv6 /56) that may not be where they say
    /// they are: over UDP, without a cookie. Beyond it they are sent to TCP, or get nothing. 0 for no limit
    #[arg(
        long,
        env = "CAUSEWAY_RATE_LIMIT",
        value_name = "COUNT",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(PER_SECOND_MAX))
    )]
    pub rate_limit: u32,

    /// One of so many queries beyond --rate-limit is sent to TCP, the others get nothing; 0 for none
    #[arg(
        long,
        env = "CAUSEWAY_RATE_LIMIT_SLIP",
        value_name = "COUNT",
        default_value_t = 2
    )]
    pub rate_limit_slip: u32,

    /// Network that --rate-limit is not for; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_RATE_LIMIT_EXEMPT",
        value_name = "PREFIX",
        value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128"
    )]
    pub rate_limit_exempt: Vec<IpNet>,
}

impl Options {
    /// How many sockets share each address for UDP.
    pub fn udp_sockets(&self) -> usize {
        match self.udp_threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            count => count.into(),
        }
    }

    /// `None` if nobody is limited.
    pub fn rates(&self) -> Option<Rates> {
        (self.rate_limit != 0).then(|| Rates {
            per_second: self.rate_limit,
            slip: self.rate_limit_slip,
            exempt: self.rate_limit_exempt.clone(),
        })
    }
}

/// The name has to fit into every answer.
fn nsid(name: &str) -> Result<String, String> {
    match name.len() {
        0..=NSID_BYTES_MAX => Ok(name.to_owned()),
        length => Err(format!(
            "it has {length} octets, and {NSID_BYTES_MAX} are allowed: answers must have room for it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::config::Config;

    #[test]
    fn has_limits_that_can_be_turned_off() {
        let rates = |arguments: &[&str]| parse(arguments).unwrap().serving.rates();
        let default = rates(&[]).unwrap();
        assert_eq!((default.per_second, default.slip), (5000, 2));
        let exempt: Vec<String> = default.exempt.iter().map(ToString::to_string).collect();
        assert_eq!(exempt, ["127.0.0.0/8", "::1/128"]);

        assert_eq!(rates(&["--rate-limit", "0"]), None);
    }

    #[test]
    fn listens_to_nobody_encrypted_without_a_certificate() {
        let any = "127.0.0.1:0";
        for flag in ["--listen-tls", "--listen-https", "--listen-quic"] {
            assert_eq!(parse(&[flag, any]).unwrap_err().exit_code(), 2, "{flag}");
            assert!(parse(&[flag, any, "--tls-cert", "a", "--tls-key", "b"]).is_ok());
            parse(&[flag, any, "--tls-cert", "a"]).unwrap_err();
        }
        parse(&["--tls-key", "b"]).unwrap_err();
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for bad in [
            &["--nsid", &*"x".repeat(65)][..],
            &["--rate-limit", "2000000"],
            &["--rate-limit-exempt", "192.0.2.1/33"],
            &["--udp-threads", "1000"],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from([&["dns-authority"], arguments].concat())
    }
}
