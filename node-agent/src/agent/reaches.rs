//! A door: hears what the gateways or relays of the own cluster see of others, on a node that is none.
//!
//! By a follower of its own: an API server of an older version refuses it, which must not cost the node
//! the rest of the store. And nobody follows where it decides nothing.

use std::collections::BTreeSet;
use std::future::pending;

use kvstore::follower::{Change, Follower, Options, Record as Stored, Update};
use kvstore::store::Store;
use tokio::sync::mpsc;
use topology::id::{ClusterName, NodeName};
use topology::mesh::{Event, Mesh};
use topology::record::{AGENT_NODES_MAX, AGENT_RECORD_BYTES_MAX, AGENTS, Key, Record};
use topology::report::Problem;

use super::Agent;
use crate::desired::Desired;

/// Updates on their way; more wait in the store.
const UPDATES_MAX: usize = 4;

/// What is heard of the own cluster's gateways or relays, if anything has to be.
pub(super) struct Reaches {
    store: Store,
    /// Where the own cluster's nodes say it.
    all: String,
    /// Which of them are heard, by the beginnings of their keys.
    prefixes: BTreeSet<String>,
    updates: Option<mpsc::Receiver<Update>>,
    /// Why nothing is heard now.
    silence: Option<String>,
}

impl Reaches {
    /// Hears nothing yet.
    pub(super) fn new(store: Store, cluster: &ClusterName) -> Self {
        Self {
            store,
            all: format!("{AGENTS}reach/v1/{cluster}/"),
            prefixes: BTreeSet::new(),
            updates: None,
            silence: None,
        }
    }

    /// Returns the next thing that is heard, if ever.
    pub(super) async fn next(&mut self) -> Update {
        // A follower lives as long as somebody listens.
        let heard = match &mut self.updates {
            Some(updates) => updates.recv().await,
            None => None,
        };
        match heard {
            Some(update) => update,
            None => pending().await,
        }
    }

    /// The records that matter to a node with such tunnels.
    fn wanted(&self, desired: &Desired) -> BTreeSet<String> {
        if desired.is_behind_gateways {
            return BTreeSet::from([self.all.clone()]);
        }
        // Every node says something there; only relays matter.
        let relays = desired.own_relays.iter();
        relays.map(|it| format!("{}{it}", self.all)).collect()
    }

    fn begin(&mut self, prefixes: BTreeSet<String>) {
        let wanted = prefixes.iter().cloned().collect();
        let follower = Follower::new(self.store.clone(), wanted, Options::default());
        self.prefixes = prefixes;
        let (sender, updates) = mpsc::channel(UPDATES_MAX);
        tokio::spawn(follower.run(sender));
        self.updates = Some(updates);
    }

    fn end(&mut self) {
        self.prefixes.clear();
        self.updates = None;
        self.silence = None;
    }
}

impl Agent {
    /// Listens where gateways carry what this node sends to other clusters, or relays may, and nowhere
    /// else.
    pub(super) fn follow_reaches(&mut self) {
        let wanted = self.reaches.wanted(&self.desired);
        if wanted == self.reaches.prefixes {
            return;
        }
        self.reaches.end();
        if wanted.is_empty() {
            self.believe(forgotten(&self.mesh, &BTreeSet::new()));
        } else {
            // What was heard before is forgotten with the first list that lacks it.
            self.reaches.begin(wanted);
        }
    }

    /// Takes in what was heard. Returns whether the kernel may have to follow.
    pub(super) fn hear(&mut self, update: Update) -> bool {
        match &update {
            Update::Connected { .. } => self.reaches.silence = None,
            Update::Lost { reason, .. } => self.reaches.silence = Some(reason.clone()),
            Update::Listed(_) | Update::Page(_) | Update::Changed(_) => (),
        }
        let events = events(&self.mesh, update);
        let is_news = !events.is_empty();
        self.believe(events);
        is_news
    }

    fn believe(&mut self, events: Vec<Event>) {
        self.underived |= !events.is_empty();
        events.into_iter().for_each(|it| self.take(it));
    }

    pub(super) fn reach_problem(&self) -> Option<Problem> {
        // Without the store nothing can be heard anyway, and that is said already.
        let silence = self.reaches.silence.as_ref();
        silence.filter(|_| self.store.connected).map(|reason| Problem {
            what: format!("the store does not tell what this cluster's gateways or relays see of other clusters: {reason}"),
            remedy: "run a clustermesh-apiserver of the same version, or let the agent's user read below causeway/agents/; until then this node leaves one only when that one itself does not answer".to_owned(),
        })
    }
}

/// What the mesh has heard, as the store has it: a list of all other records takes nothing of it away.
pub(super) fn heard(mesh: &Mesh) -> Vec<(String, Vec<u8>)> {
    let reaches = mesh.reaches().iter();
    reaches
        .map(|(node, reach)| (key(mesh, node), Record::Reach(reach.clone()).encode()))
        .collect()
}

