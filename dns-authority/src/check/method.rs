//! What is asked of a target, and which answer counts as healthy.

use std::fmt;
use std::ops::RangeInclusive;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Healthy if the server says that it serves (gRPC's own health protocol, `grpc.health.v1`).
    Grpc(GrpcProbe),
    /// Healthy if the URL is answered as expected.
    Http(HttpProbe),
    /// Healthy if an echo request comes back.
    Icmp,
    /// Healthy if a TCP connection is accepted.
    Tcp,
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcProbe {
    /// `None` for plaintext.
    pub tls: Option<TlsProbe>,
    /// Host, with the port unless it is the scheme's default.
    pub authority: String,
    /// The service that is asked about; empty for the server as a whole.
    pub service: String,
}

/// An HTTP GET and the answer that counts as healthy. Redirects are answers, and not followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpProbe {
    /// `None` for plaintext.
    pub tls: Option<TlsProbe>,
    /// Host, with the port unless it is the scheme's default: the `Host` header.
    pub authority: String,
    /// Path and query, at least `/`.
    pub path: String,
    pub user_agent: String,
    /// Sent beside ours, or instead of ours of the same name.
    pub headers: Headers,
    pub expected_status: StatusSet,
    pub body_contains: Option<String>,
    /// Octets of the body that are read at most.
    pub body_bytes_max: usize,
}

/// What is asked of a certificate. Of itself, nothing: a probe finds out whether a target serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsProbe {
    /// The name that the target is told (SNI), and that its certificate has to hold if it is
    /// verified.
    pub name: String,
    /// Whether the certificate has to come from the operator's roots, be in force and hold `name`.
    pub verify: bool,
    /// A name that the certificate has to hold, verified or not.
    pub expected_name: Option<String>,
    /// Whole days for which the certificate has to be in force yet.
    pub days_left_min: Option<u32>,
}

/// Headers of a request, whose values may be secrets: `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Headers(Vec<(String, String)>);

/// Status codes that count as healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusSet(Vec<(u16, u16)>);

/// A body is looked through up to here unless the check says otherwise: enough to find a word in, and
/// little enough to read from every target at once.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What targets find in their logs, unless a check says otherwise.
pub const USER_AGENT: &str = "causeway-dns-authority";

impl Method {
    /// The URL, or the protocol's name: with the target it says what is asked of whom.
    pub fn question(&self) -> String {
        let scheme = |plain: &str, tls: &Option<TlsProbe>| match tls {
            None => plain.to_owned(),
            Some(_) => format!("{plain}s"),
        };
        match self {
            Self::Grpc(it) => {
                let scheme = scheme("grpc", &it.tls);
                format!("{scheme}://{}/{}", it.authority, it.service)
            }
            Self::Http(it) => {
                let scheme = scheme("http", &it.tls);
                format!("{scheme}://{}{}", it.authority, it.path)
            }
            Self::Icmp => "icmp".to_owned(),
            Self::Tcp => "tcp".to_owned(),
        }
    }
}

impl HttpProbe {
    /// A GET of `path` that is answered with status 200, without TLS.
    pub fn plain(authority: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            tls: None,
            authority: authority.into(),
            path: path.into(),
            user_agent: USER_AGENT.to_owned(),
            headers: Headers::default(),
            expected_status: 200.into(),
            body_contains: None,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

impl TlsProbe {
    /// Tells the target `name`, and takes any certificate.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verify: false,
            expected_name: None,
            days_left_min: None,
        }
    }
}

impl Headers {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl From<Vec<(String, String)>> for Headers {
    fn from(headers: Vec<(String, String)>) -> Self {
        Self(headers)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

impl StatusSet {
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let ranges = ranges.into_iter().map(RangeInclusive::into_inner);
        Self(ranges.collect())
    }

    pub fn contains(&self, status: u16) -> bool {
        let mut ranges = self.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl From<u16> for StatusSet {
    fn from(status: u16) -> Self {
        Self(vec![(status, status)])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            match first == last {
                true => write!(formatter, "{gap}{first}")?,
                false => write!(formatter, "{gap}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_status_is_expected() {
        let set = StatusSet::new([200..=204, 301..=301]);

        assert_eq!(set.to_string(), "200-204, 301");
        assert!(set.contains(200) && set.contains(204) && set.contains(301));
        assert!(!set.contains(205) && !set.contains(300));
    }

    #[test]
    fn shows_names_of_headers_and_never_values() {
        let headers = vec![("authorization".to_owned(), "Bearer hunter2".to_owned())];
        let probe = HttpProbe {
            headers: headers.into(),
            ..HttpProbe::plain("shop.test", "/")
        };

        let shown = format!("{probe:?}");
        assert!(shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
