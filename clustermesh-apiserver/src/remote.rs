//! One remote cluster: what its store says of it, and what our store shows of it to our agents.
//!
//! What was believed once stays until the remote itself vouches for its absence. A record that a
//! new list lacks is *stale*, and goes only when the canary of its kind is there: a remote that
//! restarts with an empty store takes nothing from us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kvstore::follower::Update;
use topology::diff::Change;
use topology::id::{ClusterId, ClusterName, MeshSize};
use topology::record::{ClusterConfig, Key, Kind, OwnCapabilities, PeerState, Record};
use topology::report::Witness;

use crate::moment::Moment;
use crate::timestamp::rfc3339;

mod cluster_config;
mod contract;
mod data_plane;
mod endpoint_slice;
mod followed;
mod liveness;
mod overlap;
mod placement;
mod reading;
mod records;
mod rejections;
mod report;
mod services;

use followed::Tree;
use liveness::{Evidence, Liveness};
use placement::Placements;
use records::{hide, show};

pub use contract::{CONTRACT_SUFFIX, Contract, Limits, PinnedCluster};
pub use data_plane::Tally;
pub use overlap::{Overlap, overlaps};
pub use records::Records;
pub use rejections::Rejections;

/// What our store shows of a remote. Keys and values are shared with the writer, and with the store
/// where it is in the process.
pub type Table = BTreeMap<Arc<str>, Arc<[u8]>>;

/// Changes to the part of our store that shows one remote cluster.
pub type Changes = Vec<Change<Arc<str>, Arc<[u8]>>>;

/// The clusters that have an id already: our own, and those of the remotes.
pub type TakenIds = BTreeMap<ClusterId, ClusterName>;

/// A remote cluster that we are configured to mirror.
#[derive(Debug)]
pub struct Remote {
    name: ClusterName,
    /// Ours.
    own: ClusterName,
    mesh: MeshSize,
    contract: Contract,
    link: Link,
    liveness: Liveness,
    /// The last one that was acceptable.
    config: Option<ClusterConfig>,
    /// Why the present cluster-config, or its absence, keeps us from believing the records.
    refusal: Option<String>,
    tree: Tree,
    /// What it speaks beyond upstream's records, as far as was read since the last list began.
    capabilities: Option<OwnCapabilities>,
    /// Whether a list has begun and is not complete yet.
    is_listing: bool,
    /// Whether the last list that began was believed and came to its end, so that what it lacks is
    /// stale and its canaries vouch for that.
    is_whole: bool,
    /// Whether a list was believed since the start or the last change of what is followed.
    is_listed: bool,
    canaries: BTreeSet<Kind>,
    records: Records,
    placements: Placements,
    /// What is shown beside the records: its cluster-config, and the canaries of complete kinds.
    announced: Table,
    rejections: Rejections,
}

#[derive(Debug)]
enum Link {
    /// Silent if nothing came back, rather than an end or a refusal.
    Down {
        reason: String,
        silent: bool,
    },
    /// It is not a cluster of the mesh any more.
    Removed,
    Up,
}

/// What follows from an update.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    pub changes: Changes,
    /// What was passed over before is of interest now: follow [`Remote::prefixes`] anew.
    pub follow_again: bool,
    /// When its publisher wrote last before all this, in microseconds since 1970, if it said so now.
    pub pulse: Option<u64>,
}

impl Remote {
    /// `own` is the name of our own cluster.
    pub fn new(
        name: ClusterName,
        own: ClusterName,
        mesh: MeshSize,
        now: impl Into<Moment>,
    ) -> Self {
        Self {
            name,
            own,
            mesh,
            contract: Contract::default(),
            liveness: Liveness::new(now.into()),
            link: Link::Down {
                reason: "not connected yet".to_owned(),
                silent: false,
            },
            config: None,
            refusal: None,
            tree: Tree::State,
            capabilities: None,
            is_listing: false,
            is_whole: false,
            is_listed: false,
            canaries: BTreeSet::new(),
            records: Records::default(),
            placements: Placements::default(),
            announced: Table::new(),
            rejections: Rejections::default(),
        }
    }

    /// Takes in what the remote's store said.
    pub fn apply(&mut self, update: Update, taken: &TakenIds, now: impl Into<Moment>) -> Step {
        let now = now.into();
        let mut step = Step::default();
        match update {
            Update::Connected { .. } => self.link = Link::Up,
            Update::Page(records) => self.take_page(records, taken, &mut step),
            Update::Listed(records) => {
                self.take_page(records, taken, &mut step);
                self.end_list(&mut step);
            }
            Update::Changed(changes) => self.change(changes, taken, &mut step),
            Update::Lost { reason, silent } => {
                self.interrupt();
                self.link = Link::Down { reason, silent };
            }
        }
        if self.is_believed() && self.is_whole && !step.follow_again {
            for kind in self.vouched_kinds() {
                self.records.sweep(kind, &mut step.changes);
            }
            let name = &self.name;
            self.records.show_joined(name, &mut step.changes);
            self.announce_complete_kinds(now, &mut step.changes);
        }
        self.tick(now);
        step
    }

    /// Takes in what our nodes see of the remote through their tunnels.
    pub fn hear_nodes(&mut self, tally: Tally, now: impl Into<Moment>) {
        let now = now.into();
        self.liveness.hear_nodes(tally, now);
        self.tick(now);
    }

    /// Weighs what is known of the remote's liveness, which changes with time alone too.
    pub fn tick(&mut self, now: impl Into<Moment>) {
        let now = now.into();
        let evidence = self.evidence();
        let before = self.state().map(|it| it.connected);
        self.liveness.weigh(evidence, now);
        self.tell_change(before);
        if let Some(count) = self.rejections.take_untold(now.uptime_milliseconds) {
            let (cluster, last) = (&self.name, &self.rejections.last);
            tracing::warn!(%cluster, count, last, "dropped records of a remote cluster");
        }
    }

