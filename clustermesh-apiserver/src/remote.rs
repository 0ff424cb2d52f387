//! One remote cluster: what its store says of it, and what our store shows of it to our agents.
//!
//! What was believed once stays until the remote itself vouches for its absence. A record that a
//! new list lacks is *stale*, and goes only when the canary of its kind is there: a remote that
//! restarts with an empty store takes nothing from us.

use std::collections::{BTreeMap, BTreeSet};

use kvstore::follower::{self, Update};
use topology::diff::Change;
use topology::id::{ClusterId, ClusterName, MeshSize};
use topology::record::{ClusterConfig, Key, Kind, PeerState, Record};

use crate::publish::Table;
use crate::timestamp::rfc3339;

mod contract;
mod liveness;
mod report;

use liveness::{Evidence, Liveness};

pub use contract::Rejections;

/// Changes to the part of our store that shows one remote cluster.
pub type Changes = Vec<Change<String, Vec<u8>>>;

/// The clusters that have an id already: our own, and those of the other remotes.
pub type TakenIds = BTreeMap<ClusterId, ClusterName>;

/// A remote cluster that we are configured to mirror.
#[derive(Debug)]
pub struct Remote {
    name: ClusterName,
    mesh: MeshSize,
    link: Link,
    liveness: Liveness,
    /// The last one that was acceptable.
    config: Option<ClusterConfig>,
    /// Why the present cluster-config, or its absence, keeps us from believing the records.
    refusal: Option<String>,
    tree: Tree,
    /// Whether a list was believed since the start or the last change of what is followed.
    is_listed: bool,
    canaries: BTreeSet<Kind>,
    records: BTreeMap<Kind, Table>,
    stale: BTreeMap<Kind, BTreeSet<String>>,
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
    Up,
}

/// Where the remote keeps its records: a mirror of a mirror reads what that one mirrored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tree {
    Cache,
    State,
}

/// What follows from an update.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    pub changes: Changes,
    /// What was passed over before is of interest now: follow [`Remote::prefixes`] anew.
    pub follow_again: bool,
}

impl Remote {
    pub fn new(name: ClusterName, mesh: MeshSize, now_unix_milliseconds: u64) -> Self {
        Self {
            name,
            mesh,
            liveness: Liveness::new(now_unix_milliseconds),
            link: Link::Down {
                reason: "not connected yet".to_owned(),
                silent: false,
            },
            config: None,
            refusal: None,
            tree: Tree::State,
            is_listed: false,
            canaries: BTreeSet::new(),
            records: BTreeMap::new(),
            stale: BTreeMap::new(),
            announced: Table::new(),
            rejections: Rejections::default(),
        }
    }

    /// The keys and prefixes of the remote's store that are to be followed, each as narrow as
    /// Cilium's role for peers, and last the canaries: what announces must come after what it
    /// announces.
    pub fn prefixes(&self) -> Vec<String> {
        let name = &self.name;
        let mut prefixes = vec![self.config_key()];
        match self.tree {
            Tree::Cache => prefixes
                .extend(Kind::ALL.map(|kind| format!("cilium/cache/{}/v1/{name}/", kind.as_str()))),
            Tree::State => prefixes.push("cilium/state/".to_owned()),
        }
        prefixes.push(format!("cilium/synced/{name}/"));
        prefixes
    }

    /// Takes in what the remote's store said.
    pub fn apply(&mut self, update: Update, taken: &TakenIds, now_unix_milliseconds: u64) -> Step {
        let mut step = Step::default();
        match update {
            Update::Connected { .. } => self.link = Link::Up,
            Update::Listed(records) => self.relist(records, taken, &mut step),
            Update::Changed(changes) => self.change(changes, taken, &mut step),
            Update::Lost { reason, silent } => self.link = Link::Down { reason, silent },
        }
        if self.is_believed() {
            self.sweep(&mut step.changes);
            self.announce_complete_kinds(now_unix_milliseconds, &mut step.changes);
        }
        self.tick(now_unix_milliseconds);
        step
    }