/// What brings the mesh to what an update says.
fn events(mesh: &Mesh, update: Update) -> Vec<Event> {
    match update {
        Update::Connected { .. } | Update::Lost { .. } => Vec::new(),
        // Only a follower that is asked to tells parts of lists.
        Update::Page(_) => Vec::new(),
        Update::Listed(records) => {
            let named = records.iter().map(|it| it.key.clone()).collect();
            let mut events = forgotten(mesh, &named);
            let left = mesh.reaches().len() - events.len();
            let known = |it: &Stored| knows(mesh, &it.key);
            let (known, new): (Vec<_>, Vec<_>) = records.into_iter().partition(known);
            let room = AGENT_NODES_MAX.saturating_sub(left);
            let records = known.into_iter().chain(new.into_iter().take(room));
            events.extend(records.filter_map(put));
            events
        }
        Update::Changed(changes) => {
            let mut room = AGENT_NODES_MAX.saturating_sub(mesh.reaches().len());
            let mut events = Vec::new();
            for change in changes {
                match change {
                    Change::Delete { key, .. } => events.push(Event::Delete { key }),
                    Change::Put(record) if knows(mesh, &record.key) => events.extend(put(record)),
                    Change::Put(record) if 0 < room => {
                        room -= 1;
                        events.extend(put(record));
                    }
                    Change::Put(_) => (),
                }
            }
            events
        }
    }
}

/// Takes back what the mesh has heard and is not named.
fn forgotten(mesh: &Mesh, named: &BTreeSet<String>) -> Vec<Event> {
    let keys = mesh.reaches().keys().map(|it| key(mesh, it));
    keys.filter(|it| !named.contains(it))
        .map(|key| Event::Delete { key })
        .collect()
}

fn knows(mesh: &Mesh, text: &str) -> bool {
    match Key::parse(text, mesh.own()) {
        Ok(Some(Key::Reach(_, node))) => mesh.reaches().contains_key(&node),
        Ok(_) | Err(_) => false,
    }
}

fn put(record: Stored) -> Option<Event> {
    let is_small = record.value.len() <= AGENT_RECORD_BYTES_MAX;
    is_small.then_some(Event::Put {
        key: record.key,
        value: record.value,
    })
}

fn key(mesh: &Mesh, node: &NodeName) -> String {
    Key::Reach(mesh.own().clone(), node.clone()).published()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_what_is_listed_and_nothing_else() {
        let mut mesh = mesh_that_heard(&["node-2", "node-3"]);

        let update = Update::Listed(vec![stored("node-3", b"{}"), stored("node-4", b"{}")]);
        take(&mut mesh, update);

        assert_eq!(known(&mesh), ["node-3", "node-4"]);
        let update = Update::Changed(vec![
            Change::Put(stored("node-5", b"{}")),
            Change::Delete {
                key: stored("node-3", b"").key,
                mod_revision: 0,
            },
        ]);
        take(&mut mesh, update);
        assert_eq!(known(&mesh), ["node-4", "node-5"]);
        let reason = "gone".to_owned();
        let silent = true;
        take(&mut mesh, Update::Lost { reason, silent });
        assert_eq!(known(&mesh), ["node-4", "node-5"], "it stays in force");
    }

    #[test]
    fn keeps_it_through_lists_of_everything_else() {
        let mut mesh = mesh_that_heard(&["node-2"]);
        let before = mesh.reaches().clone();
        let synced = ("causeway/synced/eu".to_owned(), b"now".to_vec());

        let mut entries = vec![synced.clone()];
        entries.extend(heard(&mesh));
        let rejected = mesh.apply(Event::Listed(entries));

        assert!(rejected.is_empty(), "{rejected:?}");
        assert_eq!(*mesh.reaches(), before);
        mesh.apply(Event::Listed(vec![synced]));
        assert!(mesh.reaches().is_empty(), "such a list takes it away else");
    }

    #[test]
    fn hears_so_many_nodes_and_records_of_so_many_bytes() {
        let mut mesh = mesh_that_heard(&["node-1"]);
        let many = || (0..=AGENT_NODES_MAX).map(|it| stored(&format!("node-{it}"), b"{}"));

        take(&mut mesh, Update::Listed(many().collect()));
        assert_eq!(mesh.reaches().len(), AGENT_NODES_MAX);
        take(
            &mut mesh,
            Update::Changed(many().map(Change::Put).collect()),
        );
        assert_eq!(mesh.reaches().len(), AGENT_NODES_MAX);

        take(&mut mesh, Update::Listed(Vec::new()));
        let large = vec![b' '; AGENT_RECORD_BYTES_MAX + 1];
        let large = stored("node-1", &large);
        assert_eq!(events(&mesh, Update::Listed(vec![large])), []);
    }

    fn mesh_that_heard(nodes: &[&str]) -> Mesh {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        let unhealthy =
            br#"{"clusters":{"us":{"health":"unhealthy","sinceUnixMilliseconds":7,"lossPerMille":9}}}"#;
        let records = nodes.iter().map(|it| stored(it, unhealthy));
        take(&mut mesh, Update::Listed(records.collect()));
        mesh
    }

    #[track_caller]
    fn take(mesh: &mut Mesh, update: Update) {
        for event in events(mesh, update) {
            let rejected = mesh.apply(event);
            assert!(rejected.is_empty(), "{rejected:?}");
        }
    }

    fn stored(node: &str, value: &[u8]) -> Stored {
        let value = if value == b"{}" {
            br#"{"clusters":{}}"#
        } else {
            value
        };
        Stored {
            key: format!("causeway/agents/reach/v1/eu/{node}"),
            value: value.to_vec(),
            mod_revision: 0,
        }
    }

    fn known(mesh: &Mesh) -> Vec<String> {
        mesh.reaches().keys().map(ToString::to_string).collect()
    }
}
