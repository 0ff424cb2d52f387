//! Services that are offered to all clusters by their name (the MCS API).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use topology::id::ServiceName;
use topology::record::{
    ClientIpAffinity, ExportedPort, Key, ServiceExport as Exported, SessionAffinityConfig,
};

use super::endpoint::key;
use super::{Cluster, Publisher, Scope, service};
use crate::objects::{Object, ObjectKind, ObjectName, ServiceExport, protocol};
use crate::timestamp::rfc3339;

/// Since when exports exist that do not say so themselves, such as those of a file that no API server
/// has seen, in RFC 3339: since they were seen first. The oldest one wins where clusters contradict
/// each other, so that a newcomer changes nothing of what is in use.
///
/// What was published is taken over after a restart, where the store outlives it.
#[derive(Debug, Default)]
pub(super) struct Ages {
    since: BTreeMap<ObjectName, String>,
}

impl Ages {
    /// Takes over what a former life published, but for times to come, which make nobody old.
    pub(super) fn remember(&mut self, exports: Vec<(ObjectName, String)>, now: u64) {
        let now = rfc3339(now);
        self.since
            .extend(exports.into_iter().filter(|(_, since)| *since <= now));
    }

    fn of(&mut self, name: &ObjectName, export: &ServiceExport, now: u64) -> String {
        let since = self.since.entry(name.clone());
        match &export.created {
            Some(created) => since.insert_entry(created.clone()).get().clone(),
            None => since.or_insert_with(|| rfc3339(now)).clone(),
        }
    }
}

impl Publisher {
    pub(super) fn derive_service_export(
        &mut self,
        name: &ObjectName,
        problems: &mut Vec<String>,
        now: u64,
    ) {
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
            self.export_ages.since.remove(name);
            return self.records.hide(&record_key);
        };
        let since = self.export_ages.of(name, export, now);
        match self.offer(name, export, since) {
            Ok((scope, value)) => self.records.show(&record_key, &scope, value),
            Err(problem) => {
                self.records.hide(&record_key);
                problems.push(format!("ServiceExport {name} is not published: {problem}"));
            }
        }
    }

    fn offer(
        &self,
        name: &ObjectName,
        export: &ServiceExport,
        since: String,
    ) -> Result<(Scope, Vec<u8>), String> {
        let service = self
            .service(name)
            .ok_or("there is no Service of that name")?;
        let spec = service::balanced(service).ok_or("its Service is an ExternalName")?;
        let annotations = &service.metadata.annotations;
        let scope = self.scoping.of_service(&name.namespace, annotations)?;
        let exported = exported(&self.cluster, name, export, spec, since);
        Ok((scope, exported.encode()))
    }
}

/// Fills in what an API server would have, for objects that it has not seen.
fn exported(
    cluster: &Cluster,
    name: &ObjectName,
    export: &ServiceExport,
    spec: &ServiceSpec,
    since: String,
) -> Exported {
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let timeout = spec.session_affinity_config.as_ref();
    let timeout = timeout.and_then(|it| it.client_ip.as_ref()?.timeout_seconds);
    let ports = spec.ports.as_deref().unwrap_or(&[]).iter();

    Exported {
        cluster: cluster.name.clone(),
        name: name.name.to_string(),
        namespace: name.namespace.to_string(),
        annotations: export.annotations.clone(),
        labels: export.labels.clone(),
        legacy_labels: export.labels.clone(),
        legacy_annotations: export.annotations.clone(),
        export_creation_timestamp: since,
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
