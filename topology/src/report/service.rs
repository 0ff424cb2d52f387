//! Decides how it is told why a service is served by what serves it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::{ClusterName, NodeName, ServiceName};
use crate::mesh::Mesh;
use crate::select::{self, Selection};
use crate::service::{Affinity, L4Port, LocalService};

/// `/v1/explain/service/NAMESPACE/NAME` of `node-agent` and of `clustermesh-apiserver`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExplanation {
    pub service: ServiceName,
    pub cluster: ClusterName,
    /// The node that was asked; `None` if it was the API server, which says what every node chooses.
    pub node: Option<NodeName>,
    pub global: bool,
    pub shared: bool,
    pub affinity: Affinity,
    pub frontends: BTreeSet<IpAddr>,
    pub ports: Vec<PortExplanation>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortExplanation {
    pub name: String,
    pub port: L4Port,
    pub selection: Selection,
    /// What the kernel's tables hold, which should be the selection; `None` if no node was asked.
    pub programmed: Option<BTreeSet<SocketAddr>>,
}

impl ServiceExplanation {
    /// Why each port of a service is served by what serves it, or `None` for a service that the own
    /// cluster does not have. `programmed` looks a port up in the kernel's tables of `node`.
    pub fn new(
        mesh: &Mesh,
        name: &ServiceName,
        node: Option<NodeName>,
        programmed: impl Fn(&LocalService, L4Port) -> Option<BTreeSet<SocketAddr>>,
    ) -> Option<Self> {
        let service = mesh.local_services().get(name)?;
        let ports = service.ports.iter();
        let ports = ports.map(|(port_name, port)| PortExplanation {
            name: port_name.clone(),
            port: *port,
            selection: select::backends(mesh, name, service, port_name),
            programmed: programmed(service, *port),
        });
        Some(Self {
            service: name.clone(),
            cluster: mesh.own().clone(),
            node,
            global: service.global,
            shared: service.shared,
            affinity: service.affinity,
            frontends: service.frontends.clone(),
            ports: ports.collect(),
        })
    }
}
