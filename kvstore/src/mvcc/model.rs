//! The slowest correct store: every revision kept whole, to compare the real one with.

use std::collections::BTreeMap;

use etcd_client::proto::{PbDeleteRequest, PbEvent, PbKeyValue, PbPutRequest};

use super::KeyRange;

/// All keys at each revision, from revision 1 on; index 0 is revision 1.
pub(super) struct Model {
    revisions: Vec<BTreeMap<Vec<u8>, PbKeyValue>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revisions: vec![BTreeMap::new()],
        }
    }
}

impl Model {
    /// Applies puts and deletes of one transaction.
    pub(super) fn write(&mut self, puts: &[PbPutRequest], deletes: &[PbDeleteRequest]) {
        let revision = self.revision() + 1;
        let mut keys = self.revisions.last().unwrap().clone();
        for put in puts {
            let previous = keys.get(&put.key);
            let kv = PbKeyValue {
                key: put.key.clone(),
                value: put.value.clone(),
                create_revision: previous.map_or(revision, |it| it.create_revision),
                mod_revision: revision,
                version: previous.map_or(1, |it| it.version + 1),
                lease: put.lease,
            };
            keys.insert(put.key.clone(), kv);
        }
        for delete in deletes {
            let range = KeyRange::of_request(&delete.key, &delete.range_end);
            keys.retain(|key, _| !range.contains(key));
        }
        if keys != *self.revisions.last().unwrap() {
            self.revisions.push(keys);
        }
    }

    pub(super) fn revision(&self) -> i64 {
        i64::try_from(self.revisions.len()).unwrap()
    }

    pub(super) fn at(&self, revision: i64) -> &BTreeMap<Vec<u8>, PbKeyValue> {
        &self.revisions[usize::try_from(revision - 1).unwrap()]
    }

    /// What a watch of `range` sees from `from` on, ordered by revision and then by key.
    pub(super) fn events(&self, range: &KeyRange, from: i64) -> Vec<PbEvent> {
        let mut events = Vec::new();
        for revision in from.max(2)..=self.revision() {
            let (before, after) = (self.at(revision - 1), self.at(revision));
            let mut keys: Vec<&Vec<u8>> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys.into_iter().filter(|it| range.contains(it)) {
                let (old, new) = (before.get(key), after.get(key));
                if old == new {
                    continue;
                }
                let deleted = PbKeyValue {
                    key: key.clone(),
                    mod_revision: revision,
                    ..PbKeyValue::default()
                };
                events.push(PbEvent {
                    r#type: i32::from(new.is_none()),
                    kv: Some(new.cloned().unwrap_or(deleted)),
                    prev_kv: old.cloned(),
                });
            }
        }
        events
    }
}
