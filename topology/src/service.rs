//! Services as a node agent balances them: addresses, ports, backends, affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Which clusters' backends a global service prefers.
///
/// From the annotation `service.cilium.io/affinity` (alias `io.cilium/service-affinity`); a value
/// that is none of these means [`Affinity::None`], as upstream.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    Local,
    #[default]
    None,
    Remote,
}

impl Affinity {
    /// `None` for a value that upstream does not know either.
    pub fn from_annotation(value: &str) -> Option<Self> {
        match value {
            "local" => Some(Self::Local),
            "none" => Some(Self::None),
            "remote" => Some(Self::Remote),
            _ => None,
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Local => "local",
            Self::None => "none",
            Self::Remote => "remote",
        })
    }
}

/// A transport protocol, spelled as Kubernetes and the store spell it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Protocol {
    #[serde(rename = "SCTP")]
    Sctp,
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sctp => "SCTP",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A port with its protocol, in the store's spelling (`{"Protocol":"TCP","Port":80}`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct L4Port {
    pub protocol: Protocol,
    pub port: u16,
}

/// Port names to ports; the name of a single unnamed port is empty.
pub type NamedPorts = BTreeMap<String, L4Port>;

/// A Service of the own cluster, as its node agents and DNS authorities need it.
///
/// Our own record kind: upstream's agents read these facts from Kubernetes instead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LocalService {
    /// Whether the backends of other clusters are merged in.
    pub global: bool,
    /// Whether other clusters may use the backends here.
    pub shared: bool,
    pub affinity: Affinity,
    /// ClusterIPs; empty for a headless service.
    pub frontends: BTreeSet<IpAddr>,
    /// The ports that the ClusterIPs answer on.
    pub ports: NamedPorts,
    /// Every endpoint that is ready or serving, each with its target ports.
    pub backends: BTreeMap<IpAddr, NamedPorts>,
}
