//! How probes follow what is believed, and how what they see is believed in turn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use ipnet::IpNet;
use tokio::sync::watch;
use topology::health::Health;
use topology::report::{EncryptionReport, Problem};
use tracing::{info, warn};
use wireguard::PublicKey;

use super::Agent;
use crate::announce::Announcement;
use crate::desired::{Identity, OwnNode};
use crate::inner_sockets::Ground;
use crate::network::{Observed, TUNNEL_MTU_BYTES};
use crate::probe::message::Tag;
use crate::probe::socket::{self, Probing, Sight};
use crate::probe::{Moment, Prober, peers};
use crate::reach::{self, Reporter};
use crate::view;

/// The agent's end of the task that probes.
pub(super) struct Probes {
    wanted: watch::Sender<Arc<Probing>>,
    seen: watch::Receiver<Arc<Sight>>,
    reporter: Reporter,
}

impl Probes {
    /// Starts probing: nobody yet.
    pub(super) fn spawn(identity: &Identity, interval: Duration, clock: Clock) -> Self {
        let own = Tag::new(&identity.cluster, &identity.node);
        // No process lives long enough, and asks fast enough, to reach where a later one begins.
        let sequence = clock.unix_microseconds();
        let prober = Prober::new(own, interval, sequence, clock.now());
        let (wanted, wanted_by_prober) = watch::channel(Arc::default());
        let (seen_by_prober, seen) = watch::channel(Arc::default());
        tokio::spawn(socket::follow(
            prober,
            wanted_by_prober,
            seen_by_prober,
            clock,
        ));
        Self {
            wanted,
            seen,
            reporter: Reporter::default(),
        }
    }

    /// Returns once there is something new to see.
    pub(super) async fn changed(&mut self) {
        // The task lives as long as this end of it.
        let _ = self.seen.changed().await;
    }
}

impl Agent {
    /// Probes the nodes at the other ends of tunnels, as the kernel's view allows.
    pub(super) fn follow_peers(&mut self, observed: &Observed) {
        let now_seconds = self.clock.unix_milliseconds() / 1_000;
        let device = self.device().ok();
        let ground = ground(observed, &self.tunnel, self.desired.own.as_ref());
        self.agreements.ground = ground;
        self.follow_agreements();
        let probing = Probing {
            ground,
            peers: peers::peers(&self.mesh, &self.desired, device.as_deref(), now_seconds),
            mtu_bytes: u16::try_from(TUNNEL_MTU_BYTES).unwrap_or(u16::MAX),
        };
        self.probes.wanted.send_if_modified(|it| {
            let differs = **it != probing;
            if differs {
                *it = Arc::new(probing);
            }
            differs
        });
    }

    /// Takes in what probes see. Returns whether the kernel may have to follow.
    pub(super) fn take_sight(&mut self) -> bool {
        let sight = Arc::clone(&self.probes.seen.borrow_and_update());
        let now = Moment {
            instant: self.clock.now(),
            unix_milliseconds: self.clock.unix_milliseconds(),
        };
        let health = self.health_of_peers(&sight);
        let said = self.said_by_peers(&sight);
        let is_turned = self.health != health || self.said != said;
        self.health = health;
        self.said = said;
        let own = &self.identity.cluster;
        let reports = reach::around(&sight.reports, &self.desired.detours);
        let Some(reach) = self.probes.reporter.observe(&reports, own, now) else {
            return is_turned;
        };
        let reach = reach.clone();
        for (cluster, it) in &reach.clusters {
            let reachable = it.health != Health::Unhealthy;
            match (self.mesh.is_reachable(cluster), reachable) {
                (true, false) => {
                    warn!(%cluster, "nothing comes back through any tunnel to the cluster");
                }
                (false, true) => info!(%cluster, "the cluster is in reach again"),
                (true, true) | (false, false) => (),
            }
        }
        self.announcer.announce(Announcement::Reach(reach.clone()));
        self.mesh.see(reach);
        true
    }

    /// What probes say of each node that there is a tunnel to, by the key of its end.
    fn health_of_peers(&self, sight: &Sight) -> BTreeMap<PublicKey, Health> {
        let peers = self.desired.peers.iter();
        peers
            .filter_map(|(key, peer)| {
                let node = (peer.cluster.clone(), peer.node.clone());
                Some((*key, sight.reports.get(&node)?.health))
            })
            .collect()
    }

    /// Which nodes at the other ends say that they are ready for what this one itself sends.
    fn said_by_peers(&self, sight: &Sight) -> BTreeMap<PublicKey, bool> {
        let peers = self.desired.peers.iter();
        peers
            .filter_map(|(key, peer)| {
                let node = (peer.cluster.clone(), peer.node.clone());
                Some((*key, *sight.said.get(&node)?))
            })
            .collect()
    }

    /// Where probes found out, the largest packets that reach each prefix behind tunnels: by all of
    /// them, for any may carry a flow.
    pub(super) fn path_mtus(&self) -> BTreeMap<IpNet, u16> {
        let sight = self.sight();
        let led = self.desired.allowed_ips.iter();
        led.filter_map(|(prefix, ways)| {
            let found = ways.sent.iter().filter_map(|key| {
                let peer = self.desired.peers.get(key)?;
                let node = (peer.cluster.clone(), peer.node.clone());
                sight.reports.get(&node)?.path_mtu
            });
            Some((*prefix, found.min()?))
        })
        .collect()
    }

    pub(super) fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.probes.seen.borrow())
    }

    pub(super) fn encryption(&self) -> EncryptionReport {
        let device = self.device().ok();
        view::encryption(
            &self.tunnel,
            device.as_deref(),
            self.desired.node_encryption,
        )
    }

    /// What keeps probes from being sent, and what they see from being told.
    pub(super) fn probe_problems(&self) -> Vec<Problem> {
        let socket = self.sight().problem.clone().map(|reason| Problem {
            what: format!("nodes at the other ends of tunnels cannot be probed: {reason}"),
            remedy: format!(
                "free UDP port {} of the node's inner address, or give the agent CAP_NET_RAW; until then the death of a cluster is known from its etcd alone",
                crate::probe::PORT
            ),
        });
        // Without the store nothing can be told anyway, and that is said already.
        let told = self.announcer.problem().filter(|_| self.store.connected);
        let announcer = told.map(|reason| Problem {
            what: format!("the store does not take what this node sees of other clusters: {reason}"),
            remedy: "run a clustermesh-apiserver of the same version, or let the agent's user write below causeway/agents/; until then only this node acts on it".to_owned(),
        });
        socket.into_iter().chain(announcer).collect()
    }
}

/// The sockets' place, once there is one.
fn ground(observed: &Observed, tunnel: &str, own: Option<&OwnNode>) -> Option<Ground> {
    let link = observed.links.get(tunnel).filter(|it| it.up)?;
    let is_there = |address: IpAddr| observed.addresses.iter().any(|it| it.address == address);
    let ground = Ground {
        link: link.index,
        address: own?.address.filter(|it| is_there((*it).into())),
        address_v6: own?.address_v6.filter(|it| is_there((*it).into())),
    };
    (ground.address.is_some() || ground.address_v6.is_some()).then_some(ground)
}
