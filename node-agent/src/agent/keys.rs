//! How the node's key is kept, given to the device, announced, and replaced in time.

use std::collections::BTreeSet;
use std::sync::Arc;

use topology::record::TunnelEnd;
use topology::report::Problem;
use tracing::info;
use wireguard::PrivateKey;

use super::{Agent, Area};
use crate::announce::Announcement;
use crate::candidates;
use crate::keys::{self, Sight, Step};
use crate::preshared;

impl Agent {
    /// Takes the next step of the key's life, if one is due, and announces what follows from it.
    pub(super) fn tend_keys(&mut self) {
        let device = self.device().ok();
        let now_unix_milliseconds = self.clock.unix_milliseconds();
        let now = self.clock.now();
        let sight = Sight {
            device: device.as_deref(),
            own: self.desired.own.as_ref(),
            is_heard_everywhere: self.is_heard_everywhere(),
            is_in_turn: keys::is_in_turn(&self.identity, &self.desired, device.as_deref()),
            now,
            now_unix_milliseconds,
        };
        let mut problems = BTreeSet::new();
        if let Some(step) = self.keys.next_step(sight, PrivateKey::generate) {
            match tokio::task::block_in_place(|| self.key_file.record(&step)) {
                Ok(()) => {
                    tell(&step);
                    self.keys.take(step, now, now_unix_milliseconds);
                }
                Err(error) => {
                    problems.insert(Problem {
                        what: format!("{error:#}"),
                        remedy: "tried again every second; make room or name another place with --wireguard-key".to_owned(),
                    });
                }
            }
        }
        problems.extend(self.keys.problem(self.desired.own.as_ref()));
        self.set_problems(Area::Keys, problems);
        self.announce_tunnel_end();
    }

    /// Reads the secrets of clusters that there was no tunnel to before: no tunnel comes up without.
    pub(super) fn read_new_secrets(&mut self) {
        let desired = Arc::clone(&self.desired);
        let clusters = desired.peers.values().map(|it| &it.cluster).collect();
        if !self.secret_files.knows(&clusters) {
            self.read_secrets();
        }
    }

    /// Reads the secrets that the own cluster shares with those that it has tunnels to.
    pub(super) fn read_secrets(&mut self) {
        let desired = Arc::clone(&self.desired);
        let clusters = desired.peers.values().map(|it| &it.cluster).collect();
        let now = self.clock.now();
        let (shared, mut problems) =
            tokio::task::block_in_place(|| self.secret_files.read(&clusters, now));
        self.shared = shared;
        if let Ok(device) = self.device() {
            let now_seconds = self.clock.unix_milliseconds() / 1_000;
            problems.extend(preshared::problems(
                self.shared.as_ref(),
                &desired.peers,
                &device,
                now_seconds,
            ));
        }
        self.set_problems(Area::Secrets, problems);
    }

    /// Whether what this agent announces gets to every cluster that it has tunnels to.
    fn is_heard_everywhere(&self) -> bool {
        let mut clusters = self.desired.peers.values().map(|it| &it.cluster);
        self.store.connected && clusters.all(|it| self.mesh.is_alive(it))
    }

    fn announce_tunnel_end(&self) {
        let (Some((current, next)), Some(own)) = (self.keys.announced(), &self.desired.own) else {
            return;
        };
        self.announcer.announce(Announcement::TunnelEnd(TunnelEnd {
            public_key: current.to_base64(),
            next_public_key: next.map(|it| it.to_base64()),
            endpoints: candidates::own(&self.encryption.wireguard_endpoint, &own.underlay),
        }));
    }
}

fn tell(step: &Step) {
    match step {
        Step::Keep(key) => {
            let public_key = key.public_key();
            info!(%public_key, "keeping the node's WireGuard key");
        }
        Step::Prepare(key) => {
            let next_public_key = key.public_key();
            info!(%next_public_key, "another WireGuard key is about to take the place of the node's");
        }
        Step::Switch => info!("the next WireGuard key takes the place of the node's"),
        Step::Settle => info!("the former WireGuard key is announced no more"),
    }
}
