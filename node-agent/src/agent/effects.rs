//! How the kernel follows what is believed: derive, compare, write in a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use topology::health::Health;
use topology::report::Problem;
use tracing::{debug, info, warn};
use wireguard::PublicKey;

use super::{Agent, Area};
use crate::desired::{self, Desired, Policy};
use crate::device::{Manner, Wanted};
use crate::gate::Knowledge;
use crate::netlink;
use crate::network::nodes::{self, Way};
use crate::network::{self, Observed, Plan};
use crate::tables::{Write, plan_prefixes, plan_services, takes_away};

/// Services written together: each needs a file descriptor and 64 KiB until it is written.
const BATCH_MAX: usize = 128;

/// So long the mesh is waited for before ways that an earlier agent opened are doubted: the one to the
/// store may be among them, and its tunnel dead. Several times what a handshake and a list take.
const STRANDED_AFTER: Duration = Duration::from_secs(15);

impl Agent {
    /// Makes the kernel follow the mesh, as far as the mesh is known.
    ///
    /// Prefixes are protected before anything can be sent to them, and given up only when nothing
    /// leads there any more.
    pub(super) async fn apply(&mut self) {
        let started = self.clock.now();
        let knowledge = self.gate.observe(&self.mesh, started);
        self.tend_keys();
        let reports = &self.sight().reports;
        self.underived |= self.cut_off.observe(&self.desired, reports, started);
        self.derive(knowledge);
        self.follow_reaches();

        self.remember();
        let (protect, give_up) = plan_prefixes(&self.tables, &self.desired.prefixes);
        let mut services = plan_services(&self.tables, &self.desired.services);
        if knowledge == Knowledge::Unread {
            services.retain(|it| !takes_away(it, &self.inherited));
        }
        let wrote = !protect.is_empty() || !services.is_empty();
        let mut problems = BTreeSet::new();
        tokio::task::block_in_place(|| {
            self.write(protect, &mut problems);
            self.write(services, &mut problems);
        });
        let network_done = self.apply_network(knowledge).await;
        if knowledge == Knowledge::Complete && network_done {
            tokio::task::block_in_place(|| self.write(give_up, &mut problems));
        }

        let written = problems.is_empty();
        self.set_problems(Area::Maps, problems);
        if written && knowledge != Knowledge::Unread && self.unsynced.take().is_some() {
            info!(
                services = self.tables.services.len(),
                "the kernel follows the mesh"
            );
        }
        if wrote {
            let taken = self.clock.now().saturating_duration_since(started);
            self.metrics.count_apply(taken.as_secs_f64());
        }
    }

    fn derive(&mut self, knowledge: Knowledge) {
        let is_known_better = std::mem::replace(&mut self.derived_with, knowledge) != knowledge;
        if std::mem::take(&mut self.underived) || is_known_better {
            let mut desired = self.desire();
            // Before anything is asked of the device, which knows what an earlier agent did.
            let device = self.device();
            if device.is_ok_and(|it| self.cut_off.meet(&desired, &it)) {
                desired = self.desire();
            }
            if knowledge != Knowledge::Complete {
                for (prefix, cluster) in self.memory.prefixes() {
                    desired.prefixes.entry(*prefix).or_insert(*cluster);
                }
            }
            self.close_tunnels(&mut desired);
            if *self.desired != desired {
                tell_detours(&self.desired, &desired);
                self.desired = Arc::new(desired);
            }
            self.read_new_secrets();
        }
        let wanted = Wanted {
            desired: self.listed.then(|| Arc::clone(&self.desired)),
            manner: Manner {
                keep_unknown: knowledge != Knowledge::Complete,
                key: self.keys.current().cloned(),
                secrets: self.secrets(),
                is_behind_nat: !self.encryption.wireguard_endpoint.is_empty(),
                is_probed: !self.health.is_empty(),
                unhealthy: self.unhealthy(),
            },
        };
        self.wanted.send_if_modified(|it| {
            let is_other = !it.is_same(&wanted);
            if is_other {
                *it = wanted;
            }
            is_other
        });
    }

    fn desire(&self) -> Desired {
        let policy = Policy {
            encrypt: self.encryption.encrypt,
            spread: self.encryption.gateway_spread,
            opt_out: &self.encryption.node_encryption_opt_out,
            is_strict_between_nodes: self.encryption.node_encryption_strict,
            health: &self.health,
            cut_off: self.cut_off.nodes(),
        };
        desired::desired(&self.mesh, &self.identity, policy)
    }

    fn unhealthy(&self) -> BTreeSet<PublicKey> {
        let unhealthy = self
            .health
            .iter()
            .filter(|(_, it)| **it == Health::Unhealthy);
        unhealthy.map(|(key, _)| *key).collect()
    }

    /// What is protected now is protected again after a reboot, before the mesh is read.
    fn remember(&mut self) {
        let desired = Arc::clone(&self.desired);
        let remembered = tokio::task::block_in_place(|| self.memory.remember(&desired.prefixes));
        let problem = remembered.err().map(|error| Problem {
            what: format!("{error:#}"),
            remedy: "tried again every second; make room, or name another place with --state-dir"
                .to_owned(),
        });
        self.set_problems(Area::Memory, problem.into_iter().collect());
    }

    /// Writes in order. After a failure nothing that a table may still name is deleted; whatever
    /// was not written is planned again with the next batch.
    fn write(&mut self, writes: Vec<Write>, problems: &mut BTreeSet<Problem>) {
        let mut failed = false;
        let joined = writes.chunk_by(Write::joins);
        for batch in joined.flat_map(|it| it.chunks(BATCH_MAX)) {
            if 1 < batch.len() && self.write_together(batch) {
                continue;
            }
            for write in batch {
                failed |= !self.write_one(write, failed, problems);
            }
        }
    }

