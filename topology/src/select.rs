//! Decides which backends serve a service, and says why: the agent's tables, `explain` and the
//! DNS authority all show the same value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::geo::{Distance, Kilometers, Location, RoundTrip};
use crate::id::{ClusterName, ServiceName};
use crate::mesh::Mesh;
use crate::record::BackendZone;
use crate::service::{Affinity, L4Port, LocalService, NamedPorts};

/// The backends of one port of a service, and why these.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Selection {
    pub backends: BTreeSet<Backend>,
    pub reason: Reason,
    /// The others that clusters offer, in order of the clusters, the own first.
    pub passed_over: Vec<PassedOver>,
}

#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Backend {
    pub cluster: ClusterName,
    pub address: SocketAddr,
    /// The zone of the cluster that it runs in, where that is known.
    #[serde(default)]
    pub zone: Option<String>,
}

/// A backend that does not serve, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PassedOver {
    #[serde(flatten)]
    pub backend: Backend,
    pub because: Because,
}

/// Why these backends serve.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Every cluster that offers one is lost or out of reach. A doubtful backend beats none.
    AllLost,
    /// No affinity: the backends of all clusters share the load.
    Merged,
    /// The affinity's own choice is empty, so the nearest cluster of the others stands in.
    Nearest(Option<Distance>),
    /// Nobody offers this port.
    NoBackends,
    /// Not a global service: only the own cluster's backends count.
    NotGlobal,
    /// The side that the affinity prefers.
    Preferred(Affinity),
}

/// Why a cluster's backends do not serve.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// The affinity prefers the other side.
    Affinity(Affinity),
    /// A nearer cluster serves.
    Farther(Option<Distance>),
    /// The cluster does not answer.
    Lost,
    /// Nothing comes back through any tunnel from here to the cluster.
    Unreachable,
}

/// Selects the backends of `port` of the own cluster's service `name`.
///
/// Backends of clusters that are lost, or out of reach from here, are passed over as long as there is
/// any other. Where clusters say where they are, "remote" means the nearest remote cluster; equal
/// distances share. What is measured through tunnels comes before what places say, where it is
/// measured to all in question.
pub fn backends(mesh: &Mesh, name: &ServiceName, service: &LocalService, port: &str) -> Selection {
    let shared = mesh.shared_services();
    let shared = |cluster: &ClusterName| shared.get(&(name.clone(), cluster.clone()));
    // Only what is shared tells zones.
    let zones = shared(mesh.own()).map(|it| &it.zones);
    let mut offers = vec![Offer::new(mesh, mesh.own(), &service.backends, zones, port)];
    if service.global {
        for cluster in mesh.clusters().into_iter().filter(|it| *it != mesh.own()) {
            if let Some(remote) = shared(cluster) {
                let (backends, zones) = (&remote.backends, Some(&remote.zones));
                offers.push(Offer::new(mesh, cluster, backends, zones, port));
            }
        }
    }
    offers.retain(|it| !it.backends.is_empty());
    select(offers, service)
}

/// What one cluster offers.
struct Offer<'a> {
    cluster: &'a ClusterName,
    own: bool,
    alive: bool,
    reachable: bool,
    kilometers: Option<Kilometers>,
    round_trip: Option<RoundTrip>,
    backends: BTreeSet<SocketAddr>,
    zones: Option<&'a BTreeMap<IpAddr, BackendZone>>,
}

impl<'a> Offer<'a> {
    fn new(
        mesh: &Mesh,
        cluster: &'a ClusterName,
        backends: &BTreeMap<IpAddr, NamedPorts>,
        zones: Option<&'a BTreeMap<IpAddr, BackendZone>>,
        port: &str,
    ) -> Self {
        let address = |(ip, ports): (&IpAddr, &NamedPorts)| {
            let L4Port { port, .. } = ports.get(port)?;
            Some(SocketAddr::new(*ip, *port))
        };
        let here = mesh.location(mesh.own());
        let there = mesh.location(cluster);
        Self {
            cluster,
            own: cluster == mesh.own(),
            alive: mesh.is_alive(cluster),
            reachable: mesh.is_reachable(cluster),
            kilometers: here.zip(there).map(|(here, there)| here.distance_to(there)),
            round_trip: match cluster == mesh.own() {
                true => Some(RoundTrip { microseconds: 0 }),
                false => mesh
                    .round_trip_microseconds(cluster)
                    .map(|microseconds| RoundTrip { microseconds }),
            },
            backends: backends.iter().filter_map(address).collect(),
            zones,
        }
    }

    fn rank(&self, measured: bool) -> Rank {
        let known = match measured {
            true => self.round_trip.map(RoundTrip::step),
            false => self.kilometers.map(|Kilometers(it)| it),
        };
        known.map_or(Rank::Unknown, Rank::Known)
    }

    /// As far as the measure in use knows.
    fn distance(&self, measured: bool) -> Option<Distance> {
        match measured {
            true => self.round_trip.map(Distance::RoundTrip),
            false => self.kilometers.map(Distance::Kilometers),
        }
    }

