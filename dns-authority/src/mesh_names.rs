//! Names for the mesh's global services: a zone derived from the records of the own cluster.
//!
//! - `<service>.<namespace>.svc.clusterset.local` has the own cluster's ClusterIPs, which balance over all
//!   clusters. A headless service has the addresses of its endpoints in every cluster that is alive.
//! - `_<port>._<protocol>.` before it is a SRV record for each named port.
//! - `<cluster>.` before it stands for one cluster alone: the own one's ClusterIPs, or its endpoints; the
//!   endpoints of another, whose ClusterIPs lead nowhere from here.
//! - `<hostname>.<cluster>.` before it is an endpoint that has a name, as those of a StatefulSet do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use topology::id::{ClusterName, ServiceName};
use topology::mesh::Mesh;
use topology::record::ClusterService;
use topology::service::{LocalService, Protocol};

use crate::store::{Builder, Value};
use crate::wire::kind;
use crate::wire::name::{Folded, parse};
use crate::zone::Zone;

/// Where the names of the mesh's services are (the Multi-Cluster Services API's domain), as it travels.
pub const ORIGIN: &[u8] = b"\x0aclusterset\x05local\x00";

/// In seconds. Services move rarely, and their ClusterIPs almost never.
const TTL: u32 = 5;

/// The zone of every global service of the mesh. `serial` is the zone's.
pub fn zone(mesh: &Mesh, serial: u32) -> Zone {
    let mut builder = Builder::new(ORIGIN);
    let server = parse("ns.dns", ORIGIN).expect("the origin is short");
    let mailbox = parse("hostmaster", ORIGIN).expect("the origin is short");
    let numbers = [serial, 7200, 1800, 86_400, TTL].map(u32::to_be_bytes);
    let soa = [&server, &mailbox, numbers.as_flattened()].concat();
    builder.push(0, ORIGIN, kind::SOA, TTL, Value::Data(&soa));
    builder.push(0, ORIGIN, kind::NS, TTL, Value::Data(&server));
    let services = mesh.local_services().iter();
    for (name, service) in services.filter(|(_, it)| it.global) {
        let host = format!("{}.{}.svc", name.name(), name.namespace());
        // A name that fits no domain name has none.
        if let Ok(host) = parse(&host, ORIGIN) {
            add(&mut builder, &host, mesh, name, service);
        }
    }
    let origin = Folded::read(ORIGIN).expect("the origin is a name");
    let store = builder.finish().expect("no record contradicts another");
    Zone::new(origin, store, Vec::new()).expect("it has an SOA")
}

/// Adds the names of one service.
fn add(
    builder: &mut Builder,
    host: &[u8],
    mesh: &Mesh,
    name: &ServiceName,
    service: &LocalService,
) {
    let others = remote_parts(mesh, name);
    let is_headless = service.frontends.is_empty();
    let own = match is_headless {
        true => service.backends.keys().copied().collect(),
        false => service.frontends.clone(),
    };
    let mut everywhere = own.clone();
    if is_headless {
        let remote = others.values().flat_map(|it| it.backends.keys());
        everywhere.extend(remote);
    }
    add_addresses(builder, host, &everywhere);
    if let Ok(host) = parse(mesh.own().as_str(), host) {
        add_addresses(builder, &host, &own);
    }
    for (cluster, part) in others {
        if let Ok(host) = parse(cluster.as_str(), host) {
            add_addresses(builder, &host, &part.backends.keys().copied().collect());
            for (address, hostname) in &part.hostnames {
                if let Ok(host) = parse(hostname, &host) {
                    add_addresses(builder, &host, &[*address].into());
                }
            }
        }
    }
    add_ports(builder, host, service);
}

/// What other clusters that are alive share of the service.
fn remote_parts<'m>(
    mesh: &'m Mesh,
    name: &ServiceName,
) -> BTreeMap<&'m ClusterName, &'m ClusterService> {
    let parts = mesh.shared_parts(name);
    let is_used = |cluster: &ClusterName| cluster != mesh.own() && mesh.is_alive(cluster);
    parts.filter(|(cluster, _)| is_used(cluster)).collect()
}

fn add_addresses(builder: &mut Builder, host: &[u8], addresses: &BTreeSet<IpAddr>) {
    for address in addresses {
        match address {
            IpAddr::V4(it) => builder.push(0, host, kind::A, TTL, Value::Data(&it.octets())),
            IpAddr::V6(it) => builder.push(0, host, kind::AAAA, TTL, Value::Data(&it.octets())),
        }
    }
}

