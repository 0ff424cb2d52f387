//! Services: what the mesh may use of them, and what the own agents need of all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use topology::id::ServiceName;
use topology::record::{BackendZone, ClusterService, ForZone, Key, Record};
use topology::service::{L4Port, LocalService, NamedPorts};

use super::endpoint::protocol;
use super::{Draft, endpoint_slice, is_global};
use crate::annotation;
use crate::objects::{ObjectName, Objects};

pub(super) fn publish(objects: &Objects, draft: &mut Draft<'_>) {
    let slices = slices_by_service(objects);
    for (name, object) in &objects.services {
        let Some(spec) = object.spec.as_ref() else {
            continue;
        };
        // An alias in the DNS: there is nothing to balance.
        if spec.type_.as_deref() == Some("ExternalName") {
            continue;
        }
        match ServiceName::new(&name.namespace, &name.name) {
            Ok(service) => {
                let slices = slices.get(name).map_or(&[][..], Vec::as_slice);
                let exposure = Exposure::new(objects, object, spec, slices);
                publish_service(&service, object, spec, exposure, slices, draft);
            }
            Err(error) => {
                let problem = format!("Service {name} is not published: {error}");
                draft.problems.push(problem);
            }
        }
    }
}

fn publish_service(
    name: &ServiceName,
    object: &Service,
    spec: &ServiceSpec,
    exposure: Exposure,
    slices: &[&EndpointSlice],
    draft: &mut Draft<'_>,
) {
    let annotations = &object.metadata.annotations;
    let affinity = annotation::affinity(annotations).unwrap_or_else(|value| {
        let problem = format!("Service {name}: {value:?} is no affinity, so none is used");
        draft.problems.push(problem);
        topology::service::Affinity::None
    });
    let cluster = draft.cluster.clone();
    let local = LocalService {
        global: exposure.global,
        shared: exposure.shared,
        affinity,
        frontends: exposure.frontends.clone(),
        ports: exposure.ports.clone(),
        backends: exposure.backends.clone(),
    };
    let key = Key::LocalService(cluster.name.clone(), name.clone());
    draft.put(&key, &Record::LocalService(local));
    if !exposure.global || !exposure.shared {
        return;
    }

    let frontends = exposure
        .frontends
        .iter()
        .map(|it| (*it, exposure.ports.clone()));
    let exported = ClusterService {
        cluster: cluster.name.clone(),
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
        frontends: frontends.collect(),
        backends: exposure.backends,
        hostnames: exposure.hostnames,
        zones: exposure.zones,
        labels: object.metadata.labels.clone().unwrap_or_default(),
        selector: spec.selector.clone().unwrap_or_default(),
        include_external: true,
        shared: true,
        cluster_id: cluster.id,
    };
    let key = Key::Service(cluster.name, name.clone());
    draft.put(&key, &Record::Service(Box::new(exported)));
    for slice in slices {
        endpoint_slice::publish(slice, draft);
    }
}

/// What of a Service can be reached, and by whom.
struct Exposure {
    global: bool,
    shared: bool,
    frontends: BTreeSet<IpAddr>,
    ports: NamedPorts,
    backends: BTreeMap<IpAddr, NamedPorts>,
    hostnames: BTreeMap<IpAddr, String>,
    zones: BTreeMap<IpAddr, BackendZone>,
}

impl Exposure {
    fn new(
        objects: &Objects,
        object: &Service,
        spec: &ServiceSpec,
        slices: &[&EndpointSlice],
    ) -> Self {
        let annotations = &object.metadata.annotations;
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        let global = is_global(objects, namespace) && annotation::is_global_service(annotations);
        let mut exposure = Self {
            global,
            shared: global && annotation::is_shared_service(annotations),
            frontends: frontends(spec),
            ports: ports(spec),
            backends: BTreeMap::new(),
            hostnames: BTreeMap::new(),
            zones: BTreeMap::new(),
        };
        for slice in slices {
            let ports = target_ports(slice);
            for endpoint in slice
                .endpoints
                .iter()
                .filter(|it| takes_traffic(it.conditions.as_ref()))
            {
                exposure.add(endpoint, &ports);
            }
        }
        exposure
    }

