//! Names for the mesh's global services: a zone derived from the records of the own cluster.
//!
//! `<service>.<namespace>.svc.clusterset.local` has the own cluster's ClusterIPs, and
//! `_<port>._<protocol>.` before it a SRV record for each named port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, RecordType};
use topology::id::ServiceName;
use topology::service::{LocalService, Protocol};

use crate::zone::{Node, RecordSet, Zone};

/// Where the names of the mesh's services are (the Multi-Cluster Services API's domain).
pub const ORIGIN: &str = "clusterset.local.";

/// In seconds. Services move rarely, and their ClusterIPs almost never.
const TTL: u32 = 5;

/// The zone of every global service in `services`. `serial` is the zone's.
pub fn zone<'a>(
    services: impl IntoIterator<Item = (&'a ServiceName, &'a LocalService)>,
    serial: u32,
) -> Zone {
    let origin = Name::from_ascii(ORIGIN).expect("the origin is a name");
    let mut nodes = BTreeMap::new();
    for (name, service) in services.into_iter().filter(|(_, it)| it.global) {
        add(&mut nodes, &origin, name, service);
    }

    let server = prepend(&origin, &["ns", "dns"]).expect("the origin is short");
    let mailbox = prepend(&origin, &["hostmaster"]).expect("the origin is short");
    let minimum = TTL;
    let soa = SOA::new(server.clone(), mailbox, serial, 7200, 1800, 86_400, minimum);
    let apex: &mut Node = nodes.entry(origin.clone()).or_default();
    apex.push(set(RecordType::SOA, vec![RData::SOA(soa.clone())]));
    apex.push(set(RecordType::NS, vec![RData::NS(NS(server))]));
    Zone::new(origin, (soa, TTL), nodes)
}

/// Adds the names of one service; one whose name fits no domain name has none.
fn add(
    nodes: &mut BTreeMap<Name, Node>,
    origin: &Name,
    name: &ServiceName,
    service: &LocalService,
) {
    let labels = [name.name(), name.namespace(), "svc"];
    let Some(host) = prepend(origin, &labels) else {
        return;
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in &service.frontends {
        match address {
            IpAddr::V4(it) => v4.push(RData::A(A(*it))),
            IpAddr::V6(it) => v6.push(RData::AAAA(AAAA(*it))),
        }
    }
    for (kind, data) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
        if !data.is_empty() {
            nodes.entry(host.clone()).or_default().push(set(kind, data));
        }
    }

    for (port_name, port) in &service.ports {
        let protocol = match port.protocol {
            Protocol::Sctp => "_sctp",
            Protocol::Tcp => "_tcp",
            Protocol::Udp => "_udp",
        };
        let owner = prepend(&host, &[&format!("_{port_name}"), protocol]);
        if let Some(owner) = owner.filter(|_| !port_name.is_empty()) {
            let data = RData::SRV(SRV::new(0, 0, port.port, host.clone()));
            nodes
                .entry(owner)
                .or_default()
                .push(set(RecordType::SRV, vec![data]));
        }
    }
}

fn set(kind: RecordType, fixed: Vec<RData>) -> RecordSet {
    RecordSet {
        kind,
        ttl: TTL,
        fixed,
        plans: Vec::new(),
    }
}

/// `labels` in front of `name`, unless that is no domain name any more.
fn prepend(name: &Name, labels: &[&str]) -> Option<Name> {
    labels.iter().rev().try_fold(name.clone(), |name, label| {
        name.prepend_label(label.as_bytes()).ok()
    })
}

#[cfg(test)]
mod tests {
    use topology::service::{Affinity, L4Port};

    use super::*;
    use crate::zone::Found;

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
            RecordType::A,
            "10.111.0.10",
        );
        check(
            &zone,
            "_http._tcp.shop.shop.svc.clusterset.local.",
            RecordType::SRV,
            "0 0 80 shop.shop.svc.clusterset.local.",
        );
        check(
            &zone,
            "private.shop.svc.clusterset.local.",
            RecordType::A,
            "absent",
        );
        check(&zone, "shop.svc.clusterset.local.", RecordType::A, "empty");
        check(
            &zone,
            "clusterset.local.",
            RecordType::NS,
            "ns.dns.clusterset.local.",
        );
    }

    #[track_caller]
    fn check(zone: &Zone, name: &str, kind: RecordType, expected: &str) {
        let found = match zone.find(&Name::from_ascii(name).unwrap()) {
            Found::Absent => "absent".to_owned(),
            Found::Empty => "empty".to_owned(),
            Found::Node(node) => node.set(kind).unwrap().fixed[0].to_string(),
            Found::Delegated(..) | Found::Wildcard(..) => panic!("there are none"),
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
