//! Decides which writes bring the datapath's maps to what the mesh asks for, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use topology::diff::{Change, diff};
use topology::maglev;

use datapath_abi::{Backend, BackendId, MAGLEV_TABLE_SIZE, ServiceKey};

/// What the maps hold, or should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// The backends that share a service. One that holds [`BackendId::NONE`] is damaged: its slots
    /// are not what its backends give.
    pub services: BTreeMap<ServiceKey, BTreeSet<BackendId>>,
    pub backends: BTreeMap<BackendId, Backend>,
    /// Prefixes of peered clusters, with the cluster's id.
    pub prefixes: BTreeMap<IpNet, u32>,
}

/// One write to a map.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    DeleteBackend(BackendId),
    DeletePrefix(IpNet),
    DeleteService(ServiceKey),
    PutBackend(BackendId, Backend),
    PutPrefix(IpNet, u32),
    PutService(ServiceKey, BTreeSet<BackendId>),
}

impl Tables {
    /// Takes in what was written.
    pub fn apply(&mut self, write: Write) {
        match write {
            Write::DeleteBackend(id) => drop(self.backends.remove(&id)),
            Write::DeletePrefix(prefix) => drop(self.prefixes.remove(&prefix)),
            Write::DeleteService(key) => drop(self.services.remove(&key)),
            Write::PutBackend(id, backend) => drop(self.backends.insert(id, backend)),
            Write::PutPrefix(prefix, cluster) => drop(self.prefixes.insert(prefix, cluster)),
            Write::PutService(key, ids) => drop(self.services.insert(key, ids)),
        }
    }
}

impl Write {
    /// Whether two neighbours can be one call: each write to a service waits for the connections
    /// that still read the old table, and a batch waits once.
    pub fn joins(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::PutService(..), Self::PutService(..))
                | (Self::DeleteService(_), Self::DeleteService(_))
        )
    }
}

/// Whether a write takes away or replaces something of an earlier agent, whose services `inherited`
/// names.
pub fn takes_away(write: &Write, inherited: &BTreeSet<ServiceKey>) -> bool {
    match write {
        Write::DeleteBackend(_) | Write::DeletePrefix(_) | Write::DeleteService(_) => true,
        Write::PutBackend(..) | Write::PutPrefix(..) => false,
        Write::PutService(key, _) => inherited.contains(key),
    }
}

/// Lists the writes that make `actual` serve `services`: backends before the tables that name
/// them, and the reverse when they go.
///
/// A backend that stays keeps its id, and the id of one that goes is not given away in the same
/// batch, so no table ever points at the wrong backend.
pub fn plan_services(
    actual: &Tables,
    services: &BTreeMap<ServiceKey, BTreeSet<Backend>>,
) -> Vec<Write> {
    let wanted: BTreeSet<Backend> = services.values().flatten().copied().collect();
    let backends = assign(&actual.backends, &wanted);
    let ids: BTreeMap<Backend, BackendId> = backends.iter().map(|(id, it)| (*it, *id)).collect();
    let services: BTreeMap<ServiceKey, BTreeSet<BackendId>> = services
        .iter()
        .map(|(key, backends)| (*key, backends.iter().map(|it| ids[it]).collect()))
        .collect();

    let (backend_puts, backend_deletes) = split(
        diff(&actual.backends, &backends),
        Write::PutBackend,
        Write::DeleteBackend,
    );
    let (service_puts, service_deletes) = split(
        diff(&actual.services, &services),
        Write::PutService,
        Write::DeleteService,
    );
    [backend_puts, service_puts, service_deletes, backend_deletes].concat()
}

/// Lists the writes for `prefixes`: those that protect more, and those that protect less.
pub fn plan_prefixes(actual: &Tables, prefixes: &BTreeMap<IpNet, u32>) -> (Vec<Write>, Vec<Write>) {
    split(
        diff(&actual.prefixes, prefixes),
        Write::PutPrefix,
        Write::DeletePrefix,
    )
}

/// The slots of a service's table. The same backends give the same table on every node.
pub fn slots(ids: &BTreeSet<BackendId>, backends: &BTreeMap<BackendId, Backend>) -> Vec<BackendId> {
    let named: Vec<(BackendId, String)> = ids
        .iter()
        .filter_map(|id| Some((*id, backends.get(id)?.address().to_string())))
        .collect();
    let candidates: Vec<(&[u8], u32)> = named
        .iter()
        .map(|(_, name)| (name.as_bytes(), EQUAL_WEIGHT))
        .collect();
    maglev::table(&candidates, MAGLEV_TABLE_SIZE)
        .into_iter()
        .map(|index| named[index as usize].0)
        .collect()
}

const EQUAL_WEIGHT: u32 = 1;

/// The backends of a table that was read back; see [`Tables::services`] for a damaged one.
pub fn recognize(
    slots: &[BackendId],
    backends: &BTreeMap<BackendId, Backend>,
) -> BTreeSet<BackendId> {
    let mut ids: BTreeSet<BackendId> = slots.iter().copied().collect();
    if ids == BTreeSet::from([BackendId::NONE]) {
        return BTreeSet::new();
    }
    if self::slots(&ids, backends) != slots {
        ids.insert(BackendId::NONE);
    }
    ids
}

/// Gives every wanted backend an id: the one it has, or the lowest that nobody has.
fn assign(
    actual: &BTreeMap<BackendId, Backend>,
    wanted: &BTreeSet<Backend>,
) -> BTreeMap<BackendId, Backend> {
    let mut missing = wanted.clone();
    // `remove` is true once for each backend: a second id of the same one is given up.
    let mut assigned: BTreeMap<BackendId, Backend> = actual
        .iter()
        .filter(|(id, backend)| **id != BackendId::NONE && missing.remove(*backend))
        .map(|(id, backend)| (*id, *backend))
        .collect();
    let free = (1..).map(BackendId).filter(|id| !actual.contains_key(id));
    assigned.extend(free.zip(missing));
    assigned
}

