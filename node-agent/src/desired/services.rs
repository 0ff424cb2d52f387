//! Decides which backends this node's service tables have.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use datapath_abi::{Backend, ServiceKey};
use topology::mesh::Mesh;
use topology::select;
use topology::service::{L4Port, Protocol};

use super::{Desired, Identity, cluster_number};

pub(super) fn services(mesh: &Mesh, identity: &Identity, desired: &mut Desired) {
    for (name, service) in mesh.local_services() {
        for (port_name, port) in &service.ports {
            let Some(protocol) = protocol_number(port.protocol) else {
                continue;
            };
            let selection = select::backends(mesh, name, service, port_name);
            let backends: BTreeSet<Backend> = selection
                .backends
                .iter()
                .filter_map(|it| {
                    let SocketAddr::V4(address) = it.address else {
                        return None;
                    };
                    let cluster = cluster_number(mesh, identity, &it.cluster);
                    Some(Backend::new(address, protocol, cluster))
                })
                .collect();
            for key in frontends(&service.frontends, *port) {
                desired
                    .services
                    .entry(key)
                    .or_insert_with(|| backends.clone());
            }
        }
    }
}

/// The keys of a service's port, one for each IPv4 ClusterIP.
pub fn frontends(addresses: &BTreeSet<IpAddr>, port: L4Port) -> impl Iterator<Item = ServiceKey> {
    addresses.iter().filter_map(move |address| {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let protocol = protocol_number(port.protocol)?;
        Some(ServiceKey::new(
            SocketAddrV4::new(*address, port.port),
            protocol,
        ))
    })
}

/// The number in an IP header, or `None` for a protocol that sockets cannot be balanced for yet.
fn protocol_number(protocol: Protocol) -> Option<u8> {
    match protocol {
        Protocol::Sctp => None,
        Protocol::Tcp => Some(datapath_abi::TCP),
        Protocol::Udp => Some(datapath_abi::UDP),
    }
}
