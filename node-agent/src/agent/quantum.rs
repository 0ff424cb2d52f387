//! How agents' agreements follow what is believed, and what follows from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use daemon::Clock;
use tokio::sync::watch;
use topology::health::Health;
use topology::report::{PostQuantum, Problem};
use tracing::info;
use wireguard::PublicKey;
use wireguard::uapi::DeviceState;

use super::Agent;
use crate::config::Encryption;
use crate::desired::Desired;
use crate::inner_sockets::Ground;
use crate::preshared::{Bases, Resolved, Secrets};
use crate::probe::peers;
use crate::quantum::socket::{self, Exchanging, Told};
use crate::quantum::{Exchanger, Mode, Node, View, admission};

/// The agent's end of the task that agrees on secrets.
pub(super) struct Agreements {
    mode: Mode,
    wanted: watch::Sender<Arc<Exchanging>>,
    told: watch::Receiver<Arc<Told>>,
    /// What was told when it was last taken in.
    known: Arc<Told>,
    pub(super) ground: Option<Ground>,
}

impl Agreements {
    /// Starts to agree, with nobody yet; with `Mode::Off` nothing starts.
    pub(super) fn spawn(encryption: &Encryption, clock: Clock) -> Self {
        let mode = encryption.wireguard_post_quantum;
        let (wanted, wanted_by_task) = watch::channel(Arc::default());
        let (told_by_task, told) = watch::channel(Arc::default());
        if mode != Mode::Off {
            let exchanger = Exchanger::new(encryption.wireguard_post_quantum_renewal);
            tokio::spawn(socket::follow(
                exchanger,
                wanted_by_task,
                told_by_task,
                clock,
            ));
        }
        Self {
            mode,
            wanted,
            told,
            known: Arc::default(),
            ground: None,
        }
    }

    /// Returns once something was agreed on, or lost; never where nothing is to be.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.known.agreements
    }
}

impl Agent {
    pub(super) fn secrets(&self) -> Secrets {
        let is_off = self.agreements.mode == Mode::Off;
        Secrets {
            files: self.shared.clone(),
            agreed: (!is_off).then(|| self.agreements.known.orders.clone()),
        }
    }

    /// Takes in what has been agreed on.
    pub(super) fn take_agreements(&mut self) {
        let told = Arc::clone(&self.agreements.told.borrow_and_update());
        let before = std::mem::replace(&mut self.agreements.known, told);
        for ((cluster, node), report) in &self.agreements.known.reports {
            let key = (cluster.clone(), node.clone());
            let was = before.reports.get(&key).map(|it| it.state);
            if was != Some(report.state) {
                self.underived = true;
                let state = report.state.as_str();
                info!(%cluster, %node, state, "post-quantum secret");
            }
        }
    }

    /// Where no pod may be reached without such a secret, closes the tunnels that have none. Of a
    /// tunnel that is not known yet, what was open stays open.
    pub(super) fn close_tunnels(&self, desired: &mut Desired) {
        if self.agreements.mode != Mode::Require {
            return;
        }
        let device = self.device().ok();
        let reports = &self.agreements.known.reports;
        admission::restrict(desired, |key, peer, prefix| {
            match reports.get(&(peer.cluster.clone(), peer.node.clone())) {
                Some(report) => report.state == PostQuantum::Established,
                None => device
                    .as_ref()
                    .and_then(|it| it.peers.get(&key))
                    .is_some_and(|it| it.allowed_ips.contains(prefix)),
            }
        });
    }

    /// Shows the task that agrees what it needs to see.
    pub(super) fn follow_agreements(&self) {
        if self.agreements.mode == Mode::Off {
            return;
        }
        let exchanging = Exchanging {
            ground: self.agreements.ground,
            views: self.views(),
        };
        self.agreements.wanted.send_if_modified(|it| {
            let differs = **it != exchanging;
            if differs {
                *it = Arc::new(exchanging);
            }
            differs
        });
    }

