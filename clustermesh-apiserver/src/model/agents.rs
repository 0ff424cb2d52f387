//! What the node agents of our own cluster say: who reaches which remote, and how tunnels end.
//!
//! A record that is not acceptable is dropped and counted, and what its node said before stays.

use std::collections::{BTreeMap, BTreeSet};

use kvstore::follower::{Change, Record as Stored, Update};
use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use topology::record::{
    AGENT_NODES_MAX, AGENT_RECORD_BYTES_MAX, ClusterReach, Key, Reach, Record, TunnelEnd,
};
use topology::report::Problem;

use crate::moment::Moment;
use crate::remote::{Rejections, Tally};

#[derive(Debug)]
pub(super) struct Agents {
    own: ClusterName,
    /// What each node's probes say of each remote that it has tunnels to.
    opinions: BTreeMap<NodeName, BTreeMap<ClusterName, Opinion>>,
    tallies: BTreeMap<ClusterName, Tally>,
    /// The nodes that say how tunnels to them end.
    ends: BTreeSet<NodeName>,
    pub(super) rejections: Rejections,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Opinion {
    NotReached,
    Reached,
    Undecided,
}

/// What follows from an update.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Remotes of which the nodes say something else than before.
    pub(super) remotes: BTreeSet<ClusterName>,
    /// How tunnels to these nodes end now, in order; `None` where nobody says so any more.
    pub(super) ends: Vec<(NodeName, Option<TunnelEnd>)>,
}

impl Agents {
    pub(super) fn new(own: ClusterName) -> Self {
        Self {
            own,
            opinions: BTreeMap::new(),
            tallies: BTreeMap::new(),
            ends: BTreeSet::new(),
            rejections: Rejections::default(),
        }
    }

    /// Takes in what our store says.
    pub(super) fn apply(&mut self, update: Update) -> News {
        let mut news = News::default();
        match update {
            Update::Changed(changes) => {
                for change in changes {
                    match change {
                        Change::Delete { key, .. } => self.delete(&key, &mut news),
                        Change::Put(record) => self.put(&record, &mut news),
                    }
                }
            }
            Update::Listed(records) => self.list(&records, &mut news),
            Update::Page(records) => records.iter().for_each(|it| self.put(it, &mut news)),
            // Our store is away: nobody's word ended.
            Update::Connected { .. } | Update::Lost { .. } => (),
        }
        news
    }

    /// Warns of records that were dropped, once a burst.
    pub(super) fn tell(&mut self, now: Moment) {
        if let Some(count) = self.rejections.take_untold(now.uptime_milliseconds) {
            let last = &self.rejections.last;
            tracing::warn!(count, last, "dropped records of node agents");
        }
    }

    /// What an operator should know of what agents say.
    pub(super) fn problem(&self) -> Option<Problem> {
        let dropped: u64 = self.rejections.counts.values().sum();
        (0 < dropped).then(|| Problem {
            what: format!(
                "{dropped} records of node agents were dropped, at last {}",
                self.rejections.last
            ),
            remedy: "give the agents the version of this server; find out who else writes below \
                     causeway/agents/ as user local"
                .to_owned(),
        })
    }

    pub(super) fn tally(&self, remote: &ClusterName) -> Tally {
        self.tallies.get(remote).copied().unwrap_or_default()
    }

    /// What a list lacks is gone.
    fn list(&mut self, records: &[Stored], news: &mut News) {
        let named: BTreeSet<&str> = records.iter().map(|it| &*it.key).collect();
        let is_gone = |key: Key| !named.contains(&*key.published());
        let reach = |node: &NodeName| Key::Reach(self.own.clone(), node.clone());
        let end = |node: &NodeName| Key::TunnelEnd(self.own.clone(), node.clone());
        let silent = self.opinions.keys().filter(|it| is_gone(reach(it)));
        let silent: Vec<NodeName> = silent.cloned().collect();
        let endless = self.ends.iter().filter(|it| is_gone(end(it)));
        let endless: Vec<NodeName> = endless.cloned().collect();
        for node in silent {
            self.hear(node, &Reach::default(), news);
        }
        for node in endless {
            self.ends.remove(&node);
            news.ends.push((node, None));
        }
        for record in records {
            self.put(record, news);
        }
    }

