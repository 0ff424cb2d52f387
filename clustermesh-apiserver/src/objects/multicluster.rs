//! The few fields of the multi-cluster services API (`multicluster.x-k8s.io`) that are published.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::raw::raw;
use super::{Object, ServiceExport as Export};

/// Offers the Service of the same name to all clusters.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceExport {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: Option<ServiceExportSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceExportSpec {
    pub exported_annotations: Option<BTreeMap<String, String>>,
    pub exported_labels: Option<BTreeMap<String, String>>,
}

/// What some cluster offers, as seen from here.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceImport {
    pub metadata: ObjectMeta,
}

raw!(ServiceExport, ServiceExport, |it: ServiceExport| {
    let spec = it.spec.unwrap_or_default();
    let created = it.metadata.creation_timestamp.map(|it| it.0.as_second());
    Object::ServiceExport(Box::new(Export {
        created: created.map(crate::timestamp::rfc3339_seconds),
        labels: spec.exported_labels.unwrap_or_default(),
        annotations: spec.exported_annotations.unwrap_or_default(),
    }))
});
raw!(ServiceImport, ServiceImport, |_| Object::ServiceImport);