    /// Weighs what is known of the remote's liveness, which changes with time alone too.
    pub fn tick(&mut self, now_unix_milliseconds: u64) {
        let evidence = self.evidence();
        self.liveness.weigh(evidence, now_unix_milliseconds);
    }

    /// Forgets that the remote is a cluster of the mesh, as the first step of its removal.
    pub fn withdraw(&mut self, now_unix_milliseconds: u64) -> Changes {
        let reason = "it was removed from the configuration".to_owned();
        let silent = true; // Nobody listens to it any more.
        self.link = Link::Down { reason, silent };
        self.tick(now_unix_milliseconds);
        let mut changes = Changes::new();
        let key = self.config_key();
        hide(&mut self.announced, &key, &mut changes);
        changes
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

    /// Whether the cluster-config is unacceptable; another remote's removal may change that.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether every kind has been complete once, so that all of [`table`](Self::table) may be
    /// shown. Before that, showing it would make our agents drop what it lacks.
    pub fn is_complete(&self) -> bool {
        let canaries = Kind::ALL.map(|kind| self.canary_key(kind));
        canaries.iter().all(|it| self.announced.contains_key(it))
    }

    /// All that our store shows of the remote.
    pub fn table(&self) -> Table {
        let records = self.records.values().flatten();
        let all = records.chain(&self.announced);
        all.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    fn relist(&mut self, records: Vec<follower::Record>, taken: &TakenIds, step: &mut Step) {
        let config_key = self.config_key();
        match records.iter().find(|it| it.key == config_key) {
            Some(config) => self.accept(&config.value, taken, step),
            None if self.config.is_none() => {
                self.refusal = Some("it has no cluster-config yet".to_owned());
            }
            // It restarted and has not written it again: what it said before stands.
            None => (),
        }
        if step.follow_again || self.refusal.is_some() {
            return;
        }

        self.is_listed = true;
        self.canaries.clear();
        let keys = |table: &Table| table.keys().cloned().collect();
        self.stale = self
            .records
            .iter()
            .map(|(kind, it)| (*kind, keys(it)))
            .collect();
        for record in records {
            self.put(record, &mut step.changes);
        }
    }

    fn change(&mut self, changes: Vec<follower::Change>, taken: &TakenIds, step: &mut Step) {
        let config_key = self.config_key();
        for change in changes {
            match change {
                follower::Change::Put(record) if record.key == config_key => {
                    let was_believed = self.is_believed();
                    self.accept(&record.value, taken, step);
                    step.follow_again |= !was_believed && self.refusal.is_none();
                }
                _ if step.follow_again || !self.is_believed() => (),
                follower::Change::Put(record) => self.put(record, &mut step.changes),
                follower::Change::Delete { key, .. } => self.delete(&key, &mut step.changes),
            }
        }
    }

    /// Checks a cluster-config, and takes what follows from a new one.
    fn accept(&mut self, value: &[u8], taken: &TakenIds, step: &mut Step) {
        let config = match contract::check_config(&self.name, value, taken, self.mesh) {
            Ok(config) => config,
            Err(refusal) => {
                self.refusal = Some(refusal);
                return;
            }
        };
        self.refusal = None;
        if self.id().is_some_and(|it| it != config.id) {
            // Every record is about another cluster than before.
            self.drain(&mut step.changes);
        }
        let tree = match config.capabilities.cached {
            true => Tree::Cache,
            false => Tree::State,
        };
        step.follow_again |= tree != self.tree;
        self.tree = tree;
        let (key, mirrored) = (self.config_key(), contract::mirrored_config(&config));
        show(&mut self.announced, key, mirrored, &mut step.changes);
        self.config = Some(config);
    }

    fn put(&mut self, record: follower::Record, changes: &mut Changes) {
        let Some(key) = self.parse(&record.key) else {
            return;
        };
        let Some(kind) = key.kind() else {
            if let Key::Synced(_, kind) = key {
                self.canaries.insert(kind);
            }
            return;
        };
        let mirrored = key.mirrored();
        // Also when its value is refused: the key is there, so the old value is not gone.
        self.stale.entry(kind).or_default().remove(&mirrored);
        if let Err(error) = Record::decode(&key, &record.value, self.config.as_ref()) {
            self.rejections
                .count(contract::reason(&error), &record.key, &error);
            return;
        }
        let table = self.records.entry(kind).or_default();
        if table.len() >= contract::RECORDS_PER_KIND_MAX && !table.contains_key(&mirrored) {
            self.rejections
                .count("too-many", &record.key, &"the limit of its kind is reached");
            return;
        }
        show(table, mirrored, record.value, changes);
    }

    fn delete(&mut self, key: &str, changes: &mut Changes) {
        // As upstream: a canary that is gone takes nothing back.
        let Some((key, kind)) = self
            .parse(key)
            .and_then(|key| Some((key.clone(), key.kind()?)))
        else {
            return;
        };
        hide(
            self.records.entry(kind).or_default(),
            &key.mirrored(),
            changes,
        );
    }

    /// The record that a key of the followed tree names, if it is about this cluster.
    fn parse(&mut self, text: &str) -> Option<Key> {
        let tree = match self.tree {
            Tree::Cache => "cilium/cache/",
            Tree::State => "cilium/state/",
        };
        let synced = format!("cilium/synced/{}/", self.name);
        if !text.strip_prefix(&synced).unwrap_or(text).starts_with(tree) {
            return None;
        }
        match Key::parse(text, &self.name) {
            Ok(key) => key.filter(|it| *it.cluster() == self.name),
            Err(error) => {
                self.rejections.count("malformed-key", text, &error);
                None
            }
        }
    }

    fn is_believed(&self) -> bool {
        self.is_listed && self.refusal.is_none()
    }

    /// Drops the stale records whose absence the remote vouches for.
    fn sweep(&mut self, changes: &mut Changes) {
        for kind in self.vouched_kinds() {
            for key in self.stale.remove(&kind).unwrap_or_default() {
                hide(self.records.entry(kind).or_default(), &key, changes);
            }
        }
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

    fn announce_complete_kinds(&mut self, now_unix_milliseconds: u64, changes: &mut Changes) {
        for kind in self.vouched_kinds() {
            let key = self.canary_key(kind);
            if !self.announced.contains_key(&key) {
                let now = rfc3339(now_unix_milliseconds).into_bytes();
                show(&mut self.announced, key, now, changes);
            }
        }
    }

    fn drain(&mut self, changes: &mut Changes) {
        for table in self.records.values_mut().chain([&mut self.announced]) {
            changes.extend(std::mem::take(table).into_keys().map(Change::Delete));
        }
        self.stale.clear();
        self.canaries.clear();
        self.is_listed = false;
    }

    fn evidence(&self) -> Evidence {
        match (&self.link, &self.refusal) {
            (Link::Down { reason, silent }, _) if *silent => Evidence::Against(reason.clone()),
            (Link::Down { reason, .. }, _) => Evidence::Open(reason.clone()),
            (Link::Up, Some(refusal)) => Evidence::Against(refusal.clone()),
            (Link::Up, None) if self.is_listed => Evidence::For,
            (Link::Up, None) => Evidence::Open("its records are not read yet".to_owned()),
        }
    }

    fn config_key(&self) -> String {
        Key::ClusterConfig(self.name.clone()).published()
    }

    fn canary_key(&self, kind: Kind) -> String {
        Key::Synced(self.name.clone(), kind).mirrored()
    }
}

fn show(table: &mut Table, key: String, value: Vec<u8>, changes: &mut Changes) {
    if table.get(&key) != Some(&value) {
        table.insert(key.clone(), value.clone());
        changes.push(Change::Put(key, value));
    }
}

fn hide(table: &mut Table, key: &str, changes: &mut Changes) {
    if let Some((key, _)) = table.remove_entry(key) {
        changes.push(Change::Delete(key));
    }
}

#[cfg(test)]
mod tests;