    fn add(&mut self, endpoint: &Endpoint, ports: &NamedPorts) {
        for address in endpoint
            .addresses
            .iter()
            .filter_map(|it| it.parse::<IpAddr>().ok())
        {
            let backend = self.backends.entry(address).or_default();
            backend.extend(ports.iter().map(|(name, port)| (name.clone(), *port)));
            if let Some(hostname) = endpoint.hostname.as_ref().filter(|it| !it.is_empty()) {
                self.hostnames.insert(address, hostname.clone());
            }
            if let Some(zone) = endpoint.zone.as_ref().filter(|it| !it.is_empty()) {
                let hints = endpoint
                    .hints
                    .as_ref()
                    .and_then(|it| it.for_zones.as_deref());
                let for_zones = hints.unwrap_or(&[]).iter();
                let zone = BackendZone {
                    zone: zone.clone(),
                    for_zones: for_zones
                        .map(|it| ForZone {
                            name: it.name.clone(),
                        })
                        .collect(),
                };
                self.zones.insert(address, zone);
            }
        }
    }
}

/// Slices by the Service they belong to. Those that some mesh wrote hold remote endpoints, and
/// exporting them again would let them go round in circles.
fn slices_by_service(objects: &Objects) -> BTreeMap<ObjectName, Vec<&EndpointSlice>> {
    let mut by_service: BTreeMap<ObjectName, Vec<&EndpointSlice>> = BTreeMap::new();
    for (name, slice) in &objects.endpoint_slices {
        let label = |key| slice.metadata.labels.as_ref()?.get(key);
        let of_a_mesh = label(MANAGED_BY).is_some_and(|it| it == MESH_CONTROLLER);
        if let Some(service) = label(SERVICE_NAME).filter(|_| !of_a_mesh) {
            let service = ObjectName {
                namespace: name.namespace.clone(),
                name: service.clone(),
            };
            by_service.entry(service).or_default().push(slice);
        }
    }
    by_service
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MESH_CONTROLLER: &str = "endpointslice-mesh-controller.cilium.io";

fn frontends(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
    let all = spec.cluster_ips.as_deref().unwrap_or(&[]).iter();
    // "None" says headless, and is no address.
    all.chain(&spec.cluster_ip)
        .filter_map(|it| it.parse().ok())
        .collect()
}

fn ports(spec: &ServiceSpec) -> NamedPorts {
    let ports = spec.ports.as_deref().unwrap_or(&[]).iter();
    ports
        .filter_map(|it| {
            let port = l4_port(it.protocol.as_deref(), it.port)?;
            Some((it.name.clone().unwrap_or_default(), port))
        })
        .collect()
}

fn target_ports(slice: &EndpointSlice) -> NamedPorts {
    let ports = slice.ports.as_deref().unwrap_or(&[]).iter();
    ports
        .filter_map(|it| {
            let port = l4_port(it.protocol.as_deref(), it.port?)?;
            Some((it.name.clone().unwrap_or_default(), port))
        })
        .collect()
}

fn l4_port(protocol_text: Option<&str>, port: i32) -> Option<L4Port> {
    Some(L4Port {
        protocol: protocol(protocol_text)?,
        port: port.try_into().ok()?,
    })
}

/// Ready, or still serving while it terminates. What nobody says is yes, as Kubernetes reads it.
fn takes_traffic(conditions: Option<&EndpointConditions>) -> bool {
    let ready = conditions.and_then(|it| it.ready).unwrap_or(true);
    let serving = conditions.and_then(|it| it.serving).unwrap_or(ready);
    ready || serving
}