fn add_ports(builder: &mut Builder, host: &[u8], service: &LocalService) {
    for (port_name, port) in service.ports.iter().filter(|(name, _)| !name.is_empty()) {
        let protocol = match port.protocol {
            Protocol::Sctp => "sctp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        if let Ok(owner) = parse(&format!("_{port_name}._{protocol}"), host) {
            let numbers = [0, 0, port.port].map(u16::to_be_bytes);
            let data = [numbers.as_flattened(), host].concat();
            builder.push(0, &owner, kind::SRV, TTL, Value::Data(&data));
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::mesh::Event;

    use super::*;
    use crate::store::Found;
    use crate::zone::ShownData;

    const SHOP: &str = r#"{"global":true,"shared":true,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{"http":{"Protocol":"TCP","Port":80}},"backends":{"10.10.0.5":{}}}"#;
    const PRIVATE: &str = r#"{"global":false,"shared":false,"affinity":"none",
        "frontends":["10.111.0.11"],"ports":{},"backends":{}}"#;
    const HEADLESS: &str = r#"{"global":true,"shared":true,"affinity":"none","frontends":[],
        "ports":{},"backends":{"10.10.0.7":{}}}"#;

    #[test]
    fn names_global_services_and_their_ports() {
        let zone = zone(&mesh(true), 7);
        let check = |name: &str, kind: u16, expected: &str| {
            let name = format!("{name}clusterset.local.");
            assert_eq!(found(&zone, &name, kind), expected, "{name}");
        };
        check("shop.shop.svc.", kind::A, "10.111.0.10");
        let target = "0 0 80 shop.shop.svc.clusterset.local.";
        check("_http._tcp.shop.shop.svc.", kind::SRV, target);
        check("private.shop.svc.", kind::A, "absent");
        check("shop.svc.", kind::A, "empty");
        check("", kind::NS, "ns.dns.clusterset.local.");
    }

    #[test]
    fn names_what_is_in_each_cluster() {
        let check = |is_alive: bool, name: &str, expected: &str| {
            let name = format!("{name}.shop.svc.clusterset.local.");
            let zone = zone(&mesh(is_alive), 7);
            assert_eq!(found(&zone, &name, kind::A), expected, "{name}");
        };
        check(true, "eu.shop", "10.111.0.10");
        check(true, "us.shop", "10.20.0.5 10.20.0.6");
        check(true, "shop-0.us.shop", "10.20.0.5");
        check(true, "ap.shop", "absent");
        check(true, "db", "10.10.0.7 10.20.0.7");
        check(true, "eu.db", "10.10.0.7");
        check(true, "us.db", "10.20.0.7");

        check(false, "us.shop", "absent");
        check(false, "db", "10.10.0.7");
    }

    fn mesh(us_is_alive: bool) -> Mesh {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        let shared = |name: &str, backends: &str, hostnames: &str| {
            format!(
                r#"{{"cluster":"us","namespace":"shop","name":"{name}","frontends":{{}},
                "backends":{{{backends}}},"hostnames":{{{hostnames}}},"shared":true,"clusterID":2}}"#
            )
        };
        let peer =
            format!(r#"{{"connected":{us_is_alive},"sinceUnixMilliseconds":1,"reason":""}}"#);
        let records = [
            ("causeway/state/services/v1/eu/shop/shop", SHOP.to_owned()),
            (
                "causeway/state/services/v1/eu/shop/private",
                PRIVATE.to_owned(),
            ),
            ("causeway/state/services/v1/eu/shop/db", HEADLESS.to_owned()),
            ("causeway/state/peers/v1/us", peer),
            (
                "cilium/cache/services/v1/us/shop/shop",
                shared(
                    "shop",
                    r#""10.20.0.5":{},"10.20.0.6":{}"#,
                    r#""10.20.0.5":"shop-0""#,
                ),
            ),
            (
                "cilium/cache/services/v1/us/shop/db",
                shared("db", r#""10.20.0.7":{}"#, ""),
            ),
        ];
        for (key, value) in records {
            let (key, value) = (key.to_owned(), value.into_bytes());
            let rejected = mesh.apply(Event::Put { key, value });
            assert!(rejected.is_empty(), "{rejected:?}");
        }
        mesh
    }

    fn found(zone: &Zone, name: &str, kind: u16) -> String {
        match zone.find(&Folded::parse(name).unwrap()) {
            Found::Absent(_) => "absent".to_owned(),
            Found::Exact(node) => node.set(kind).map_or_else(
                || "empty".to_owned(),
                |set| {
                    let data = set.data().map(|it| ShownData(kind, it).to_string());
                    data.collect::<Vec<_>>().join(" ")
                },
            ),
            Found::Delegated(_) | Found::Redirected(_) | Found::Wildcard(_) => {
                panic!("there are none")
            }
        }
    }
}
