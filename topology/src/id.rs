//! Decides what counts as a valid cluster, node, service or identity name.

use std::fmt;
use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A cluster's number in the mesh, 1 to 511.
///
/// Which numbers a mesh really uses (255 or 511) is its `maxConnectedClusters`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ClusterId(u32);

impl ClusterId {
    pub const MAX: u32 = 511;

    pub fn get(self) -> u32 {
        self.0
    }

    /// The identities that this cluster may allocate in a mesh of `size`: 65,536 numbers that share
    /// the cluster's id in bits 16 to 23, or 32,768 that share it in bits 15 to 23.
    pub fn identity_range(self, size: MeshSize) -> RangeInclusive<u32> {
        let bits = IDENTITY_BITS - size.cluster_bits();
        let first = self.0 << bits;
        first..=first + (1 << bits) - 1
    }
}

/// Bits of an identity that one cluster of a mesh may allocate.
const IDENTITY_BITS: u32 = 24;

/// How many clusters a mesh may have (`maxConnectedClusters`): what identities leave room for.
///
/// Clusters of one mesh must agree on it, because it decides how identities are numbered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum MeshSize {
    /// Upstream's default.
    #[default]
    Of255,
    Of511,
}

impl MeshSize {
    /// The highest cluster id, which is also how many clusters there may be.
    pub fn clusters(self) -> u32 {
        match self {
            Self::Of255 => 255,
            Self::Of511 => 511,
        }
    }

    fn cluster_bits(self) -> u32 {
        match self {
            Self::Of255 => 8,
            Self::Of511 => 9,
        }
    }
}

impl TryFrom<u32> for MeshSize {
    type Error = InvalidId;

    fn try_from(clusters: u32) -> Result<Self, InvalidId> {
        match clusters {
            255 => Ok(Self::Of255),
            511 => Ok(Self::Of511),
            _ => Err(InvalidId::MeshSize(clusters)),
        }
    }
}

impl From<MeshSize> for u32 {
    fn from(size: MeshSize) -> Self {
        size.clusters()
    }
}

impl FromStr for MeshSize {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let clusters: u32 = text.parse().map_err(InvalidId::NotANumber)?;
        clusters.try_into()
    }
}

impl fmt::Display for MeshSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clusters().fmt(formatter)
    }
}

impl TryFrom<u32> for ClusterId {
    type Error = InvalidId;

    fn try_from(number: u32) -> Result<Self, InvalidId> {
        match number {
            1..=Self::MAX => Ok(Self(number)),
            _ => Err(InvalidId::ClusterId(number)),
        }
    }
}

impl From<ClusterId> for u32 {
    fn from(id: ClusterId) -> Self {
        id.0
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number: u32 = text.parse().map_err(InvalidId::NotANumber)?;
        number.try_into()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Declares a name: a string that passed `check` once and never needs another look.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

name! {
    /// A cluster's name: at most 32 lowercase letters, digits and inner dashes, as upstream requires.
    ClusterName, check_cluster_name
}

name! {
    /// A node's name within its cluster: a DNS subdomain (RFC 1123).
    NodeName, check_subdomain
}

/// A Service's name within a cluster.
///
/// The same namespace and name in two clusters mean the same global service.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName {
    namespace: String,
    name: String,
}

impl ServiceName {
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidId> {
        check_subdomain(namespace)?;
        check_subdomain(name)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

/// Reads `NAMESPACE/NAME`.
impl FromStr for ServiceName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some((namespace, name)) = text.split_once('/') else {
            return Err(InvalidId::NotNamespaced(text.to_owned()));
        };
        Self::new(namespace, name)
    }
}

impl From<ServiceName> for String {
    fn from(service: ServiceName) -> Self {
        service.to_string()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A security identity's number: below 256 reserved, else allocated by one cluster.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct NumericIdentity(pub u32);

impl NumericIdentity {
    pub const REMOTE_NODE: Self = Self(6);

    /// Reserved numbers mean the same in every cluster.
    pub fn is_reserved(self) -> bool {
        self.0 < 256
    }

    /// Whether `cluster` may announce this identity in a mesh of `size`.
    pub fn belongs_to(self, cluster: ClusterId, size: MeshSize) -> bool {
        cluster.identity_range(size).contains(&self.0)
    }
}

impl fmt::Display for NumericIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a name or number is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidId {
    #[error("cluster id {0} is not between 1 and 511")]
    ClusterId(u32),
    #[error("a mesh has at most 255 or 511 clusters, not {0}")]
    MeshSize(u32),
    #[error("cluster name {0:?} is not 1 to 32 lowercase letters, digits and inner dashes")]
    ClusterName(String),
    #[error("{0:?} is not a lowercase DNS name of at most 253 characters")]
    Subdomain(String),
    #[error("{0:?} is not NAMESPACE/NAME")]
    NotNamespaced(String),
    #[error("not a number")]
    NotANumber(#[source] ParseIntError),
}

fn check_cluster_name(text: &str) -> Result<(), InvalidId> {
    if text.len() <= 32 && is_label(text) {
        Ok(())
    } else {
        Err(InvalidId::ClusterName(text.to_owned()))
    }
}

fn check_subdomain(text: &str) -> Result<(), InvalidId> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(())
    } else {
        Err(InvalidId::Subdomain(text.to_owned()))
    }
}

fn is_label(text: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_would_break_a_key() {
        for bad in ["", "-a", "a-", "A", "a/b", "a_b", &"a".repeat(33)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?}");
        }
        assert!("eu-1".parse::<ClusterName>().is_ok());
        assert!("node-1.example.org".parse::<NodeName>().is_ok());
        assert!("node..org".parse::<NodeName>().is_err());
    }

    #[test]
    fn reads_a_service_as_people_write_it() {
        let service: ServiceName = "shop/web".parse().unwrap();

        assert_eq!((service.namespace(), service.name()), ("shop", "web"));
        assert!("shop".parse::<ServiceName>().is_err());
    }

    #[test]
    fn knows_which_cluster_may_announce_an_identity() {
        let alpha = ClusterId::try_from(1).unwrap();

        assert_eq!(alpha.identity_range(MeshSize::Of255), 65_536..=131_071);
        assert_eq!(alpha.identity_range(MeshSize::Of511), 32_768..=65_535);
        assert!(NumericIdentity(131_071).belongs_to(alpha, MeshSize::Of255));
        assert!(!NumericIdentity(131_072).belongs_to(alpha, MeshSize::Of255));
        assert!(NumericIdentity(255).is_reserved());
    }

    #[test]
    fn refuses_cluster_ids_outside_the_mesh() {
        assert_eq!(ClusterId::try_from(0), Err(InvalidId::ClusterId(0)));
        assert_eq!(ClusterId::try_from(512), Err(InvalidId::ClusterId(512)));
        assert_eq!("511".parse(), Ok(ClusterId(511)));
        assert_eq!("511".parse(), Ok(MeshSize::Of511));
        assert!("256".parse::<MeshSize>().is_err());
    }
}
