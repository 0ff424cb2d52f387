//! Decides whether what a mesh shows is right, after every write and every decision.

use std::collections::{BTreeMap, BTreeSet};

use clustermesh_apiserver::model::Part;
use topology::id::ClusterName;
use topology::record::{Key, Kind, Record};

use crate::Millis;
use crate::shown::{Shown, Table};
use crate::site::name;

/// What is wrong.
pub(crate) type Fault = String;

/// A service's backend under one id of its cluster.
type Backend = (String, String, u32);

#[derive(Debug)]
pub(crate) struct Check {
    clusters: usize,
    /// Everything that each cluster ever published, as a mirror would show it.
    published: Vec<BTreeSet<(String, Vec<u8>)>>,
    /// For each cluster and each that it mirrors, the ids in the records that it wants to show.
    ids: BTreeMap<(usize, String), BTreeMap<String, u32>>,
    /// The id that each cluster gave last; records under another are to be drained.
    numbers: BTreeMap<usize, u32>,
    /// What readers of each store know of each cluster; of its own, what it publishes.
    views: BTreeMap<(usize, usize), View>,
    /// Pairs of which the first need not show the second: it was told to forget it, and if it is told
    /// otherwise by now, it has yet to read it again.
    parted: BTreeMap<(usize, usize), bool>,
    /// Since when what a mirror takes in was published at the earliest: what it shows later was
    /// published then or later.
    believed: BTreeMap<(usize, usize), Millis>,
    /// When a cluster's publication lacked a backend for the last time, as far as it ever had it.
    lacked: BTreeMap<(usize, Backend), Millis>,
}

/// What an agent believes that reads one tree of a store: it drops what a new store lacks only when the
/// canary says that all is there.
#[derive(Debug, Default)]
struct View {
    life: u64,
    /// Each with a time from which on its cluster must have offered it.
    backends: BTreeMap<Backend, Millis>,
}

impl Check {
    pub(crate) fn new(clusters: usize) -> Self {
        Self {
            clusters,
            published: vec![BTreeSet::new(); clusters],
            ids: BTreeMap::new(),
            numbers: BTreeMap::new(),
            views: BTreeMap::new(),
            parted: BTreeMap::new(),
            believed: BTreeMap::new(),
            lacked: BTreeMap::new(),
        }
    }

    /// Readers of a store are no longer expected to see what they saw: its leases ended.
    pub(crate) fn forgive(&mut self, reader: usize) {
        for source in (0..self.clusters).filter(|it| *it != reader) {
            self.views.remove(&(reader, source));
        }
    }

    /// Whether the reader is configured to mirror that cluster: only then must it show it.
    pub(crate) fn peered(&mut self, reader: usize, source: usize, is_peered: bool) {
        if !is_peered {
            self.parted.insert((reader, source), false);
            self.views.remove(&(reader, source));
        } else if let Some(is_back) = self.parted.get_mut(&(reader, source)) {
            *is_back = true;
        }
    }

    /// The reader's API server has taken in all services that the cluster published until `at`.
    pub(crate) fn believed(&mut self, reader: usize, source: usize, at: Millis) {
        let since = self.believed.entry((reader, source)).or_insert(at);
        *since = at.max(*since);
    }

    /// The reader's store shows all that the cluster publishes.
    pub(crate) fn mirrored(&mut self, reader: usize, source: usize) {
        if self.parted.get(&(reader, source)) == Some(&true) {
            self.parted.remove(&(reader, source));
        }
    }

    /// Looks at a store after each revision.
    ///
    /// # Errors
    ///
    /// If its readers lose a backend that its cluster has offered all the time.
    pub(crate) fn observe(
        &mut self,
        index: usize,
        store: &Shown,
        now: Millis,
    ) -> Result<(), Fault> {
        let own: ClusterName = name(index).parse().expect("a name");
        for (key, value) in store.table("cilium/state/") {
            if let Ok(Some(parsed)) = Key::parse(&key, &own) {
                self.published[index].insert((parsed.mirrored(), value));
            }
        }
        let config = store.table(&Key::ClusterConfig(own.clone()).published());
        for value in config.values() {
            let record = Record::decode(&Key::ClusterConfig(own.clone()), value, None);
            if let Ok(Record::ClusterConfig(config)) = record {
                self.numbers.insert(index, config.id.get());
            }
        }
        for source in 0..self.clusters {
            if self.parted.contains_key(&(index, source)) {
                continue;
            }
            let vanished = self.look(index, source, store);
            if source == index {
                let vanished = vanished.into_iter().map(|it| ((index, it.0), now));
                self.lacked.extend(vanished);
                self.note_lacking(index, now);
                continue;
            }
            for (backend, since) in vanished {
                let own = self.views.get(&(source, source));
                let is_renumbered = self.numbers.get(&source) != Some(&backend.2);
                let lacks =
                    is_renumbered || own.is_none_or(|it| !it.backends.contains_key(&backend));
                let lacked = self.lacked.get(&(source, backend.clone())).copied();
                if !lacks && lacked.is_none_or(|it| it < since) {
                    return Err(format!(
                        "c{index} dropped {backend:?} of c{source}, which c{source} \
                         publishes, and has published since {since} all the time"
                    ));
                }
            }
        }
        Ok(())
    }

    /// All of a part is given anew.
    pub(crate) fn desired_anew(&mut self, reader: usize, part: &Part) {
        if let Part::Remote(source) = part {
            self.ids.remove(&(reader, source.to_string()));
        }
    }

