//! Answers what others ask of the mesh.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::Mesh;
use crate::geo::Location;
use crate::health::Health;
use crate::id::{ClusterId, ClusterName, NodeName, NumericIdentity, ServiceName};
use crate::record::{ClusterService, IpIdentity, Kind, Labels, Node, PeerState, Reach};
use crate::service::LocalService;

impl Mesh {
    pub fn own(&self) -> &ClusterName {
        &self.own
    }

    /// Whether the own cluster's API server has written all that it knows.
    pub fn is_own_synced(&self) -> bool {
        self.own_synced
    }

    /// Whether every kind of the cluster's records that agents read is complete.
    pub fn is_synced(&self, cluster: &ClusterName) -> bool {
        [Kind::Identities, Kind::Ip, Kind::Nodes, Kind::Services]
            .into_iter()
            .all(|kind| self.canaries.contains(&(cluster.clone(), kind)))
    }

    /// The own cluster, and every one that it is configured to peer with or has heard of.
    pub fn clusters(&self) -> BTreeSet<&ClusterName> {
        let own = std::iter::once(&self.own);
        own.chain(self.peers.keys())
            .chain(self.configs.keys())
            .collect()
    }

    pub fn cluster_id(&self, cluster: &ClusterName) -> Option<ClusterId> {
        self.configs.get(cluster).map(|it| it.id)
    }

    pub fn peers(&self) -> &BTreeMap<ClusterName, PeerState> {
        &self.peers
    }

    /// Whether traffic may be sent to the cluster: it is our own, or not known to be lost.
    ///
    /// A peer of which nothing is said counts as alive: mirrors other than ours write no liveness.
    pub fn is_alive(&self, cluster: &ClusterName) -> bool {
        self.peers.get(cluster).is_none_or(|it| it.connected)
    }

    /// Whether anything comes back from the cluster, as this very node has probed it, else as any
    /// node of the own cluster has. What nobody has probed counts as in reach.
    pub fn is_reachable(&self, cluster: &ClusterName) -> bool {
        let is_seen = |it: &Reach| {
            let seen = it.clusters.get(cluster);
            seen.map(|it| it.health != Health::Unhealthy)
        };
        is_seen(&self.own_reach).unwrap_or_else(|| {
            let mut others = self.reaches.values().filter_map(is_seen).peekable();
            others.peek().is_none() || others.any(|it| it)
        })
    }

    /// What each node of the own cluster sees of the others through its tunnels.
    pub fn reaches(&self) -> &BTreeMap<NodeName, Reach> {
        &self.reaches
    }

    /// How long a packet takes to the cluster and back, in microseconds, as this very node measures
    /// it, else the nearest node of the own cluster; `None` where none does.
    pub fn round_trip_microseconds(&self, cluster: &ClusterName) -> Option<u32> {
        let own = self.own_reach.clusters.get(cluster);
        if let Some(own) = own.and_then(|it| it.round_trip_microseconds) {
            return Some(own);
        }
        let seen = self
            .reaches
            .values()
            .filter_map(|it| it.clusters.get(cluster));
        seen.filter_map(|it| it.round_trip_microseconds).min()
    }

    pub fn nodes(&self) -> &BTreeMap<(ClusterName, NodeName), Node> {
        &self.nodes
    }

    pub fn identities(&self) -> &BTreeMap<(ClusterName, NumericIdentity), Labels> {
        &self.identities
    }

    pub fn ips(&self) -> &BTreeMap<(ClusterName, IpNet), IpIdentity> {
        &self.ips
    }

    /// The own cluster's services, global or not.
    pub fn local_services(&self) -> &BTreeMap<ServiceName, LocalService> {
        &self.local_services
    }

    /// What all clusters share, by service and then by cluster.
    pub fn shared_services(&self) -> &BTreeMap<(ServiceName, ClusterName), ClusterService> {
        &self.services
    }

    /// What each cluster shares of one service.
    pub fn shared_parts(
        &self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&ClusterName, &ClusterService)> {
        let part = |cluster: &'_ ClusterName| {
            self.services
                .get_key_value(&(service.clone(), cluster.clone()))
        };
        let parts = self.clusters().into_iter().filter_map(part);
        parts.map(|((_, cluster), part)| (cluster, part))
    }

    /// Where the cluster is: the first node's place that says where it is.
    ///
    /// A node says so by the annotation [`LOCATION_ANNOTATION`]; all nodes of a cluster are taken
    /// to be in one place.
    pub fn location(&self, cluster: &ClusterName) -> Option<Location> {
        self.nodes
            .iter()
            .filter(|((it, _), _)| it == cluster)
            .find_map(|(_, node)| parse_location(node.annotations.get(LOCATION_ANNOTATION)?))
    }
}

/// A Node's annotation: `LATITUDE,LONGITUDE` in degrees.
pub const LOCATION_ANNOTATION: &str = "causeway.io/location";

fn parse_location(text: &str) -> Option<Location> {
    let (latitude, longitude) = text.split_once(',')?;
    Location::new(
        latitude.trim().parse().ok()?,
        longitude.trim().parse().ok()?,
    )
    .ok()
}
