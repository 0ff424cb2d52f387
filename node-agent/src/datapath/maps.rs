//! A door: reads and writes the datapath's maps, one typed table each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap as Hash, HashOfMaps, Map, MapData, MapError, PerCpuArray};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use datapath_abi::{
    Backend, BackendId, Counter, Direction, MaglevBytes, PrefixKey, PrefixValue, Reason,
    ServiceKey, counter_index, maglev_from_bytes, maglev_to_bytes,
};

use super::bpf;
use crate::tables::{self, Tables, Write};

type Maglev = Array<MapData, MaglevBytes>;

/// The maps of an attached datapath.
pub struct Maps {
    services: HashOfMaps<MapData, [u8; 8], Maglev>,
    /// The same map, for what the loader library cannot do.
    services_descriptor: OwnedFd,
    backends: Hash<MapData, [u8; 4], [u8; 12]>,
    prefixes: LpmTrie<MapData, [u8; 4], [u8; 4]>,
    prefixes_v6: LpmTrie<MapData, [u8; 16], [u8; 4]>,
    counters: PerCpuArray<MapData, [u8; 16]>,
}

/// Verdicts since the maps were made, over all CPUs.
pub type Counters = BTreeMap<(Direction, Reason), Counter>;

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf, pins: &Path) -> anyhow::Result<Self> {
        let mut take = |name: &str| -> anyhow::Result<Map> {
            ebpf.take_map(name)
                .with_context(|| format!("the embedded object lacks the map {name}"))
        };
        Ok(Self {
            services: take("services")?.try_into()?,
            services_descriptor: bpf::open(&pins.join("services"))
                .context("cannot open the map services")?,
            backends: take("backends")?.try_into()?,
            prefixes: take("peered_prefixes")?.try_into()?,
            prefixes_v6: take("peered_v6")?.try_into()?,
            counters: take("counters")?.try_into()?,
        })
    }

    /// Reads everything but the counters.
    pub fn read(&self) -> anyhow::Result<Tables> {
        let backends = self.read_backends()?;
        Ok(Tables {
            services: self.read_services(&backends)?,
            prefixes: self.read_prefixes()?,
            backends,
        })
    }

    /// Makes one write. `backends` are those that the tables name.
    pub fn write(
        &mut self,
        write: &Write,
        backends: &BTreeMap<BackendId, Backend>,
    ) -> anyhow::Result<()> {
        match write {
            Write::DeleteBackend(id) => self.delete_backend(*id),
            Write::DeletePrefix(prefix) => self.delete_prefix(*prefix),
            Write::DeleteService(key) => self.delete_service(*key),
            Write::PutBackend(id, backend) => self.put_backend(*id, *backend),
            Write::PutPrefix(prefix, cluster) => self.put_prefix(*prefix, *cluster),
            Write::PutService(key, ids) => self.put_service(*key, &tables::slots(ids, backends)),
        }
    }

    /// Makes writes that may be joined, see [`Write::joins`], for the price of one. After an error
    /// some may have been made.
    pub fn write_together(
        &mut self,
        writes: &[Write],
        backends: &BTreeMap<BackendId, Backend>,
    ) -> io::Result<()> {
        let mut puts = Vec::new();
        let mut deletes = Vec::new();
        for write in writes {
            if let Write::PutService(key, ids) = write {
                let table = maglev_to_bytes(&tables::slots(ids, backends));
                puts.push((key.to_bytes(), bpf::create_array_of_one(&*table)?));
            } else if let Write::DeleteService(key) = write {
                deletes.push(key.to_bytes());
            } else {
                return Err(io::ErrorKind::Unsupported.into());
            }
        }
        if !puts.is_empty() {
            bpf::update_batch(self.services_descriptor.as_fd(), &puts)?;
        }
        if !deletes.is_empty() {
            bpf::delete_batch(self.services_descriptor.as_fd(), &deletes)?;
        }
        Ok(())
    }

    /// Replaces a service's table in one step: connections see the old one or the new one.
    pub fn put_service(&mut self, key: ServiceKey, slots: &[BackendId]) -> anyhow::Result<()> {
        let create = || -> Result<Maglev, MapError> {
            let mut table = Maglev::create(1, 0)?;
            table.set(0, *maglev_to_bytes(slots), 0)?;
            Ok(table)
        };
        create()
            .and_then(|table| self.services.insert(key.to_bytes(), &table, 0))
            .with_context(|| format!("cannot write the service {}", key.address()))
    }

    pub fn delete_service(&mut self, key: ServiceKey) -> anyhow::Result<()> {
        ignore_absence(self.services.remove(&key.to_bytes()))
            .with_context(|| format!("cannot delete the service {}", key.address()))
    }

    /// The slots of one service's table, or `None` if the datapath does not know the service.
    pub fn service(&self, key: ServiceKey) -> anyhow::Result<Option<Vec<BackendId>>> {
        match self.services.get(&key.to_bytes(), 0) {
            Ok(table) => Ok(Some(maglev_from_bytes(&table.get(&0, 0)?))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(anyhow!(error).context("cannot read a service")),
        }
    }

    pub fn put_backend(&mut self, id: BackendId, backend: Backend) -> anyhow::Result<()> {
        self.backends
            .insert(id.0.to_ne_bytes(), backend.to_bytes(), 0)
            .with_context(|| format!("cannot write the backend {}", backend.address()))
    }

    pub fn delete_backend(&mut self, id: BackendId) -> anyhow::Result<()> {
        ignore_absence(self.backends.remove(&id.0.to_ne_bytes()))
            .with_context(|| format!("cannot delete backend {}", id.0))
    }

    pub fn put_prefix(&mut self, prefix: IpNet, cluster: u32) -> anyhow::Result<()> {
        let value = PrefixValue::new(cluster).to_bytes();
        let put = match prefix {
            IpNet::V4(it) => self.prefixes.insert(&prefix_key(it), value, 0),
            IpNet::V6(it) => self.prefixes_v6.insert(&prefix_key_v6(it), value, 0),
        };
        put.with_context(|| format!("cannot write the peered prefix {prefix}"))
    }

    pub fn delete_prefix(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        let deleted = match prefix {
            IpNet::V4(it) => self.prefixes.remove(&prefix_key(it)),
            IpNet::V6(it) => self.prefixes_v6.remove(&prefix_key_v6(it)),
        };
        ignore_absence(deleted).with_context(|| format!("cannot delete the peered prefix {prefix}"))
    }

    /// Sums each verdict over all CPUs.
    pub fn counters(&self) -> anyhow::Result<Counters> {
        let mut counters = Counters::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let values = self
                    .counters
                    .get(&counter_index(direction, reason), 0)
                    .context("cannot read the counters")?;
                let sum = values.iter().map(|it| Counter::from_bytes(*it)).fold(
                    Counter::default(),
                    |sum, it| Counter {
                        packets: sum.packets.wrapping_add(it.packets),
                        bytes: sum.bytes.wrapping_add(it.bytes),
                    },
                );
                counters.insert((direction, reason), sum);
            }
        }
        Ok(counters)
    }

    fn read_services(
        &self,
        backends: &BTreeMap<BackendId, Backend>,
    ) -> anyhow::Result<BTreeMap<ServiceKey, BTreeSet<BackendId>>> {
        // Keys first: a map that changes while it is walked may repeat some.
        let keys: BTreeSet<ServiceKey> = self
            .services
            .keys()
            .map(|key| Ok(ServiceKey::from_bytes(key?)))
            .collect::<Result<_, MapError>>()
            .context("cannot read the services")?;
        let mut services = BTreeMap::new();
        for key in keys {
            if let Some(slots) = self.service(key)? {
                services.insert(key, tables::recognize(&slots, backends));
            }
        }
        Ok(services)
    }

    fn read_backends(&self) -> anyhow::Result<BTreeMap<BackendId, Backend>> {
        self.backends
            .iter()
            .map(|entry| {
                let (id, backend) = entry?;
                Ok((
                    BackendId(u32::from_ne_bytes(id)),
                    Backend::from_bytes(backend),
                ))
            })
            .collect::<Result<_, MapError>>()
            .context("cannot read the backends")
    }

    fn read_prefixes(&self) -> anyhow::Result<BTreeMap<IpNet, u32>> {
        let v4 = self.prefixes.iter().map(|entry| {
            let (key, value) = entry?;
            let address = Ipv4Addr::from(key.data());
            let prefix = Ipv4Net::new(address, length_bits(key.prefix_len()))?;
            Ok((prefix.into(), PrefixValue::from_bytes(value).cluster()))
        });
        let v6 = self.prefixes_v6.iter().map(|entry| {
            let (key, value) = entry?;
            let address = Ipv6Addr::from(key.data());
            let prefix = Ipv6Net::new(address, length_bits(key.prefix_len()))?;
            Ok((prefix.into(), PrefixValue::from_bytes(value).cluster()))
        });
        v4.chain(v6)
            .collect::<anyhow::Result<_>>()
            .context("cannot read the peered prefixes")
    }
}

/// What is too long for any prefix is refused as one.
fn length_bits(length: u32) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn prefix_key_v6(prefix: Ipv6Net) -> Key<[u8; 16]> {
    Key::new(prefix.prefix_len().into(), prefix.network().octets())
}

fn prefix_key(prefix: Ipv4Net) -> Key<[u8; 4]> {
    let key = PrefixKey::new(prefix.network(), prefix.prefix_len());
    Key::new(key.length_bits(), key.data())
}

/// Deleting what is not there leaves what was wanted.
fn ignore_absence(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        result => result,
    }
}
