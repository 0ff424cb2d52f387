//! EndpointSlices of shared services, which newer peers read: a protocol buffer in a zstd frame.
//!
//! The message's fields are those of upstream's `ClusterEndpointSlice` (proto2): unset fields are
//! left out, and maps are written in the order of their keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use topology::id::ServiceName;
use topology::record::Key;

use super::endpoint::key;
use super::{Cluster, Publisher, service};
use crate::objects::{Object, ObjectKind, ObjectName};

impl Publisher {
    pub(super) fn derive_endpoint_slice(&mut self, name: &ObjectName, problems: &mut Vec<String>) {
        let Ok(key_name) = ServiceName::new(&name.namespace, &name.name) else {
            let problem = format!("EndpointSlice {name} is not published: not a DNS name");
            problems.push(problem);
            return;
        };
        let record_key = Key::EndpointSlice(self.cluster.name.clone(), key_name);
        let object = self.objects.get(&key(ObjectKind::EndpointSlice, name));
        let Some(Object::EndpointSlice(slice)) = object.map(Arc::as_ref) else {
            return self.records.hide(&record_key);
        };
        let service = service::service_of(name, slice);
        let scope = service.and_then(|it| self.exported(&it));
        let Some(scope) = scope.filter(|it| !it.is_nobody()) else {
            return self.records.hide(&record_key);
        };
        let message = message(slice, name, &self.cluster);
        let value = zstd::bulk::compress(&message, zstd::DEFAULT_COMPRESSION_LEVEL)
            .expect("compressing from memory to memory has no way to fail");
        self.records.show(&record_key, &scope, value);
    }
}

fn message(slice: &EndpointSlice, name: &ObjectName, cluster: &Cluster) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, cluster.name.as_str());
    message.number(2, cluster.id.get().into());
    message.text(3, &name.namespace);
    message.text(4, &name.name);
    message.map(5, slice.metadata.labels.as_ref());
    message.map(6, slice.metadata.annotations.as_ref());
    message.text(7, &slice.address_type);
    for it in &slice.endpoints {
        message.nested(8, &endpoint(it));
    }
    for it in slice.ports.as_deref().unwrap_or(&[]) {
        message.nested(9, &port(it));
    }
    message.0
}

fn endpoint(endpoint: &Endpoint) -> Message {
    let mut message = Message::default();
    for address in &endpoint.addresses {
        message.text(1, address);
    }
    if let Some(it) = &endpoint.conditions {
        let mut conditions = Message::default();
        conditions.flag(1, it.ready);
        conditions.flag(2, it.serving);
        conditions.flag(3, it.terminating);
        message.nested(2, &conditions);
    }
    message.optional_text(3, endpoint.hostname.as_deref());
    message.map(5, endpoint.deprecated_topology.as_ref());
    message.optional_text(6, endpoint.node_name.as_deref());
    message.optional_text(7, endpoint.zone.as_deref());
    if let Some(it) = &endpoint.hints {
        let mut hints = Message::default();
        for zone in it.for_zones.as_deref().unwrap_or(&[]) {
            let mut for_zone = Message::default();
            for_zone.text(1, &zone.name);
            hints.nested(1, &for_zone);
        }
        message.nested(8, &hints);
    }
    message
}

fn port(port: &EndpointPort) -> Message {
    let mut message = Message::default();
    message.optional_text(1, port.name.as_deref());
    message.optional_text(2, port.protocol.as_deref());
    if let Some(port) = port.port {
        // Protocol buffers extend an int32's sign to 64 bits.
        message.number(3, i64::from(port).cast_unsigned());
    }
    message.optional_text(4, port.app_protocol.as_deref());
    message
}

/// An encoded message that grows field by field.
#[derive(Default)]
struct Message(Vec<u8>);

/// How a field's value is laid out.
enum WireType {
    Length = 2,
    Varint = 0,
}

impl Message {
    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn optional_text(&mut self, field: u32, text: Option<&str>) {
        if let Some(text) = text {
            self.text(field, text);
        }
    }

    fn number(&mut self, field: u32, number: u64) {
        self.tag(field, WireType::Varint);
        self.varint(number);
    }

    fn flag(&mut self, field: u32, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.number(field, flag.into());
        }
    }

    fn map(&mut self, field: u32, map: Option<&BTreeMap<String, String>>) {
        for (key, value) in map.into_iter().flatten() {
            let mut entry = Self::default();
            entry.text(1, key);
            entry.text(2, value);
            self.nested(field, &entry);
        }
    }

    fn nested(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, WireType::Length);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn tag(&mut self, field: u32, wire_type: WireType) {
        self.varint(u64::from(field) << 3 | wire_type as u64);
    }

    /// Seven bits per byte, lowest first; the top bit says that more follow.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0
                .push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).expect("below 0x80"));
    }
}
