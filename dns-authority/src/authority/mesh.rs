//! Keeps what the own cluster's store says, as far as names are derived from it.

use std::sync::Arc;

use kvstore::follower::{Change, Record, Update};
use topology::id::ClusterName;
use topology::mesh::{Event, Mesh};
use topology::report::StoreReport;
use tracing::{info, warn};

use crate::geo::Overrides;
use crate::mesh_names;
use crate::zone::Zone;

/// Those whose keys begin with the own cluster's name.
const OWN_PREFIXES: [&str; 2] = ["causeway/state/services/v1/", "causeway/synced/"];

/// The nodes of all clusters, which say where their pods are.
const NODE_PREFIXES: [&str; 2] = ["cilium/state/nodes/v1/", "cilium/cache/nodes/v1/"];

/// All that is followed: also what other clusters share of services, whether they live, and the signs that
/// all of it was written.
pub(super) const PREFIXES: [&str; 8] = [
    OWN_PREFIXES[0],
    OWN_PREFIXES[1],
    NODE_PREFIXES[0],
    NODE_PREFIXES[1],
    "causeway/state/peers/v1/",
    "cilium/cluster-config/",
    "cilium/cache/services/v1/",
    "cilium/synced/",
];

/// The own cluster's services, and the state of the link to its store.
#[derive(Debug)]
pub(super) struct Names {
    /// Nobody tells the authority its cluster's name: the first record does.
    mesh: Option<Mesh>,
    /// The names that follow from it.
    zone: Option<Arc<Zone>>,
    /// Where its nodes and pods are, as it was told last.
    places: Overrides,
    /// Whether something was heard since.
    is_news: bool,
    link: StoreReport,
    serial: u32,
}

impl Names {
    pub(super) fn new(now_unix_milliseconds: u64) -> Self {
        let link = StoreReport {
            connected: false,
            since: now_unix_milliseconds,
            reason: "not connected yet".to_owned(),
        };
        Self {
            mesh: None,
            zone: None,
            places: Overrides::default(),
            is_news: false,
            link,
            serial: 0,
        }
    }

    pub(super) fn link(&self) -> &StoreReport {
        &self.link
    }

    /// Takes in what the follower says; returns whether names may have changed.
    pub(super) fn handle(&mut self, update: Update, now_unix_milliseconds: u64) -> bool {
        let events = match update {
            Update::Connected { .. } => {
                info!("the mesh's store answers");
                self.link = StoreReport {
                    connected: true,
                    since: now_unix_milliseconds,
                    reason: String::new(),
                };
                return false;
            }
            Update::Lost { reason, .. } => {
                warn!(%reason, "lost the mesh's store; names of services stay as they are");
                self.link = StoreReport {
                    connected: false,
                    since: now_unix_milliseconds,
                    reason,
                };
                return false;
            }
            Update::Listed(records) => {
                let entries = records.into_iter().map(|it| (it.key, it.value)).collect();
                vec![Event::Listed(entries)]
            }
            // Only a follower that is asked to tells parts of lists.
            Update::Page(_) => return false,
            Update::Changed(changes) => changes.into_iter().map(event).collect(),
        };
        let are_names_concerned = events.iter().any(concerns_names);
        for event in events {
            self.apply(event);
        }
        self.is_news = true;
        if !are_names_concerned {
            return false;
        }
        // A store that is being filled lacks services whose absence must not be told and cached.
        let is_whole = self.mesh.as_ref().is_some_and(Mesh::is_own_synced);
        if !is_whole && self.zone.is_none() {
            return false;
        }
        self.serial = self.serial.wrapping_add(1);
        self.zone = self
            .mesh
            .as_ref()
            .map(|mesh| Arc::new(mesh_names::zone(mesh, self.serial)));
        true
    }

    /// The zone of the names; `None` before all of them were known once.
    pub(super) fn zone(&self) -> Option<&Arc<Zone>> {
        self.zone.as_ref()
    }

    /// Where the mesh's prefixes are, if that is other than it was told before.
    pub(super) fn take_places(&mut self) -> Option<Overrides> {
        if !std::mem::take(&mut self.is_news) {
            return None;
        }
        let places = Overrides::of_mesh(self.mesh.as_ref()?);
        if places == self.places {
            return None;
        }
        self.places = places.clone();
        Some(places)
    }

    fn apply(&mut self, event: Event) {
        if self.mesh.is_none() {
            self.mesh = own_cluster(&event).map(Mesh::new);
        }
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        for rejected in mesh.apply(event) {
            warn!(key = rejected.key, reason = %rejected.reason, "dropped a record of the mesh");
        }
    }
}

/// Whether names follow from what the event tells.
fn concerns_names(event: &Event) -> bool {
    let (Event::Delete { key } | Event::Put { key, .. }) = event else {
        return true;
    };
    !NODE_PREFIXES.iter().any(|it| key.starts_with(it))
}

/// The cluster whose name stands in the event's keys.
fn own_cluster(event: &Event) -> Option<ClusterName> {
    let mut keys: Box<dyn Iterator<Item = &str>> = match event {
        Event::Delete { .. } => return None,
        Event::Listed(entries) => Box::new(entries.iter().map(|(key, _)| key.as_str())),
        Event::Put { key, .. } => Box::new(std::iter::once(key.as_str())),
    };
    keys.find_map(|key| {
        let rest = OWN_PREFIXES
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix))?;
        rest.split('/').next()?.parse().ok()
    })
}

fn event(change: Change) -> Event {
    match change {
        Change::Delete { key, .. } => Event::Delete { key },
        Change::Put(Record { key, value, .. }) => Event::Put { key, value },
    }
}