    /// Returns whether all was written; if not, one by one says what is wrong.
    fn write_together(&mut self, writes: &[Write]) -> bool {
        let backends = &self.tables.backends;
        let written = self.datapath.maps.write_together(writes, backends);
        if let Err(error) = &written {
            warn!(%error, "cannot write services together, so one after the other");
            return false;
        }
        debug!(services = writes.len(), "wrote together");
        writes.iter().for_each(|it| self.tables.apply(it.clone()));
        true
    }

    fn write_one(
        &mut self,
        write: &Write,
        failed_before: bool,
        problems: &mut BTreeSet<Problem>,
    ) -> bool {
        if failed_before && matches!(write, Write::DeleteBackend(_)) {
            return false;
        }
        match self.datapath.maps.write(write, &self.tables.backends) {
            Ok(()) => {
                debug!(?write, "wrote");
                self.tables.apply(write.clone());
                true
            }
            Err(error) => {
                problems.insert(Problem {
                    what: format!("{error:#}"),
                    remedy: "tried again every second; if a map is full, the mesh is larger than this version supports".to_owned(),
                });
                false
            }
        }
    }

    /// Returns whether links, addresses and routes are as they should be.
    async fn apply_network(&mut self, knowledge: Knowledge) -> bool {
        let keep_unknown = knowledge != Knowledge::Complete;
        let mut problems = BTreeSet::new();
        let mut failures = Vec::new();
        match self.netlink.observe().await {
            Ok(mut observed) => {
                observed.path_mtus = self.path_mtus();
                observed.not_forwarding = self.not_forwarding();
                observed.ways = self.ways(&observed);
                self.follow_peers(&observed);
                failures.extend(self.follow_underlay(&observed).err());
                let plan = network::plan(&observed, &self.desired, &self.tunnel, keep_unknown);
                let Plan {
                    actions,
                    problems: found,
                } = plan;
                problems = found;
                for action in actions {
                    debug!(?action, "changing the network");
                    failures.extend(self.netlink.execute(action).await.err());
                }
            }
            Err(error) => failures.push(error),
        }
        let done = failures.is_empty();
        problems.extend(
            failures.into_iter().map(|error| Problem {
                what: format!("{error:#}"),
                remedy: "tried again every second; look at `ip link` and `ip route` on this node"
                    .to_owned(),
            }),
        );
        self.set_problems(Area::Network, problems);
        done
    }

    /// What keeps this node from carrying for others, if it should.
    fn not_forwarding(&self) -> Vec<String> {
        if !self.desired.is_carrier_for_others {
            return Vec::new();
        }
        let has_v6 = self.desired.prefixes.keys().any(|it| it.addr().is_ipv6());
        netlink::not_forwarding(&self.tunnel, has_v6)
    }

    /// What is known of the tunnels that carry, or should, what this node itself sends to others.
    fn ways(&self, observed: &Observed) -> BTreeMap<IpNet, Way> {
        let device = self.device().ok();
        let waited = self.clock.now().saturating_duration_since(self.started);
        let sight = nodes::Sight {
            health: &self.health,
            said: &self.said,
            device: device.as_deref(),
            now_unix_seconds: self.clock.unix_milliseconds() / 1_000,
            is_stranded: !self.listed && STRANDED_AFTER < waited,
        };
        nodes::ways(&self.desired, observed, sight)
    }

    /// An interface that was made anew carries no program until it gets one.
    fn follow_underlay(&mut self, observed: &Observed) -> anyhow::Result<()> {
        let names = self.datapath.place().interfaces.iter();
        let indexes: Vec<Option<u32>> = names
            .map(|it| observed.links.get(it).map(|link| link.index))
            .collect();
        if indexes != self.underlay {
            tokio::task::block_in_place(|| self.datapath.reattach())?;
            self.underlay = indexes;
        }
        Ok(())
    }

    /// Reads the maps back, so that what somebody else changed is put right.
    pub(super) fn reread(&mut self) {
        match tokio::task::block_in_place(|| self.datapath.maps.read()) {
            Ok(tables) if tables == self.tables => (),
            Ok(tables) => {
                warn!("the datapath's maps were changed by somebody else; putting them right");
                self.tables = tables;
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot read the maps back"),
        }
    }

    pub(super) fn set_problems(&mut self, area: Area, problems: BTreeSet<Problem>) {
        let before = self.problems.insert(area, problems);
        for problem in &self.problems[&area] {
            if before.as_ref().is_none_or(|it| !it.contains(problem)) {
                warn!(what = problem.what, remedy = problem.remedy, "a problem");
            }
        }
    }
}

fn tell_detours(before: &Desired, after: &Desired) {
    for (node, relay) in &after.detours {
        if before.detours.get(node) == Some(relay) {
            continue;
        }
        let (cluster, name) = node;
        match relay {
            Some((relay_cluster, relay)) => {
                warn!(%cluster, node = %name, %relay_cluster, %relay, "a node is out of direct reach; a relay is sent what is for it");
            }
            None => warn!(%cluster, node = %name, "a node is out of reach, and there is no relay"),
        }
    }
    let returned = before.detours.keys();
    for (cluster, node) in returned.filter(|it| !after.detours.contains_key(it)) {
        info!(%cluster, %node, "a node is in direct reach again");
    }
}