    /// A record that a mirror is about to show.
    ///
    /// # Errors
    ///
    /// If its source never published it, or if it stands beside one under another id.
    pub(crate) fn desired_put(
        &mut self,
        reader: usize,
        part: &Part,
        key: &str,
        value: &[u8],
    ) -> Result<(), Fault> {
        let Part::Remote(source) = part else {
            return Ok(());
        };
        let Some(kind) = key.strip_prefix("cilium/cache/") else {
            return Ok(());
        };
        let index = number(source.as_str());
        let pair = (key.to_owned(), value.to_owned());
        if !self.published[index].contains(&pair) {
            let value = String::from_utf8_lossy(value);
            return Err(format!(
                "c{reader} shows what {source} never published: {key} {value}"
            ));
        }
        if !kind.starts_with("services/") {
            return Ok(());
        }
        let parsed = Key::parse(key, source).ok().flatten();
        let record = parsed.and_then(|it| Record::decode(&it, value, None).ok());
        let Some(Record::Service(service)) = record else {
            return Err(format!("{key} is no service"));
        };
        let ids = self.ids.entry((reader, source.to_string())).or_default();
        ids.insert(key.to_owned(), service.cluster_id.get());
        let distinct: BTreeSet<&u32> = ids.values().collect();
        if 1 < distinct.len() {
            return Err(format!(
                "c{reader} shows {source} under the ids {distinct:?} at once"
            ));
        }
        Ok(())
    }

    pub(crate) fn desired_delete(&mut self, reader: usize, part: &Part, key: &str) {
        if let Part::Remote(source) = part
            && let Some(ids) = self.ids.get_mut(&(reader, source.to_string()))
        {
            ids.remove(key);
        }
    }

    /// Updates a view, and returns what it lost.
    fn look(&mut self, reader: usize, source: usize, store: &Shown) -> Vec<(Backend, Millis)> {
        let tree = if reader == source { "state" } else { "cache" };
        let source_name = name(source);
        let canary = format!("cilium/synced/{source_name}/cilium/{tree}/services/v1");
        let services = store.table(&format!("cilium/{tree}/services/v1/{source_name}/"));
        let seen = backends(&services);
        let named = services.keys().filter_map(|it| it.rsplit('/').next());
        let named: BTreeSet<&str> = named.collect();
        let view = self.views.entry((reader, source)).or_insert_with(|| View {
            life: store.life,
            ..View::default()
        });
        // A new store takes away what it says otherwise, and what its canary vouches for.
        let is_vouched = view.life == store.life || store.has(&canary);
        if is_vouched {
            view.life = store.life;
        }
        let mut vanished = Vec::new();
        view.backends.retain(|backend, since| {
            let is_told = is_vouched || named.contains(backend.0.as_str());
            let stays = seen.contains(backend) || !is_told;
            if !stays {
                vanished.push((backend.clone(), *since));
            }
            stays
        });
        let since = self.believed.get(&(reader, source)).copied().unwrap_or(0);
        for backend in seen {
            view.backends.entry(backend).or_insert(since);
        }
        vanished
    }

    /// Notes which backends the cluster's own publication lacks now.
    fn note_lacking(&mut self, index: usize, now: Millis) {
        let Some(view) = self.views.get(&(index, index)) else {
            return;
        };
        let known = self
            .views
            .iter()
            .filter(|((_, source), _)| *source == index);
        let known: BTreeSet<&Backend> = known.flat_map(|(_, it)| it.backends.keys()).collect();
        for backend in known {
            if !view.backends.contains_key(backend) {
                self.lacked.insert((index, backend.clone()), now);
            }
        }
    }
}

/// Whether `mirror` shows exactly what `source` publishes.
pub(crate) fn compare(source: usize, published: &Shown, mirror: &Shown) -> Result<(), Fault> {
    let name = name(source);
    let owner: ClusterName = name.parse().expect("a name");
    let mut expected = Table::new();
    for (key, value) in published.table("cilium/state/") {
        if let Ok(Some(parsed)) = Key::parse(&key, &owner) {
            expected.insert(parsed.mirrored(), value);
        }
    }
    let mut shown = Table::new();
    for kind in Kind::ALL {
        shown.extend(mirror.table(&format!("cilium/cache/{}/v1/{name}/", kind.as_str())));
        let canary = format!("cilium/synced/{name}/cilium/cache/{}/v1", kind.as_str());
        if !mirror.has(&canary) {
            return Err(format!("{canary} is missing"));
        }
    }
    if shown == expected {
        return Ok(());
    }
    let missing = expected
        .iter()
        .find(|(key, value)| shown.get(*key) != Some(value));
    let extra = shown.keys().find(|it| !expected.contains_key(*it));
    let missing = missing.map(|it| it.0);
    Err(format!(
        "{name} is not mirrored: missing or old {missing:?}, too much {extra:?}"
    ))
}

/// The backends in a table of services.
pub(crate) fn backends(services: &Table) -> BTreeSet<Backend> {
    let mut backends = BTreeSet::new();
    let owner: ClusterName = "any".parse().expect("a name");
    for (key, value) in services {
        let parsed = Key::parse(key, &owner).ok().flatten();
        let record = parsed.and_then(|it| Record::decode(&it, value, None).ok());
        if let Some(Record::Service(service)) = record {
            let id = service.cluster_id.get();
            let addresses = service.backends.keys();
            backends.extend(addresses.map(|it| (service.name.clone(), it.to_string(), id)));
        }
    }
    backends
}

/// The opposite of [`name`].
fn number(name: &str) -> usize {
    name[1..].parse().expect("a letter and a number")
}
