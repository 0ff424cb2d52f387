//! Services: what the mesh may use of them, and what the own agents need of all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use topology::id::ServiceName;
use topology::record::{BackendZone, ClusterService, ForZone, Key, Record};
use topology::service::{Affinity, L4Port, LocalService, NamedPorts};

use super::endpoint::key;
use super::{Cluster, Publisher, Scope, Value};
use crate::annotation;
use crate::objects::{Object, ObjectKind, ObjectName, protocol};

/// A Service with more backends is published in parts to peers of our own kind, so that one backend
/// that changes costs them one small record. Below that, one record is the smaller one.
const BACKENDS_IN_ONE_RECORD_MAX: usize = 64;

/// The slices of each Service.
#[derive(Debug, Default)]
pub(super) struct Services {
    slices: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
}

impl Services {
    pub(super) fn set_slice(&mut self, service: &ObjectName, slice: &ObjectName, is_there: bool) {
        let slices = self.slices.entry(service.clone()).or_default();
        if is_there {
            slices.insert(slice.clone());
        } else {
            slices.remove(slice);
        }
        if slices.is_empty() {
            self.slices.remove(service);
        }
    }

    pub(super) fn slices(&self, service: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        self.slices.get(service).into_iter().flatten()
    }
}

impl Publisher {
    pub(super) fn derive_service(&mut self, name: &ObjectName, problems: &mut Vec<String>) {
        let service_name = match ServiceName::new(&name.namespace, &name.name) {
            Ok(name) => name,
            Err(error) => {
                problems.push(format!("Service {name} is not published: {error}"));
                return;
            }
        };
        let object = self.objects.get(&key(ObjectKind::Service, name)).cloned();
        let service = object.as_deref().and_then(as_service);
        let service = service.and_then(|it| Some((it, balanced(it)?)));
        let local_key = Key::LocalService(self.cluster.name.clone(), service_name.clone());
        let Some((service, spec)) = service else {
            self.records.hide(&local_key);
            self.show_service(&service_name, &Scope::Nobody, None);
            return;
        };

        let exposure = self.expose(name, service, spec);
        let local = local_service(service, &exposure, |value| {
            let problem = format!("Service {name}: {value:?} is no affinity, so none is used");
            problems.push(problem);
        });
        let local = Record::LocalService(local).encode();
        self.records.show(&local_key, &Scope::Everyone, local);

        let annotations = &service.metadata.annotations;
        let scope = match self.scoping.of_service(&name.namespace, annotations) {
            _ if !exposure.global || !exposure.shared => Scope::Nobody,
            Ok(scope) => scope,
            Err(problem) => {
                problems.push(format!("Service {name} is exported to nobody: {problem}"));
                Scope::Nobody
            }
        };
        let exported = exported(&self.cluster, &service_name, service, spec, exposure);
        self.show_service(&service_name, &scope, Some(exported));
    }

    /// Who may see the records of a Service that is exported; `None` if it is not.
    pub(super) fn exported(&self, name: &ObjectName) -> Option<Scope> {
        let service = self.service(name)?;
        balanced(service)?;
        let annotations = &service.metadata.annotations;
        let is_exported = annotation::is_global_service(annotations)
            && annotation::is_shared_service(annotations);
        let scope = self.scoping.of_service(&name.namespace, annotations);
        scope.ok().filter(|_| is_exported)
    }

    pub(super) fn service(&self, name: &ObjectName) -> Option<&Service> {
        as_service(self.objects.get(&key(ObjectKind::Service, name))?)
    }

    fn expose(&self, name: &ObjectName, service: &Service, spec: &ServiceSpec) -> Exposure {
        let annotations = &service.metadata.annotations;
        let is_hidden = self.scoping.of_namespace(&name.namespace).is_nobody();
        let global = !is_hidden && annotation::is_global_service(annotations);
        let mut exposure = Exposure {
            global,
            shared: global && annotation::is_shared_service(annotations),
            frontends: frontends(spec),
            ports: ports(spec),
            backends: BTreeMap::new(),
            hostnames: BTreeMap::new(),
            zones: BTreeMap::new(),
        };
        for slice in self.services.slices(name) {
            let slice = self.objects.get(&key(ObjectKind::EndpointSlice, slice));
            if let Some(Object::EndpointSlice(slice)) = slice.map(Arc::as_ref) {
                exposure.add_slice(slice);
            }
        }
        exposure
    }