    fn views(&self) -> BTreeMap<IpAddr, View> {
        let device = self.device().ok();
        let device = device.as_deref();
        let Some(own_key) = self.keys.current().map(|it| it.public_key()) else {
            return BTreeMap::new();
        };
        let is_changing = self.keys.announced().is_some_and(|(_, it)| it.is_some())
            || device.is_some_and(|it| it.public_key() != Some(own_key));
        let mut keys = BTreeMap::<Node, Vec<PublicKey>>::new();
        for (key, peer) in &self.desired.peers {
            let keys = keys.entry((peer.cluster.clone(), peer.node.clone()));
            let keys = keys.or_default();
            let place = if peer.successor_of.is_none() {
                0
            } else {
                keys.len()
            };
            keys.insert(place, *key);
        }
        let now_seconds = self.clock.unix_milliseconds() / 1_000;
        let peers = peers::peers(&self.mesh, &self.desired, device, now_seconds);
        let views = peers.into_iter().filter_map(|(address, peer)| {
            let keys = keys.get(&(peer.cluster.clone(), peer.node.clone()))?;
            let view = View {
                is_changing: is_changing || 1 < keys.len(),
                is_silent: !peer.has_session || self.is_unhealthy(keys),
                ..self.view((peer.cluster, peer.node), keys, own_key, device)
            };
            Some((address, view))
        });
        views.collect()
    }

    fn view(
        &self,
        node: Node,
        keys: &[PublicKey],
        own_key: PublicKey,
        device: Option<&DeviceState>,
    ) -> View {
        let state = |key: &PublicKey| device.and_then(|it| it.peers.get(key));
        let key = keys[0];
        let files = self.shared.as_ref();
        let bases = Bases::of(files, &node.0, [own_key, key]);
        let shared = files.and_then(|it| it.get(&node.0)).cloned();
        let shared = shared.unwrap_or_default();
        View {
            own_key,
            key,
            bases,
            files: std::iter::once(shared.current)
                .chain(shared.former)
                .collect(),
            held: state(&key).map(Resolved::from),
            is_in_use: (keys.iter().filter_map(state)).any(|it| it.preshared_key_in_use),
            is_changing: false,
            is_silent: false,
            node,
        }
    }

    fn is_unhealthy(&self, keys: &[PublicKey]) -> bool {
        let mut health = keys.iter().filter_map(|it| self.health.get(it));
        health.any(|it| *it == Health::Unhealthy)
    }

    pub(super) fn post_quantum(&self, node: &Node) -> PostQuantum {
        match self.agreements.mode {
            Mode::Off => PostQuantum::Off,
            Mode::Prefer | Mode::Require => {
                let report = self.agreements.known.reports.get(node);
                report.map_or(PostQuantum::Pending, |it| it.state)
            }
        }
    }

    /// Whom there is no agreement with although there should be one, and why.
    pub(super) fn agreement_problems(&self) -> Vec<Problem> {
        let told = &self.agreements.known;
        let is_required = self.agreements.mode == Mode::Require;
        let socket = told.problem.iter().map(|reason| Problem {
            what: format!("no post-quantum secret can be agreed on: {reason}"),
            remedy: format!(
                "free UDP port {} of the node's inner address, or give the agent CAP_NET_RAW",
                crate::quantum::PORT
            ),
        });
        let differing = told.reports.iter().filter(|(_, it)| it.differs);
        let differing = differing.map(|((cluster, node), _)| Problem {
            what: format!("no post-quantum secret with {cluster}/{node}: it has another preshared secret"),
            remedy: format!("compare the file {cluster} in --wireguard-psk with the one for this cluster on the other side"),
        });
        let missing = told
            .reports
            .iter()
            .filter(|(_, it)| is_required && it.state == PostQuantum::Unsupported && !it.differs);
        let missing = missing.map(|((cluster, node), _)| Problem {
            what: format!("no pod of {cluster}/{node} is reached through its tunnel: one of the two ends agrees on no post-quantum secret"),
            remedy: "give its agent --wireguard-post-quantum prefer or require, and both ends a device that is `wireguard-device`; or take `prefer` here".to_owned(),
        });
        socket.chain(differing).chain(missing).collect()
    }
}
