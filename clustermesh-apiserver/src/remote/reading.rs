//! Takes in what a remote's store says: lists, changes, and the cluster-config before all else.

use kvstore::follower;
use topology::diff::Change;
use topology::id::ClusterName;
use topology::record::{Key, Record};

use super::records::show;
use super::{Changes, Remote, Step, TakenIds, cluster_config, followed};

impl Remote {
    /// A list, or a part of one.
    pub(super) fn take_page(
        &mut self,
        records: Vec<follower::Record>,
        taken: &TakenIds,
        step: &mut Step,
    ) {
        if !std::mem::replace(&mut self.is_listing, true) {
            self.is_whole = false;
            self.canaries.clear();
            self.capabilities = None;
            self.records.begin_list();
            self.placements.clear();
        }
        let config_key = self.config_key();
        if let Some(config) = records.iter().find(|it| it.key == config_key) {
            self.accept(&config.value, taken, step);
        }
        for record in records {
            if step.follow_again {
                return;
            }
            if record.key != config_key {
                self.put(record, step);
            }
        }
    }

    pub(super) fn end_list(&mut self, step: &mut Step) {
        self.is_listing = false;
        if self.config.is_none() && self.refusal.is_none() {
            self.refusal = Some("it has no cluster-config yet".to_owned());
        }
        // Without a word of its capabilities it is none of our kind, or not any more.
        self.choose_tree(step);
        self.is_whole = self.refusal.is_none() && !step.follow_again;
        self.is_listed |= self.is_whole;
    }

    pub(super) fn change(
        &mut self,
        changes: Vec<follower::Change>,
        taken: &TakenIds,
        step: &mut Step,
    ) {
        let config_key = self.config_key();
        for change in changes {
            match change {
                follower::Change::Put(record) if record.key == config_key => {
                    let was_believed = self.is_believed();
                    self.accept(&record.value, taken, step);
                    step.follow_again |= !was_believed && self.refusal.is_none();
                }
                _ if step.follow_again || !self.is_believed() => (),
                follower::Change::Put(record) => {
                    self.put(record, step);
                    self.choose_tree(step);
                }
                follower::Change::Delete { key, .. } => self.delete(&key, &mut step.changes),
            }
        }
    }

    /// Checks a cluster-config, and takes what follows from a new one.
    fn accept(&mut self, value: &[u8], taken: &TakenIds, step: &mut Step) {
        let (name, contract) = (&self.name, &self.contract);
        let checked = cluster_config::check_config(name, value, taken, self.mesh, contract);
        let config = match checked {
            Ok(config) => config,
            Err(refusal) => {
                self.refusal = Some(refusal);
                return;
            }
        };
        self.refusal = None;
        if self.id().is_some_and(|it| it != config.id) {
            // Every record is about another cluster than before; it is read anew under its new id
            // once the old one is gone.
            self.drain(&mut step.changes);
            step.follow_again = true;
            return;
        }
        let (key, mirrored) = (self.config_key(), cluster_config::mirrored_config(&config));
        let announced = &mut self.announced;
        show(announced, key.into(), mirrored.into(), &mut step.changes);
        let is_cached = config.capabilities.cached;
        self.config = Some(config);
        // Its own capabilities may come later in the list, and decide nothing before they do.
        if self.tree.is_cache() != is_cached {
            self.choose_tree(step);
        }
    }

    fn put(&mut self, record: follower::Record, step: &mut Step) {
        let Some(key) = self.parse(&record.key) else {
            return;
        };
        match key {
            Key::OwnCapabilities(_) => {
                // What it says and we do not understand, it does not speak with us.
                self.capabilities = match Record::decode(&key, &record.value, None) {
                    Ok(Record::OwnCapabilities(capabilities)) => Some(capabilities),
                    Ok(_) | Err(_) => None,
                };
                self.choose_tree(step);
            }
            Key::Pulse(_) => {
                if let Ok(Record::Pulse(sent)) = Record::decode(&key, &record.value, None) {
                    step.pulse = Some(sent);
                }
            }
            Key::Synced(_, kind) => {
                self.canaries.insert(kind);
            }
            Key::DeltaBackend(..)
            | Key::DeltaService(..)
            | Key::EndpointSlice(..)
            | Key::Identity(..)
            | Key::Ip(..)
            | Key::Node(..)
            | Key::Service(..)
            | Key::ServiceExport(..) => {
                if self.config.is_some() && self.refusal.is_none() {
                    self.put_record(&key, record, &mut step.changes);
                }
            }
            Key::ClusterConfig(_)
            | Key::LocalService(..)
            | Key::OwnSynced(_)
            | Key::Peer(_)
            | Key::Reach(..)
            | Key::TunnelEnd(..) => (),
        }
    }

    fn put_record(&mut self, key: &Key, record: follower::Record, changes: &mut Changes) {
        let (text, is_scoped) = placed(&record.key, &self.own);
        let is_known = self.records.is_present(key);
        // Also when its value is refused: the key is there, so the old value is not gone.
        self.records.see(key);
        let is_held = self.records.is_present(key);
        if is_held {
            self.placements.put(text, is_scoped, is_known);
        }
        let decoded = match Record::decode(key, &record.value, self.config.as_ref()) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.rejections.count_invalid(&record.key, &error);
                return;
            }
        };
        if let Err(breach) = self.contract.check(key, &decoded) {
            self.rejections
                .count(breach.reason, &record.key, &breach.what);
            return;
        }
        let limits = &self.contract.limits;
        if let Err(limit) = self.records.check_room(key, record.value.len(), limits) {
            let what = "the limit is reached";
            self.rejections.count(limit, &record.key, &what);
            return;
        }
        if !is_held {
            // Not before it has room: what is dropped takes none here either.
            self.placements.put(text, is_scoped, false);
        }
        self.records.put(key, decoded, record.value, changes);
    }

    fn delete(&mut self, text: &str, changes: &mut Changes) {
        // As upstream: a canary that is gone takes nothing back.
        let Some(key) = self.parse(text).filter(|it| it.kind().is_some()) else {
            return;
        };
        let (text, is_scoped) = placed(text, &self.own);
        if self.placements.delete(text, is_scoped) {
            self.records.delete(&key, changes);
        }
    }

    fn drain(&mut self, changes: &mut Changes) {
        self.records.drain(changes);
        self.placements.clear();
        let announced = std::mem::take(&mut self.announced);
        changes.extend(announced.into_keys().map(Change::Delete));
        self.canaries.clear();
        self.config = None;
        self.is_whole = false;
        self.is_listed = false;
    }
}

/// The key of a record as it would stand in the open, and whether it is scoped to us.
fn placed<'a>(text: &'a str, own: &ClusterName) -> (&'a str, bool) {
    match followed::scoped_key(text, own) {
        Some(text) => (text, true),
        None => (text, false),
    }
}
