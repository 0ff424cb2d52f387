//! Reads the URLs of health checks into whom to ask, and what.

use std::net::{IpAddr, SocketAddr};

use super::options::Options;
use crate::check::{Endpoint, GrpcProbe, HttpProbe, Method};

/// What asks `text`, and at which port, which is 0 where the question knows no ports.
pub(super) fn method(text: &str, options: &Options) -> Result<(u16, Method), String> {
    let url = Url::parse(text)?;
    Ok((url.port, url.method(options)))
}

/// The same for a URL that is asked at its own address, or at that of its host.
pub(super) fn external(text: &str, options: &Options) -> Result<(Endpoint, Method), String> {
    let url = Url::parse(text)?;
    let target = match url.host.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, url.port).into(),
        Err(_) if is_name(&url.host) => Endpoint::Named {
            host: url.host.clone(),
            port: url.port,
        },
        Err(_) => {
            return Err(format!(
                "`{}` in `{text}` is neither an IP address nor a host name",
                url.host
            ));
        }
    };
    Ok((target, url.method(options)))
}

/// A URL (RFC 3986) without fragment; user names are refused.
struct Url {
    scheme: Scheme,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// As a `Host` header says it: with the port unless that is the scheme's default.
    authority: String,
    /// Path and query, at least `/`.
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Grpc,
    Grpcs,
    Http,
    Https,
    /// An echo: the host says whom to ask, if nothing else does.
    Icmp,
}

const SCHEMES: &[(&str, Scheme)] = &[
    ("grpc", Scheme::Grpc),
    ("grpcs", Scheme::Grpcs),
    ("http", Scheme::Http),
    ("https", Scheme::Https),
    ("icmp", Scheme::Icmp),
];

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let found = text.split_once("://").and_then(|(name, rest)| {
            let scheme = SCHEMES.iter().find(|it| it.0 == name)?.1;
            Some((scheme, rest))
        });
        let (scheme, rest) = found.ok_or_else(|| {
            format!(
                "`{text}` is not a URL that starts with grpc://, grpcs://, http://, https:// or \
                 icmp://"
            )
        })?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if scheme == Scheme::Icmp && (port.is_some() || !["", "/"].contains(&path)) {
            return Err(format!(
                "an echo has neither port nor path: write `icmp://{host}` instead of `{text}`"
            ));
        }

        let default = scheme.port();
        let port = port.map_or(Ok(default), |it| {
            it.parse::<u16>()
                .map_err(|_| format!("`{it}` in `{text}` is not a port"))
        })?;
        let host_fits = |it: char| it.is_ascii_alphanumeric() || "-._[]:".contains(it);
        let is_missing = host.is_empty() && scheme != Scheme::Icmp;
        if is_missing || !host.chars().all(host_fits) {
            return Err(format!("`{host}` in `{text}` is not a host name"));
        }
        if !path.chars().all(|it| it.is_ascii_graphic()) {
            return Err(format!(
                "the path of `{text}` has to be printable ASCII without spaces"
            ));
        }
        Ok(Self {
            scheme,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: match port == default {
                true => host.to_owned(),
                false => format!("{host}:{port}"),
            },
            path: match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/{path}"),
            },
        })
    }

    fn method(self, options: &Options) -> Method {
        let options = &options.url;
        let tls = self.scheme.is_encrypted().then(|| options.tls(&self.host));
        match self.scheme {
            Scheme::Grpc | Scheme::Grpcs => Method::Grpc(GrpcProbe {
                tls,
                authority: self.authority,
                service: self.path[1..].to_owned(),
            }),
            Scheme::Http | Scheme::Https => Method::Http(HttpProbe {
                tls,
                authority: self.authority,
                path: self.path,
                user_agent: options.user_agent.clone(),
                headers: options.headers.clone(),
                expected_status: options.expected_status.clone(),
                body_contains: options.body_contains.clone(),
                body_bytes_max: options.body_bytes_max,
            }),
            Scheme::Icmp => Method::Icmp,
        }
    }
}

impl Scheme {
    /// Where a URL without a port is asked.
    fn port(self) -> u16 {
        match self {
            Self::Grpc | Self::Http => 80,
            Self::Grpcs | Self::Https => 443,
            Self::Icmp => 0,
        }
    }

    fn is_encrypted(self) -> bool {
        matches!(self, Self::Grpcs | Self::Https)
    }
}

/// Whether `host` can be looked up. What ends in a number is a mistyped address.
fn is_name(host: &str) -> bool {
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._".contains(it);
    let last = host.trim_end_matches('.').rsplit('.').next();
    let is_number = last.is_none_or(|it| it.chars().all(|it| it.is_ascii_digit()));
    host.chars().all(fits) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whom_to_ask_and_what() {
        check("http://a.test", "http://a.test/ at a.test:80");
        check(
            "http://a.test:443?x=1#part",
            "http://a.test:443/?x=1 at a.test:443",
        );
        check(
            "https://192.0.2.1/up",
            "https://192.0.2.1/up at 192.0.2.1:443",
        );
        check(
            "https://[2001:db8::1]:8443/",
            "https://[2001:db8::1]:8443/ at [2001:db8::1]:8443",
        );
        check("grpc://a.test", "grpc://a.test/ at a.test:80");
        check(
            "grpcs://a.test:9000/shop.Cart",
            "grpcs://a.test:9000/shop.Cart at a.test:9000",
        );
        check("icmp://192.0.2.1", "icmp at 192.0.2.1");
        check("icmp://[2001:db8::1]", "icmp at 2001:db8::1");
        check("icmp://router.test/", "icmp at router.test:0");
    }

    #[test]
    fn asks_any_target_for_an_echo() {
        let asked = method("icmp://", &Options::default());
        assert_eq!(asked, Ok((0, Method::Icmp)));
    }

    #[test]
    fn says_what_is_wrong_with_a_url() {
        for (text, expected) in [
            (
                "tcp://a.test:80",
                "`tcp://a.test:80` is not a URL that starts with grpc://, grpcs://, http://, \
                 https:// or icmp://",
            ),
            ("http://", "`` in `http://` is not a host name"),
            (
                "http://me@a.test",
                "`me@a.test` in `http://me@a.test` is not a host name",
            ),
            (
                "http://a.test:http",
                "`http` in `http://a.test:http` is not a port",
            ),
            (
                "grpc://a.test/a b",
                "the path of `grpc://a.test/a b` has to be printable ASCII without spaces",
            ),
            (
                "icmp://192.0.2.1:7",
                "an echo has neither port nor path: write `icmp://192.0.2.1` instead of \
                 `icmp://192.0.2.1:7`",
            ),
            (
                "http://192.0.2.256",
                "`192.0.2.256` in `http://192.0.2.256` is neither an IP address nor a host name",
            ),
            (
                "icmp://",
                "`` in `icmp://` is neither an IP address nor a host name",
            ),
        ] {
            let error = external(text, &Options::default()).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (target, method) = external(text, &Options::default()).unwrap();
        assert_eq!(format!("{} at {target}", method.question()), expected);
    }
}
