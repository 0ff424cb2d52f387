//! Takes in what is seen of the store: what is there, and what others do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lane::Queue;
use super::{Key, Plan, Row};

impl Plan {
    /// Takes in what a new connection found: the keys under the owned prefixes, each with its lease,
    /// and which of our leases are alive. Whatever is not certainly as desired is written again.
    pub fn handle_found(&mut self, mut found: BTreeMap<Key, i64>, alive: &BTreeSet<i64>) {
        self.leases.restart(alive);
        for key in self.flights.drain(..).flat_map(|it| it.keys) {
            if let Some(lane) = self.rows.get(&key).and_then(|it| self.lanes.get(it.lane)) {
                lane.backlog.fail(&key);
            }
        }
        let mut doubtful = Vec::new();
        let mut undesired = Vec::new();
        for (key, row) in &mut self.rows {
            let is_doubtful = std::mem::take(&mut row.is_in_flight);
            row.lease = found.remove(key).unwrap_or(0);
            row.revision = 0;
            self.leases.count(row.lease);
            let is_lost = row.desired.is_some() && !self.leases.contains(row.lease);
            if is_doubtful || is_lost {
                doubtful.push(Arc::clone(key));
            } else if row.desired.is_none() {
                undesired.push(Arc::clone(key));
            }
        }
        for key in undesired {
            if self.lane_of(&key).is_some() && self.rows.get(&key).is_some_and(|it| it.lease != 0) {
                doubtful.push(key);
            } else {
                self.drop_if_gone(&key);
            }
        }
        for (key, lease) in found {
            self.leases.count(lease);
            let lane = self.lane_of(&key);
            let row = Row {
                lane: lane.unwrap_or_default(),
                lease,
                ..Row::default()
            };
            self.rows.insert(Arc::clone(&key), row);
            if lane.is_some() {
                doubtful.push(key);
            }
        }
        for key in doubtful {
            self.mark(&key);
        }
    }

    /// Somebody deleted `key`, or its lease ended; maybe it was we.
    pub fn handle_deleted(&mut self, key: &str, revision: i64) {
        let Some((key, row)) = self.rows.get_key_value(key) else {
            return;
        };
        if revision <= row.revision {
            return; // We have written since.
        }
        let (key, lease) = (Arc::clone(key), row.lease);
        self.leases.release(lease);
        let Some(row) = self.rows.get_mut(&key) else {
            return;
        };
        row.lease = 0;
        if row.desired.is_some() {
            self.mark(&key);
        } else {
            if std::mem::take(&mut row.queue) != Queue::None {
                self.lanes[row.lane].backlog.leave(&key);
            }
            self.drop_if_gone(&key);
        }
    }

    /// Somebody put `value` under `key`, maybe we. The answer waits for [`reassert`](Self::reassert).
    pub fn handle_put(&mut self, key: &str, value: &[u8]) {
        let lane = self.lane_of(key);
        let desired = self.rows.get(key).and_then(|it| it.desired.as_ref());
        let is_as_desired = match desired {
            Some(desired) => **desired == *value,
            None => lane.is_none(),
        };
        if is_as_desired {
            self.contested.remove(key);
            return;
        }
        let key = Key::from(key);
        let lane = lane.unwrap_or_default();
        let row = self.rows.entry(Arc::clone(&key)).or_default();
        if row.desired.is_none() {
            row.lane = lane;
        }
        self.contested.insert(key);
    }

    /// Puts again what others changed. To be called now and then: two writers that want different
    /// things would otherwise fight as fast as the store can.
    pub fn reassert(&mut self) {
        for key in std::mem::take(&mut self.contested) {
            self.mark(&key);
        }
    }

    /// Forgets a key that neither we want nor the store has.
    pub(super) fn drop_if_gone(&mut self, key: &Key) {
        let is_gone = |it: &Row| {
            it.desired.is_none() && it.lease == 0 && it.queue == Queue::None && !it.is_in_flight
        };
        if self.rows.get(key).is_some_and(is_gone) {
            self.rows.remove(key);
        }
    }
}
