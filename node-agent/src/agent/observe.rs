//! How the store's updates change what is believed, and how questions are answered from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use datapath_abi::ServiceKey;
use kvstore::follower::{Change, Update};
use topology::mesh::{Event, Rejected};
use topology::report::{self, AgentStatus, Problem, StoreReport, TunnelReport};
use tracing::{debug, info, warn};
use wireguard::uapi::DeviceState;

use super::Agent;
use crate::admin::Question;
use crate::gate::Knowledge;
use crate::network::nodes;
use crate::view;

/// Rejected records that are remembered by name; a store full of them needs no longer list.
const REJECTED_MAX: usize = 100;

impl Agent {
    /// Takes in what the store said. Returns whether the kernel may have to follow.
    pub(super) fn observe(&mut self, update: Update) -> bool {
        match update {
            Update::Connected { .. } => {
                info!("connected to etcd");
                self.store = self.store_report(true, String::new());
                false
            }
            Update::Lost { reason, .. } => {
                warn!(%reason, "lost etcd; everything stays in force");
                self.store = self.store_report(false, reason);
                false
            }
            Update::Listed(records) => {
                self.listed = true;
                self.rejected.clear();
                let mut entries = super::reaches::heard(&self.mesh);
                entries.extend(records.into_iter().map(|it| (it.key, it.value)));
                self.take(Event::Listed(entries));
                true
            }
            // Only a follower that is asked to tells parts of lists.
            Update::Page(_) => false,
            Update::Changed(changes) => {
                for change in changes {
                    let event = match change {
                        Change::Delete { key, .. } => Event::Delete { key },
                        Change::Put(record) => Event::Put {
                            key: record.key,
                            value: record.value,
                        },
                    };
                    self.take(event);
                }
                true
            }
        }
    }

    pub(super) fn take(&mut self, event: Event) {
        if let Event::Delete { key } | Event::Put { key, .. } = &event {
            self.rejected.remove(key);
        }
        let rejected = self.mesh.apply(event);
        self.metrics.count_rejected(rejected.len());
        for Rejected { key, reason } in rejected {
            debug!(key, %reason, "a record is not valid; an older value stays in force");
            if self.rejected.len() < REJECTED_MAX {
                self.rejected.insert(key, reason.to_string());
            }
        }
    }

    fn store_report(&self, connected: bool, reason: String) -> StoreReport {
        StoreReport {
            connected,
            since: self.clock.unix_milliseconds(),
            reason,
        }
    }

    /// Somebody who no longer waits for the answer misses nothing.
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            Question::Peer(cluster, node, back) => {
                let tunnels = self.tunnels();
                let _gone = back.send(view::explain_peer(
                    &self.mesh,
                    &self.identity,
                    &self.desired,
                    &tunnels,
                    &cluster,
                    &node,
                ));
            }
            Question::Service(name, back) => {
                let programmed = |key: ServiceKey| {
                    let slots = self.datapath.maps.service(key).ok().flatten();
                    view::addresses(&slots.unwrap_or_default(), &self.tables.backends)
                };
                let _gone = back.send(view::explain_service(
                    &self.mesh,
                    &self.identity,
                    &name,
                    programmed,
                ));
            }
            Question::Rotate(back) => {
                let _gone = back.send(self.keys.ask());
            }
            Question::Status(back) => {
                let _gone = back.send(self.status());
            }
        }
    }

    fn status(&self) -> AgentStatus {
        AgentStatus {
            node: self.identity.node.clone(),
            cluster: self.identity.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.unsynced.is_none(),
            store: self.store.clone(),
            clusters: report::clusters(&self.mesh),
            tunnels: self.tunnels(),
            encryption: Some(self.encryption()),
            services: self.tables.services.len(),
            backends: self.tables.backends.len(),
            problems: self.all_problems().into_iter().collect(),
        }
    }

    /// Shows the kernel's counts and our own in the metrics.
    pub(super) fn measure(&mut self) {
        match self.datapath.maps.counters() {
            Ok(counters) => self.metrics.show_verdicts(&counters),
            Err(error) => warn!(error = format!("{error:#}"), "cannot read the counters"),
        }
        let tunnels = self.tunnels();
        let now_seconds = self.clock.unix_milliseconds() / 1_000;
        self.metrics.show_tunnels(&tunnels, now_seconds);
        self.metrics.show_agreements(self.agreements.count());
        self.metrics.show_tables(&self.tables);
        let problems = self.all_problems().len();
        self.metrics.show_health(self.store.connected, problems);
    }

    fn tunnels(&self) -> Vec<TunnelReport> {
        let now_seconds = self.clock.unix_milliseconds() / 1000;
        let mut tunnels = view::tunnels(
            &self.desired,
            self.device().ok().as_deref(),
            &self.sight().reports,
            now_seconds,
        );
        for tunnel in &mut tunnels {
            let node = (tunnel.cluster.clone(), tunnel.node.clone());
            tunnel.post_quantum = Some(self.post_quantum(&node));
        }
        tunnels
    }

    pub(super) fn device(&self) -> Result<Arc<DeviceState>, String> {
        self.seen.borrow().clone()
    }

    fn all_problems(&self) -> BTreeSet<Problem> {
        let mut problems = self.desired.problems.clone();
        problems.extend(self.problems.values().flatten().cloned());
        let device = self.device();
        let device = device.as_deref().map_err(String::as_str);
        problems.extend(view::device_problem(&self.tunnel, &self.desired, device));
        problems.extend(self.probe_problems());
        problems.extend(self.reach_problem());
        problems.extend(nodes::problem(&self.desired, &self.said));
        problems.extend(self.agreement_problems());
        if !self.store.connected {
            problems.insert(Problem {
                what: format!("no connection to etcd: {}", self.store.reason),
                remedy: "start the cluster's clustermesh-apiserver, or check --etcd-config; until then everything stays as it is".to_owned(),
            });
        }
        if self.listed && self.gate.knowledge() == Knowledge::Unread {
            problems.insert(Problem {
                what: "the store is not complete yet, so nothing that is in force is taken away"
                    .to_owned(),
                remedy: "wait for the cluster's clustermesh-apiserver to publish everything"
                    .to_owned(),
            });
        }
        problems.extend(
            self.rejected
                .first_key_value()
                .map(|(key, reason)| Problem {
                    what: format!(
                        "{} records of the store are not valid, such as {key}: {reason}",
                        self.rejected.len()
                    ),
                    remedy: "check the cluster that writes them; older values stay in force"
                        .to_owned(),
                }),
        );
        problems
    }
}
