//! Decides what kind of records a key belongs to, for labels: few values, whatever the key.

use topology::record::Kind;

/// How many there are.
pub(super) const SCOPES: usize = 10;

/// A kind of records, in upstream's words.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scope {
    Kind(Kind),
    ClusterConfig,
    Own,
    Synced,
    Other,
}

impl Scope {
    /// Each at its [`index`](Self::index).
    pub(super) const ALL: [Self; SCOPES] = [
        Self::Kind(Kind::EndpointSlices),
        Self::Kind(Kind::Identities),
        Self::Kind(Kind::Ip),
        Self::Kind(Kind::Nodes),
        Self::Kind(Kind::ServiceExports),
        Self::Kind(Kind::Services),
        Self::ClusterConfig,
        Self::Own,
        Self::Synced,
        Self::Other,
    ];

    /// Of a key, or of a prefix that names its kind.
    pub(super) fn of(key: &str) -> Self {
        let mut parts = key.split('/');
        match (parts.next(), parts.next()) {
            (Some("cilium"), Some("state" | "cache")) => {
                let named = parts.next().unwrap_or_default();
                let kind = Kind::ALL.into_iter().find(|it| it.as_str() == named);
                kind.map_or(Self::Other, Self::Kind)
            }
            (Some("cilium"), Some("cluster-config")) => Self::ClusterConfig,
            (Some("cilium"), Some("synced")) => Self::Synced,
            (Some("causeway"), Some(_)) => Self::Own,
            _ => Self::Other,
        }
    }

    /// The name of the one scope that all keys have, or of none.
    pub(super) fn of_all<'a>(keys: impl IntoIterator<Item = &'a str>) -> &'static str {
        let mut scopes = keys.into_iter().map(Self::of);
        let Some(first) = scopes.next() else {
            return Self::Other.as_str();
        };
        match scopes.all(|it| it == first) {
            true => first.as_str(),
            false => "several",
        }
    }

    pub(super) fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|it| *it == self)
            .unwrap_or(SCOPES - 1)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kind(Kind::EndpointSlices) => "endpointslices/v1",
            Self::Kind(Kind::Identities) => "identities/v1",
            Self::Kind(Kind::Ip) => "ip/v1",
            Self::Kind(Kind::Nodes) => "nodes/v1",
            Self::Kind(Kind::ServiceExports) => "serviceexports/v1",
            Self::Kind(Kind::Services) => "services/v1",
            Self::ClusterConfig => "cluster-config",
            Self::Own => "causeway",
            Self::Synced => "synced",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kind_of_a_key_as_upstream_does() {
        for (key, scope) in [
            ("cilium/state/services/v1/eu/shop/shop", "services/v1"),
            ("cilium/cache/ip/v1/us/10.2.0.1", "ip/v1"),
            ("cilium/cache/nodes/v1/", "nodes/v1"),
            ("cilium/cluster-config/us", "cluster-config"),
            ("cilium/synced/us/cilium/cache/nodes/v1", "synced"),
            ("causeway/pulse/eu", "causeway"),
            ("cilium/state/unheard-of/v1/x", "other"),
            ("somebody/else", "other"),
            ("", "other"),
        ] {
            assert_eq!(Scope::of(key).as_str(), scope, "{key}");
        }
        let (ip, node) = ("cilium/state/ip/v1/a", "cilium/state/nodes/v1/b");
        assert_eq!(Scope::of_all([ip, ip]), "ip/v1");
        assert_eq!(Scope::of_all([ip, node]), "several");
        for scope in Scope::ALL {
            assert_eq!(Scope::ALL[scope.index()], scope);
        }
    }
}