    /// Holds the remote to another contract. What it announced before and may not any more goes now.
    pub fn set_contract(&mut self, contract: Contract) -> Changes {
        self.contract = contract;
        let mut changes = Changes::new();
        let (name, contract, config) = (&self.name, &self.contract, self.config.as_ref());
        let is_permitted = |text: &str, value: &[u8]| {
            let key = Key::parse(text, name).ok().flatten();
            let record = key.and_then(|key| {
                let record = Record::decode(&key, value, config).ok()?;
                Some((key, record))
            });
            record.is_some_and(|(key, record)| contract.check(&key, &record).is_ok())
        };
        self.records.retain(is_permitted, &mut changes);
        changes
    }

    /// Forgets that the remote is a cluster of the mesh, as the first step of its removal.
    pub fn withdraw(&mut self, now: impl Into<Moment>) -> Changes {
        self.link = Link::Removed;
        self.interrupt();
        self.tick(now);
        let mut changes = Changes::new();
        let key = self.config_key();
        hide(&mut self.announced, &key, &mut changes);
        changes
    }

    /// Another follower reads it from now on, or the same one begins anew.
    pub fn interrupt(&mut self) {
        self.is_listing = false;
    }

    /// Shows the remote without these records, by their mirrored keys, and again with all others.
    pub fn withhold(&mut self, keys: BTreeSet<Arc<str>>) -> Changes {
        self.records.withhold(keys)
    }

    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    pub fn id(&self) -> Option<ClusterId> {
        self.config.as_ref().map(|it| it.id)
    }

    /// What our agents are told of its liveness; nothing until that is decided.
    pub fn state(&self) -> Option<&PeerState> {
        self.liveness.state()
    }

    pub fn is_connected(&self) -> bool {
        self.state().is_some_and(|it| it.connected)
    }

    /// Whether its etcd itself says that it is connected.
    pub fn is_met(&self) -> bool {
        self.is_connected() && self.liveness.decided_by() == Witness::Etcd
    }

    /// Whether the cluster-config is unacceptable; another remote's removal may change that.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether every kind has been complete once, so that all of [`table`](Self::table) may be
    /// shown. Before that, showing it would make our agents drop what it lacks.
    pub fn is_complete(&self) -> bool {
        let canaries = Kind::ALL.map(|kind| self.canary_key(kind));
        canaries.iter().all(|it| self.announced.contains_key(&**it))
    }

    /// All that our store shows of the remote.
    pub fn table(&self) -> Table {
        let announced = self.announced.iter();
        let announced = announced.map(|(key, value)| (Arc::clone(key), Arc::clone(value)));
        self.records.shown().chain(announced).collect()
    }

    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    pub fn records(&self) -> &Records {
        &self.records
    }

    fn is_believed(&self) -> bool {
        self.is_listed && self.refusal.is_none()
    }

    fn vouched_kinds(&self) -> Vec<Kind> {
        let kinds = Kind::ALL.into_iter();
        kinds.filter(|it| self.vouches_for(*it)).collect()
    }

    /// Whether the remote has written all of a kind since it started, or never writes that kind.
    fn vouches_for(&self, kind: Kind) -> bool {
        let capabilities = self.config.as_ref().map(|it| &it.capabilities);
        capabilities.is_some_and(|it| {
            let is_unknown = match kind {
                Kind::EndpointSlices => it.endpoint_slices_export_mode.is_empty(),
                Kind::ServiceExports => it.service_exports_enabled.is_none(),
                Kind::Identities | Kind::Ip | Kind::Nodes | Kind::Services => false,
            };
            is_unknown || !it.synced_canaries || self.canaries.contains(&kind)
        })
    }

    fn announce_complete_kinds(&mut self, now: Moment, changes: &mut Changes) {
        for kind in self.vouched_kinds() {
            let key = self.canary_key(kind);
            if !self.announced.contains_key(&*key) {
                let now = rfc3339(now.unix_milliseconds).into_bytes();
                show(&mut self.announced, key.into(), now.into(), changes);
            }
        }
    }

    /// Logs what moves traffic.
    fn tell_change(&self, was_connected: Option<bool>) {
        let (cluster, witness) = (&self.name, self.liveness.decided_by());
        let Some(PeerState {
            connected, reason, ..
        }) = self.state()
        else {
            return;
        };
        match (was_connected, connected) {
            (Some(true), false) => {
                tracing::warn!(%cluster, reason, ?witness, "a remote cluster counts as lost");
            }
            (Some(false), true) => {
                tracing::info!(%cluster, reason, ?witness, "a remote cluster is back");
            }
            (None | Some(_), _) => (),
        }
    }

    fn evidence(&self) -> Evidence {
        match (&self.link, &self.refusal) {
            (Link::Down { reason, silent }, _) => match silent {
                true => Evidence::Silence(reason.clone()),
                false => Evidence::Away(reason.clone()),
            },
            (Link::Removed, _) => {
                Evidence::Refusal("it was removed from the configuration".to_owned())
            }
            (Link::Up, Some(refusal)) => Evidence::Refusal(refusal.clone()),
            (Link::Up, None) if self.is_listed => Evidence::Answer,
            (Link::Up, None) => Evidence::Away("its records are not read yet".to_owned()),
        }
    }

    fn config_key(&self) -> String {
        Key::ClusterConfig(self.name.clone()).published()
    }

    fn canary_key(&self, kind: Kind) -> String {
        Key::Synced(self.name.clone(), kind).mirrored()
    }
}

#[cfg(test)]
mod tests;
