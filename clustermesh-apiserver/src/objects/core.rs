//! What the mesh needs of Kubernetes' own objects.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerPort, Namespace as RawNamespace, Node, NodeSpec, NodeStatus, Pod as RawPod, PodStatus,
    Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use topology::record::NamedPort;
use topology::service::Protocol;

use super::raw::raw;
use super::{Namespace, Object, Pod};

raw!(EndpointSlice, EndpointSlice, |it: EndpointSlice| {
    let metadata = trimmed(it.metadata);
    Object::EndpointSlice(Box::new(EndpointSlice { metadata, ..it }))
});
raw!(RawNamespace, Namespace, |it: RawNamespace| {
    Object::Namespace(Box::new(Namespace {
        labels: it.metadata.labels.unwrap_or_default(),
        annotations: it.metadata.annotations,
    }))
});
raw!(Node, Node, |it: Node| Object::Node(Box::new(node(it))));
raw!(RawPod, Pod, |it: RawPod| Object::Pod(Box::new(pod(it))));
raw!(Service, Service, |it: Service| {
    Object::Service(Box::new(Service {
        metadata: trimmed(it.metadata),
        spec: it.spec,
        status: None,
    }))
});

/// Without what changes at every write and is as long as the object itself.
fn trimmed(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..ObjectMeta::default()
    }
}

/// Without heartbeats, images and capacities: a node that only reports being well has not changed.
fn node(raw: Node) -> Node {
    let spec = raw.spec.map(|it| NodeSpec {
        pod_cidr: it.pod_cidr,
        pod_cidrs: it.pod_cidrs,
        ..NodeSpec::default()
    });
    let status = raw.status.map(|it| NodeStatus {
        addresses: it.addresses,
        ..NodeStatus::default()
    });
    Node {
        metadata: trimmed(raw.metadata),
        spec,
        status,
    }
}

fn pod(raw: RawPod) -> Pod {
    let spec = raw.spec.unwrap_or_default();
    let status = raw.status.unwrap_or_default();
    let has_ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let is_on_the_mesh = !has_ended && spec.host_network != Some(true);
    let containers = spec.containers.iter();
    let ports = containers.flat_map(|it| it.ports.as_deref().unwrap_or(&[]));
    let service_account = spec.service_account_name.as_ref();
    let service_account = service_account.filter(|it| !it.is_empty());

    Pod {
        addresses: match is_on_the_mesh {
            true => addresses(&status),
            false => Vec::new(),
        },
        host: status.host_ip.as_deref().and_then(|it| it.parse().ok()),
        named_ports: ports.filter_map(named_port).collect(),
        service_account: service_account.map_or("default", String::as_str).to_owned(),
        node: spec.node_name.unwrap_or_default(),
        labels: raw.metadata.labels.unwrap_or_default(),
    }
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.as_deref().unwrap_or(&[]);
    let addresses: Vec<_> = all.iter().filter_map(|it| it.ip.parse().ok()).collect();
    if addresses.is_empty() {
        return status
            .pod_ip
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect();
    }
    addresses
}

fn named_port(port: &ContainerPort) -> Option<NamedPort> {
    Some(NamedPort {
        name: port.name.clone()?,
        port: port.container_port.try_into().ok()?,
        protocol: protocol(port.protocol.as_deref())?,
    })
}

/// Kubernetes' default is TCP; `None` for a protocol that no service can have.
pub(crate) fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.unwrap_or_default() {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}