    fn put(&mut self, stored: &Stored, news: &mut News) {
        let Some(key) = self.parse(&stored.key) else {
            return;
        };
        if AGENT_RECORD_BYTES_MAX < stored.value.len() {
            let what = format!("it has more than {AGENT_RECORD_BYTES_MAX} bytes");
            self.rejections.count("too-large", &stored.key, &what);
            return;
        }
        let record = match Record::decode(&key, &stored.value, None) {
            Ok(record) => record,
            Err(error) => return self.rejections.count_invalid(&stored.key, &error),
        };
        if let (Key::Reach(_, node), Record::Reach(reach)) = (&key, &record) {
            let is_known = self.opinions.contains_key(node);
            if self.has_room(self.opinions.len(), is_known, stored) {
                self.hear(node.clone(), reach, news);
            }
        } else if let (Key::TunnelEnd(_, node), Record::TunnelEnd(end)) = (key, record) {
            if let Some(problem) = end.problem() {
                self.rejections.count("no-tunnel", &stored.key, &problem);
            } else if self.has_room(self.ends.len(), self.ends.contains(&node), stored) {
                self.ends.insert(node.clone());
                news.ends.push((node, Some(end)));
            }
        }
    }

    fn delete(&mut self, text: &str, news: &mut News) {
        let Some(key) = self.parse(text) else {
            return;
        };
        if let Key::Reach(_, node) = key {
            self.hear(node, &Reach::default(), news);
        } else if let Key::TunnelEnd(_, node) = key
            && self.ends.remove(&node)
        {
            news.ends.push((node, None));
        }
    }

    /// A key of our own agents, of a kind that is known.
    fn parse(&mut self, text: &str) -> Option<Key> {
        match Key::parse(text, &self.own) {
            Ok(Some(key)) if *key.cluster() == self.own => Some(key),
            Ok(Some(key)) => {
                let what = format!("it is about cluster {}", key.cluster());
                self.rejections.count("mismatch", text, &what);
                None
            }
            // A kind that a later version has.
            Ok(None) => None,
            Err(error) => {
                self.rejections.count("malformed-key", text, &error);
                None
            }
        }
    }

    fn has_room(&mut self, nodes: usize, is_known: bool, stored: &Stored) -> bool {
        let has_room = is_known || nodes < AGENT_NODES_MAX;
        if !has_room {
            let what = format!("{AGENT_NODES_MAX} other nodes have reported");
            self.rejections.count("too-many", &stored.key, &what);
        }
        has_room
    }

    /// Puts what a node says of all remotes in the place of what it said before.
    fn hear(&mut self, node: NodeName, reach: &Reach, news: &mut News) {
        let before = self.opinions.remove(&node).unwrap_or_default();
        let after: BTreeMap<ClusterName, Opinion> = (reach.clusters.iter())
            .map(|(remote, reach)| (remote.clone(), Opinion::of(reach, before.get(remote))))
            .collect();
        let remotes: BTreeSet<&ClusterName> = before.keys().chain(after.keys()).collect();
        for remote in remotes {
            let (old, new) = (before.get(remote), after.get(remote));
            if old == new {
                continue;
            }
            news.remotes.insert(remote.clone());
            let tally = self.tallies.entry(remote.clone()).or_default();
            if let Some(old) = old {
                *old.count(tally) -= 1;
            }
            if let Some(new) = new {
                *new.count(tally) += 1;
            }
            if tally.nodes() == 0 {
                self.tallies.remove(remote);
            }
        }
        if !after.is_empty() {
            self.opinions.insert(node, after);
        }
    }
}

impl Opinion {
    /// A node that begins anew, or finds no answer where it has never had one, says nothing new.
    fn of(reach: &ClusterReach, before: Option<&Self>) -> Self {
        let before = before.copied().unwrap_or(Self::Undecided);
        let was_answered = reach.round_trip_microseconds.is_some() || before != Self::Undecided;
        match reach.health {
            Health::Healthy => Self::Reached,
            Health::Unhealthy if was_answered => Self::NotReached,
            Health::Unhealthy | Health::Unknown => before,
        }
    }

    fn count(self, tally: &mut Tally) -> &mut usize {
        match self {
            Self::NotReached => &mut tally.not_reaching,
            Self::Reached => &mut tally.reaching,
            Self::Undecided => &mut tally.undecided,
        }
    }
}

#[cfg(test)]
mod tests;