    /// Shows a Service as upstream does, and as peers of our own kind read it: those that are named
    /// are of our own kind.
    fn show_service(
        &mut self,
        name: &ServiceName,
        scope: &Scope,
        exported: Option<ClusterService>,
    ) {
        let whole_key = Key::Service(self.cluster.name.clone(), name.clone());
        let delta_key = Key::DeltaService(self.cluster.name.clone(), name.clone());
        let Some(mut exported) = exported.filter(|_| !scope.is_nobody()) else {
            self.records.hide(&whole_key);
            self.records.hide(&delta_key);
            self.records
                .show_parts(name, &Scope::Nobody, &BTreeMap::new());
            return;
        };
        let parts = match exported.backends.len() {
            0..=BACKENDS_IN_ONE_RECORD_MAX => BTreeMap::new(),
            _ => exported.clone().take_backends(),
        };
        let record = Record::Service(Box::new(exported.clone())).encode();
        if !parts.is_empty() {
            exported.take_backends();
        }
        let delta = Record::Service(Box::new(exported)).encode();
        match scope {
            Scope::Everyone => self.records.show(&whole_key, scope, record),
            Scope::Nobody | Scope::Peers(_) => self.records.hide(&whole_key),
        }
        self.records.show(&delta_key, scope, delta);
        let parts = parts.into_iter().map(|(address, part)| {
            let value: Value = Record::Backend(part).encode().into();
            (address, value)
        });
        self.records.show_parts(name, scope, &parts.collect());
    }
}

fn as_service(object: &Object) -> Option<&Service> {
    if let Object::Service(service) = object {
        return Some(service);
    }
    None
}

/// What of a Service can be balanced: an `ExternalName` is an alias in the DNS.
pub(super) fn balanced(service: &Service) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    (spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}

/// The Service that a slice belongs to. Slices that some mesh wrote hold remote endpoints, and
/// exporting them again would let them go round in circles.
pub(super) fn service_of(name: &ObjectName, slice: &EndpointSlice) -> Option<ObjectName> {
    let label = |key| slice.metadata.labels.as_ref()?.get(key);
    let service = label(SERVICE_NAME)?;
    let is_of_a_mesh = label(MANAGED_BY).is_some_and(|it| it == MESH_CONTROLLER);
    (!is_of_a_mesh).then(|| ObjectName {
        namespace: Arc::clone(&name.namespace),
        name: service.as_str().into(),
    })
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MESH_CONTROLLER: &str = "endpointslice-mesh-controller.cilium.io";

/// What the own agents need; `complain` is told of a value that is no affinity.
fn local_service(
    service: &Service,
    exposure: &Exposure,
    complain: impl FnOnce(&str),
) -> LocalService {
    let affinity = annotation::affinity(&service.metadata.annotations).unwrap_or_else(|value| {
        complain(value);
        Affinity::None
    });
    LocalService {
        global: exposure.global,
        shared: exposure.shared,
        affinity,
        frontends: exposure.frontends.clone(),
        ports: exposure.ports.clone(),
        backends: exposure.backends.clone(),
    }
}

fn exported(
    cluster: &Cluster,
    name: &ServiceName,
    service: &Service,
    spec: &ServiceSpec,
    exposure: Exposure,
) -> ClusterService {
    let frontends = exposure
        .frontends
        .iter()
        .map(|it| (*it, exposure.ports.clone()));
    ClusterService {
        cluster: cluster.name.clone(),
        namespace: name.namespace().to_owned(),
        name: name.name().to_owned(),
        frontends: frontends.collect(),
        backends: exposure.backends,
        hostnames: exposure.hostnames,
        zones: exposure.zones,
        labels: service.metadata.labels.clone().unwrap_or_default(),
        selector: spec.selector.clone().unwrap_or_default(),
        include_external: true,
        shared: true,
        cluster_id: cluster.id,
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
    fn add_slice(&mut self, slice: &EndpointSlice) {
        let ports = target_ports(slice);
        for endpoint in &slice.endpoints {
            if takes_traffic(endpoint.conditions.as_ref()) {
                self.add(endpoint, &ports);
            }
        }
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

pub(super) fn frontends(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
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