fn split<K, V>(
    changes: Vec<Change<K, V>>,
    put: impl Fn(K, V) -> Write,
    delete: impl Fn(K) -> Write,
) -> (Vec<Write>, Vec<Write>) {
    let mut puts = Vec::new();
    let mut deletes = Vec::new();
    for change in changes {
        match change {
            Change::Delete(key) => deletes.push(delete(key)),
            Change::Put(key, value) => puts.push(put(key, value)),
        }
    }
    (puts, deletes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use datapath_abi::TCP;

    use super::*;

    #[test]
    fn writes_backends_before_tables_and_deletes_them_after() {
        let before = BTreeMap::from([(service(1), set([1, 2])), (service(2), set([3]))]);
        let after = BTreeMap::from([(service(1), set([2, 4])), (service(3), set([4]))]);
        let actual = applied(&Tables::default(), &before);

        let writes = plan_services(&actual, &after);

        assert_eq!(
            writes,
            [
                Write::PutBackend(BackendId(4), backend(4)),
                Write::PutService(service(1), ids([2, 4])),
                Write::PutService(service(3), ids([4])),
                Write::DeleteService(service(2)),
                Write::DeleteBackend(BackendId(1)),
                Write::DeleteBackend(BackendId(3)),
            ]
        );
    }

    #[test]
    fn keeps_the_ids_that_an_earlier_agent_gave() {
        let earlier = Tables {
            backends: BTreeMap::from([(BackendId(7), backend(1)), (BackendId(9), backend(1))]),
            ..Tables::default()
        };

        let after = applied(&earlier, &BTreeMap::from([(service(1), set([1, 2]))]));

        let expected = BTreeMap::from([(BackendId(1), backend(2)), (BackendId(7), backend(1))]);
        assert_eq!(after.backends, expected);
    }

    #[test]
    fn serves_a_service_without_backends_by_an_empty_table() {
        let after = applied(&Tables::default(), &BTreeMap::from([(service(1), set([]))]));

        assert_eq!(after.services, BTreeMap::from([(service(1), ids([]))]));
        assert!(slots(&ids([]), &after.backends).is_empty());
    }

    #[test]
    fn recognizes_its_own_tables_and_no_others() {
        let backends = BTreeMap::from([(BackendId(1), backend(1)), (BackendId(2), backend(2))]);
        let mut table = slots(&ids([1, 2]), &backends);
        assert_eq!(recognize(&table, &backends), ids([1, 2]));
        assert_eq!(
            recognize(&[BackendId::NONE; MAGLEV_TABLE_SIZE], &backends),
            ids([])
        );

        table[5] = if table[5] == BackendId(1) {
            BackendId(2)
        } else {
            BackendId(1)
        };
        assert_eq!(recognize(&table, &backends), ids([0, 1, 2]));
    }

    #[test]
    fn knows_what_takes_something_away_from_an_earlier_agent() {
        let inherited = BTreeSet::from([service(1)]);

        for (write, expected) in [
            (Write::PutService(service(1), ids([])), true),
            (Write::PutService(service(2), ids([])), false),
            (Write::PutBackend(BackendId(1), backend(1)), false),
            (Write::DeleteBackend(BackendId(1)), true),
            (Write::DeleteService(service(2)), true),
        ] {
            assert_eq!(takes_away(&write, &inherited), expected, "{write:?}");
        }
    }

    proptest! {
        /// At every step, each table names only backends that are there and that have not changed.
        #[test]
        fn never_points_at_a_wrong_backend(first in services(), second in services()) {
            let mut tables = applied(&Tables::default(), &first);
            for write in plan_services(&tables, &second) {
                let before = tables.clone();
                tables.apply(write);
                for ids in tables.services.values() {
                    for id in ids {
                        let now = tables.backends.get(id);
                        prop_assert!(now.is_some());
                        let changed = before.backends.get(id).is_some_and(|it| Some(it) != now);
                        prop_assert!(!changed);
                    }
                }
            }
            prop_assert_eq!(plan_services(&tables, &second), []);
            let wanted: BTreeSet<Backend> = second.values().flatten().copied().collect();
            prop_assert_eq!(tables.backends.len(), wanted.len());
        }
    }

    fn services() -> impl Strategy<Value = BTreeMap<ServiceKey, BTreeSet<Backend>>> {
        let backends = prop::collection::btree_set((1u8..8).prop_map(backend), 0..5);
        prop::collection::btree_map((1u8..5).prop_map(service), backends, 0..5)
    }

    fn applied(actual: &Tables, services: &BTreeMap<ServiceKey, BTreeSet<Backend>>) -> Tables {
        let mut tables = actual.clone();
        for write in plan_services(actual, services) {
            tables.apply(write);
        }
        tables
    }

    fn service(last: u8) -> ServiceKey {
        ServiceKey::new(format!("10.111.0.{last}:80").parse().unwrap(), TCP)
    }

    fn backend(last: u8) -> Backend {
        Backend::new(format!("10.1.1.{last}:8080").parse().unwrap(), TCP, 1)
    }

    fn set<const N: usize>(lasts: [u8; N]) -> BTreeSet<Backend> {
        lasts.into_iter().map(backend).collect()
    }

    fn ids<const N: usize>(ids: [u32; N]) -> BTreeSet<BackendId> {
        ids.into_iter().map(BackendId).collect()
    }
}
