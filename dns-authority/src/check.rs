//! What is probed: one check per target and way of asking, shared by every record that names it.

pub mod board;
pub mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A question that is asked of one target, again and again. Records with equal questions share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    pub target: SocketAddr,
    pub method: Method,
    pub timing: Timing,
    /// The address that probes come from, if the operator chose one.
    pub source: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Healthy if the URL is answered as expected.
    Http(HttpProbe),
    /// Healthy if a TCP connection is accepted.
    Tcp,
}

/// An HTTP GET and the answer that counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpProbe {
    pub tls: bool,
    /// The URL's host, for SNI.
    pub host: String,
    /// Host, with the port unless it is the scheme's default: the `Host` header.
    pub authority: String,
    /// Path and query, at least `/`.
    pub path: String,
    pub user_agent: String,
    pub expected_status: u16,
    pub body_contains: Option<String>,
    /// Octets of the body that are read at most.
    pub body_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timing {
    pub interval: Duration,
    /// Bounds one probe, connecting included.
    pub timeout: Duration,
    /// Failures in a row before a target counts as unhealthy; at least 1.
    pub fall: u32,
}

impl Check {
    /// The URL, or `tcp`: with the target it says what is asked of whom.
    pub fn question(&self) -> String {
        match &self.method {
            Method::Tcp => "tcp".to_owned(),
            Method::Http(http) => {
                let scheme = if http.tls { "https" } else { "http" };
                format!("{scheme}://{}{}", http.authority, http.path)
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            Method::Tcp => write!(formatter, "tcp {}", self.target),
            Method::Http(_) => write!(formatter, "{} at {}", self.question(), self.target),
        }
    }
}

/// A check's place in the [`Checks`] that it was compiled with, and in the verdicts on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId(u32);

impl CheckId {
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("there are at most CHECKS_MAX checks"))
    }
}

/// Every distinct check of a set of zones.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    ids: BTreeMap<Arc<Check>, CheckId>,
    list: Vec<Arc<Check>>,
}

/// Ten times what one prober is meant for; a zone that asks for more is generated wrongly.
pub const CHECKS_MAX: usize = 1_000_000;

impl Checks {
    /// The id of `check`, which is new or shared; `None` if there are too many.
    pub(crate) fn intern(&mut self, check: Check) -> Option<CheckId> {
        if let Some(id) = self.ids.get(&check) {
            return Some(*id);
        }
        if self.list.len() >= CHECKS_MAX {
            return None;
        }
        let id = CheckId::from_index(self.list.len());
        let check = Arc::new(check);
        self.list.push(Arc::clone(&check));
        self.ids.insert(check, id);
        Some(id)
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Check>> {
        self.list.iter()
    }

    pub fn get(&self, id: CheckId) -> &Check {
        &self.list[id.index()]
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
