//! Names for the mesh's global services: a zone derived from the records of the own cluster.
//!
//! `<service>.<namespace>.svc.clusterset.local` has the own cluster's ClusterIPs, and
//! `_<port>._<protocol>.` before it a SRV record for each named port.

use std::net::IpAddr;

use topology::id::ServiceName;
use topology::service::{LocalService, Protocol};

use crate::store::{Builder, Value};
use crate::wire::kind;
use crate::wire::name::{Folded, parse};
use crate::zone::Zone;

/// Where the names of the mesh's services are (the Multi-Cluster Services API's domain), as it travels.
pub const ORIGIN: &[u8] = b"\x0aclusterset\x05local\x00";

/// In seconds. Services move rarely, and their ClusterIPs almost never.
const TTL: u32 = 5;

/// The zone of every global service in `services`. `serial` is the zone's.
pub fn zone<'a>(
    services: impl IntoIterator<Item = (&'a ServiceName, &'a LocalService)>,
    serial: u32,
) -> Zone {
    let mut builder = Builder::new(ORIGIN);
    let server = parse("ns.dns", ORIGIN).expect("the origin is short");
    let mailbox = parse("hostmaster", ORIGIN).expect("the origin is short");
    let numbers = [serial, 7200, 1800, 86_400, TTL].map(u32::to_be_bytes);
    let soa = [&server, &mailbox, numbers.as_flattened()].concat();
    builder.push(0, ORIGIN, kind::SOA, TTL, Value::Data(&soa));
    builder.push(0, ORIGIN, kind::NS, TTL, Value::Data(&server));
    for (name, service) in services.into_iter().filter(|(_, it)| it.global) {
        add(&mut builder, name, service);
    }
    let origin = Folded::read(ORIGIN).expect("the origin is a name");
    let store = builder.finish().expect("no record contradicts another");
    Zone::new(origin, store, Vec::new()).expect("it has an SOA")
}

/// Adds the names of one service; one whose name fits no domain name has none.
fn add(builder: &mut Builder, name: &ServiceName, service: &LocalService) {
    let host = format!("{}.{}.svc", name.name(), name.namespace());
    let Ok(host) = parse(&host, ORIGIN) else {
        return;
    };
    for address in &service.frontends {
        match address {
            IpAddr::V4(it) => builder.push(0, &host, kind::A, TTL, Value::Data(&it.octets())),
            IpAddr::V6(it) => builder.push(0, &host, kind::AAAA, TTL, Value::Data(&it.octets())),
        }
    }
    for (port_name, port) in service.ports.iter().filter(|(name, _)| !name.is_empty()) {
        let protocol = match port.protocol {
            Protocol::Sctp => "sctp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        if let Ok(owner) = parse(&format!("_{port_name}._{protocol}"), &host) {
            let numbers = [0, 0, port.port].map(u16::to_be_bytes);
            let data = [numbers.as_flattened(), &host].concat();
            builder.push(0, &owner, kind::SRV, TTL, Value::Data(&data));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use topology::service::{Affinity, L4Port};

    use super::*;
    use crate::store::Found;
    use crate::zone::ShownData;

    #[test]
    fn names_global_services_and_their_ports() {
        let services = [
            (service_name("shop"), service(true, "10.111.0.10")),
            (service_name("private"), service(false, "10.111.0.11")),
        ];
        let zone = zone(services.iter().map(|(name, service)| (name, service)), 7);

        check(
            &zone,
            "shop.shop.svc.clusterset.local.",
            kind::A,
            "10.111.0.10",
        );
        check(
            &zone,
            "_http._tcp.shop.shop.svc.clusterset.local.",
            kind::SRV,
            "0 0 80 shop.shop.svc.clusterset.local.",
        );
        check(
            &zone,
            "private.shop.svc.clusterset.local.",
            kind::A,
            "absent",
        );
        check(&zone, "shop.svc.clusterset.local.", kind::A, "empty");
        check(
            &zone,
            "clusterset.local.",
            kind::NS,
            "ns.dns.clusterset.local.",
        );
    }

    #[track_caller]
    fn check(zone: &Zone, name: &str, kind: u16, expected: &str) {
        let name = Folded::parse(name).unwrap();
        let found = match zone.find(&name) {
            Found::Absent(_) => "absent".to_owned(),
            Found::Exact(node) => node.set(kind).map_or_else(
                || "empty".to_owned(),
                |it| ShownData(kind, it.data().next().unwrap()).to_string(),
            ),
            Found::Delegated(_) | Found::Redirected(_) | Found::Wildcard(_) => {
                panic!("there are none")
            }
        };
        assert_eq!(found, expected);
    }

    fn service_name(name: &str) -> ServiceName {
        ServiceName::new("shop", name).unwrap()
    }

    fn service(global: bool, address: &str) -> LocalService {
        let port = L4Port {
            protocol: Protocol::Tcp,
            port: 80,
        };
        LocalService {
            global,
            shared: global,
            affinity: Affinity::None,
            frontends: [address.parse().unwrap()].into(),
            ports: [("http".to_owned(), port)].into(),
            backends: BTreeMap::new(),
        }
    }
}
