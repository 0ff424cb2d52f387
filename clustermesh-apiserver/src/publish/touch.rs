//! Decides what an object touches: what is derived again when it changes.

use std::sync::Arc;

use super::{Publisher, Unit, service};
use crate::objects::{EndpointList, Namespace, Object, ObjectKey, ObjectKind, ObjectName};

impl Publisher {
    pub(super) fn touch(
        &mut self,
        key: ObjectKey,
        before: Option<&Object>,
        after: Option<&Object>,
        now: u64,
    ) {
        let name = key.name;
        match key.kind {
            ObjectKind::CiliumEndpoint | ObjectKind::Pod => self.mark(Unit::Workload(name)),
            ObjectKind::CiliumEndpointSlice => {
                for (slice, is_there) in [(before, false), (after, true)] {
                    if let Some(Object::CiliumEndpointSlice(slice)) = slice {
                        self.touch_workloads(&name, slice, is_there);
                    }
                }
            }
            ObjectKind::CiliumIdentity => self.touch_identity(&name, after, now),
            ObjectKind::CiliumNode | ObjectKind::Node => self.mark(Unit::Node(name.name)),
            ObjectKind::EndpointSlice => {
                for (slice, is_there) in [(before, false), (after, true)] {
                    if let Some(Object::EndpointSlice(slice)) = slice
                        && let Some(service) = service::service_of(&name, slice)
                    {
                        self.services.set_slice(&service, &name, is_there);
                        self.mark(Unit::Service(service));
                    }
                }
                self.mark(Unit::EndpointSlice(name));
            }
            ObjectKind::Namespace => self.touch_namespace(&name.name, before, after),
            ObjectKind::Service => {
                self.mark_slices(&name);
                self.mark(Unit::ServiceExport(name.clone()));
                self.mark(Unit::Service(name));
            }
            ObjectKind::ServiceExport => self.mark(Unit::ServiceExport(name)),
            ObjectKind::ServiceImport => (),
        }
    }

    fn touch_workloads(&mut self, slice: &ObjectName, list: &EndpointList, is_there: bool) {
        for (pod, _) in &list.endpoints {
            let workload = ObjectName {
                namespace: Arc::clone(&list.namespace),
                name: Arc::clone(pod),
            };
            self.workloads.set_slice(&workload, slice, is_there);
            self.mark(Unit::Workload(workload));
        }
    }

    fn touch_identity(&mut self, name: &ObjectName, after: Option<&Object>, now: u64) {
        self.mark(Unit::CiliumIdentity(Arc::clone(&name.name)));
        let number = name.name.parse().ok();
        let Some(number) = number.filter(|it| self.identities.range().contains(it)) else {
            return;
        };
        let labels = match after {
            Some(Object::CiliumIdentity(labels)) => Some(labels.to_string().into()),
            _ => None,
        };
        let moved = self.identities.fix(number, labels, now);
        self.follow(moved);
    }

    fn touch_namespace(
        &mut self,
        name: &Arc<str>,
        before: Option<&Object>,
        after: Option<&Object>,
    ) {
        self.mark(Unit::Namespace(Arc::clone(name)));
        let (before, after) = (namespace(before), namespace(after));
        if self.scoping.set(name, after) {
            self.mark_all(ObjectKind::CiliumEndpoint, name, Unit::Workload);
            self.mark_all(ObjectKind::EndpointSlice, name, Unit::EndpointSlice);
            self.mark_all(ObjectKind::Pod, name, Unit::Workload);
            self.mark_all(ObjectKind::Service, name, Unit::Service);
            self.mark_all(ObjectKind::ServiceExport, name, Unit::ServiceExport);
            let sliced = self.workloads.sliced_in(name);
            self.dirty.extend(sliced.map(Unit::Workload));
            let numbers = self.workloads.identities_in(name);
            self.dirty.extend(numbers.map(Unit::Identity));
        } else if before.map(|it| &it.labels) != after.map(|it| &it.labels) {
            self.mark_all(ObjectKind::Pod, name, Unit::Workload);
        }
    }

    /// Marks what the objects of a kind in a namespace are derived into.
    fn mark_all(&mut self, kind: ObjectKind, namespace: &Arc<str>, unit: fn(ObjectName) -> Unit) {
        let first = ObjectKey {
            kind,
            name: ObjectName {
                namespace: Arc::clone(namespace),
                name: "".into(),
            },
        };
        let keys = self.objects.range(first..).map(|(key, _)| key);
        let keys = keys.take_while(|it| it.kind == kind && it.name.namespace == *namespace);
        self.dirty.extend(keys.map(|it| unit(it.name.clone())));
    }

    fn mark_slices(&mut self, service: &ObjectName) {
        let slices = self.services.slices(service).cloned();
        self.dirty.extend(slices.map(Unit::EndpointSlice));
    }

    fn mark(&mut self, unit: Unit) {
        self.dirty.insert(unit);
    }
}

fn namespace(object: Option<&Object>) -> Option<&Namespace> {
    match object {
        Some(Object::Namespace(namespace)) => Some(namespace),
        _ => None,
    }
}
