//! What is probed: one check per target and way of asking, shared by every record that names it.

pub mod board;
pub mod fingerprint;
pub mod memory;
pub mod method;

pub use fingerprint::Fingerprint;
pub use method::{GrpcProbe, Headers, HttpProbe, Method, StatusSet, TlsProbe};

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A question that is asked of one target, again and again. Records with equal questions share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check {
    pub target: Endpoint,
    pub method: Method,
    pub timing: Timing,
    /// The address that probes come from, if the operator chose one.
    pub source: Option<IpAddr>,
}

/// Whom a probe goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// The port is 0 where the question knows no ports.
    Address(SocketAddr),
    /// A host whose address is looked up for every probe: for health that is told elsewhere.
    Named { host: String, port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timing {
    pub interval: Duration,
    /// Bounds one probe, connecting included.
    pub timeout: Duration,
    /// Failures in a row before a target counts as unhealthy; at least 1.
    pub fall: u32,
    /// Successes in a row before an unhealthy target counts as healthy again; at least 1.
    pub rise: u32,
}

impl Check {
    /// What is asked, without whom.
    pub fn question(&self) -> String {
        self.method.question()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            Method::Icmp | Method::Tcp => write!(formatter, "{} {}", self.question(), self.target),
            Method::Grpc(_) | Method::Http(_) => {
                write!(formatter, "{} at {}", self.question(), self.target)
            }
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) if address.port() == 0 => write!(formatter, "{}", address.ip()),
            Self::Address(address) => write!(formatter, "{address}"),
            Self::Named { host, port } => write!(formatter, "{host}:{port}"),
        }
    }
}

/// A check's place in the [`Checks`] that it was compiled with, and in the verdicts on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId(u32);

impl CheckId {
    /// Of what nobody checks: always unknown.
    pub(crate) const NOBODY: Self = Self(u32::MAX);

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