    fn backends(&self) -> impl Iterator<Item = Backend> {
        self.backends.iter().map(|address| {
            let zone = self.zones.and_then(|it| it.get(&address.ip()));
            Backend {
                cluster: self.cluster.clone(),
                address: *address,
                zone: zone.map(|it| it.zone.clone()),
            }
        })
    }
}

fn select(offers: Vec<Offer<'_>>, service: &LocalService) -> Selection {
    let sound = |it: &Offer<'_>| it.alive && it.reachable;
    let any_sound = offers.iter().any(sound);
    let usable = |it: &Offer<'_>| sound(it) || !any_sound;
    let affinity = service.affinity;
    let preferred = |it: &Offer<'_>| match affinity {
        Affinity::Local => it.own,
        Affinity::None => true,
        Affinity::Remote => !it.own,
    };

    let any_preferred = offers.iter().any(|it| usable(it) && preferred(it));
    let in_question = |it: &Offer<'_>| usable(it) && preferred(it) == any_preferred;
    let measured = is_measured(offers.iter().filter(|it| in_question(it)));
    let rank = |it: &Offer<'_>| it.rank(measured);
    // Without affinity all share; else the nearest of the side in question.
    let nearest = match affinity {
        Affinity::None => None,
        Affinity::Local | Affinity::Remote => {
            offers.iter().filter(|it| in_question(it)).map(rank).min()
        }
    };
    let chosen =
        |it: &Offer<'_>| in_question(it) && nearest.is_none_or(|nearest| rank(it) == nearest);
    let distance = |it: &Offer<'_>| it.distance(measured);
    let nearest_distance = || offers.iter().filter(|it| chosen(it)).find_map(distance);

    let reason = match nearest {
        _ if offers.is_empty() => Reason::NoBackends,
        _ if !any_sound => Reason::AllLost,
        _ if !service.global => Reason::NotGlobal,
        None => Reason::Merged,
        Some(_) if any_preferred => Reason::Preferred(affinity),
        Some(_) => Reason::Nearest(nearest_distance()),
    };
    let because = |it: &Offer<'_>| match () {
        () if !usable(it) && !it.alive => Because::Lost,
        () if !usable(it) => Because::Unreachable,
        () if !in_question(it) => Because::Affinity(affinity),
        () => Because::Farther(distance(it)),
    };

    Selection {
        passed_over: (offers.iter().filter(|it| !chosen(it)))
            .flat_map(|it| {
                let because = because(it);
                let passed_over = move |backend| PassedOver { backend, because };
                it.backends().map(passed_over)
            })
            .collect(),
        backends: (offers.iter().filter(|it| chosen(it)))
            .flat_map(Offer::backends)
            .collect(),
        reason,
    }
}

/// Whether the way to every remote cluster of `offers` has been measured, and there is any.
fn is_measured<'a>(offers: impl Iterator<Item = &'a Offer<'a>>) -> bool {
    let mut remote = offers.filter(|it| !it.own).peekable();
    remote.peek().is_some() && remote.all(|it| it.round_trip.is_some())
}

/// How near a cluster is; those that do not say where they are come last.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    /// In kilometers, or in steps of round trips: never both in one comparison.
    Known(u32),
    Unknown,
}

/// The candidates nearest to `client`, all of them if several are equally near.
///
/// Candidates of unknown place come last; with an unknown client all are equally near.
pub fn nearest<T>(
    client: Option<Location>,
    candidates: &[T],
    place: impl Fn(&T) -> Option<Location>,
) -> (Vec<&T>, Option<Kilometers>) {
    let distance = |it: &T| {
        let ends = client.zip(place(it));
        ends.map(|(client, place)| client.distance_to(place))
    };
    let rank = |it: &T| distance(it).map_or(Rank::Unknown, |Kilometers(it)| Rank::Known(it));
    let Some(nearest) = candidates.iter().map(rank).min() else {
        return (Vec::new(), None);
    };
    let chosen: Vec<&T> = candidates.iter().filter(|it| rank(it) == nearest).collect();
    let nearest = chosen.first().and_then(|it| distance(it));
    (chosen, nearest)
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllLost => {
                formatter.write_str("every cluster that offers one is lost or out of reach")
            }
            Self::Merged => formatter.write_str("all clusters share the load"),
            Self::Nearest(Some(distance)) => {
                write!(formatter, "nearest of the other clusters, {distance}")
            }
            Self::Nearest(None) => formatter.write_str("the other clusters stand in"),
            Self::NoBackends => formatter.write_str("nobody offers this port"),
            Self::NotGlobal => formatter.write_str("the service is not global"),
            Self::Preferred(affinity) => write!(formatter, "preferred by affinity {affinity}"),
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Affinity(affinity) => write!(formatter, "affinity is {affinity}"),
            Self::Farther(Some(distance)) => write!(formatter, "farther away, {distance}"),
            Self::Farther(None) => formatter.write_str("does not say where it is"),
            Self::Lost => formatter.write_str("the cluster does not answer"),
            Self::Unreachable => {
                formatter.write_str("nothing comes back through the tunnels from here")
            }
        }
    }
}

#[cfg(test)]
mod tests;
