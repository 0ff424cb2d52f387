//! Services that are offered to all clusters by their name (the MCS API).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use topology::id::ServiceName;
use topology::record::{
    ClientIpAffinity, ExportedPort, Key, ServiceExport as Exported, SessionAffinityConfig,
};

use super::endpoint::key;
use super::{Cluster, Publisher, Scope, service};
use crate::objects::{Object, ObjectKind, ObjectName, ServiceExport, protocol};

/// What an export without a creation time says, such as one from a file: the oldest one wins where
/// clusters contradict each other, and one of unknown age should not. The same after every restart.
const YOUNGEST: &str = "9999-12-31T23:59:59Z";

impl Publisher {
    pub(super) fn derive_service_export(&mut self, name: &ObjectName, problems: &mut Vec<String>) {
        if !self.options.mcs_api {
            return;
        }
        let Ok(service_name) = ServiceName::new(&name.namespace, &name.name) else {
            problems.push(format!(
                "ServiceExport {name} is not published: not a DNS name"
            ));
            return;
        };
        let record_key = Key::ServiceExport(self.cluster.name.clone(), service_name);
        let object = self.objects.get(&key(ObjectKind::ServiceExport, name));
        let Some(Object::ServiceExport(export)) = object.map(Arc::as_ref) else {
            return self.records.hide(&record_key);
        };
        match self.offer(name, export) {
            Ok((scope, value)) => self.records.show(&record_key, &scope, value),
            Err(problem) => {
                self.records.hide(&record_key);
                problems.push(format!("ServiceExport {name} is not published: {problem}"));
            }
        }
    }

    fn offer(&self, name: &ObjectName, export: &ServiceExport) -> Result<(Scope, Vec<u8>), String> {
        let service = self
            .service(name)
            .ok_or("there is no Service of that name")?;
        let spec = service::balanced(service).ok_or("its Service is an ExternalName")?;
        let annotations = &service.metadata.annotations;
        let scope = self.scoping.of_service(&name.namespace, annotations)?;
        let exported = exported(&self.cluster, name, export, spec);
        Ok((scope, exported.encode()))
    }
}

/// Fills in what an API server would have, for objects that it has not seen.
fn exported(
    cluster: &Cluster,
    name: &ObjectName,
    export: &ServiceExport,
    spec: &ServiceSpec,
) -> Exported {
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let timeout = spec.session_affinity_config.as_ref();
    let timeout = timeout.and_then(|it| it.client_ip.as_ref()?.timeout_seconds);
    let created = export.created.as_deref().unwrap_or(YOUNGEST);
    let ports = spec.ports.as_deref().unwrap_or(&[]).iter();

    Exported {
        cluster: cluster.name.clone(),
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        annotations: export.annotations.clone(),
        labels: export.labels.clone(),
        legacy_labels: export.labels.clone(),
        legacy_annotations: export.annotations.clone(),
        export_creation_timestamp: created.to_owned(),
        ports: ports.filter_map(exported_port).collect(),
        kind: match is_headless {
            true => "Headless".to_owned(),
            false => "ClusterSetIP".to_owned(),
        },
        session_affinity: spec
            .session_affinity
            .clone()
            .unwrap_or_else(|| "None".to_owned()),
        session_affinity_config: timeout.map(|timeout_seconds| SessionAffinityConfig {
            client_ip: ClientIpAffinity { timeout_seconds },
        }),
        ip_families: spec.ip_families.clone().unwrap_or_else(|| families(spec)),
        internal_traffic_policy: Some(
            spec.internal_traffic_policy
                .clone()
                .unwrap_or_else(|| "Cluster".to_owned()),
        ),
        traffic_distribution: spec.traffic_distribution.clone(),
    }
}

/// Of the ClusterIPs; an API server's first family is mostly IPv4.
fn families(spec: &ServiceSpec) -> Vec<String> {
    let addresses = service::frontends(spec);
    let has_v6 = addresses.iter().any(|it| it.is_ipv6());
    let has_v4 = addresses.iter().any(|it| it.is_ipv4());
    let families = [("IPv4", has_v4 || !has_v6), ("IPv6", has_v6)];
    let families = families.into_iter().filter(|(_, is_used)| *is_used);
    families.map(|(family, _)| family.to_owned()).collect()
}

fn exported_port(port: &ServicePort) -> Option<ExportedPort> {
    Some(ExportedPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: protocol(port.protocol.as_deref())?,
        app_protocol: port.app_protocol.clone(),
        port: port.port.try_into().ok()?,
    })
}
