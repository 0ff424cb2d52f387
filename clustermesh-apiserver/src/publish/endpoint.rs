//! Pods: their addresses, and the identities that these carry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use topology::id::NumericIdentity;
use topology::record::{IpIdentity, Key, Labels, Record};

use super::{Publisher, Scope, Unit};
use crate::identity::{self, LabelText, POD_NAMESPACE};
use crate::objects::{Endpoint, Object, ObjectKey, ObjectKind, ObjectName, Pod};

/// What is known of pods beside the objects that describe them.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// The Cilium slices that each pod stands in.
    slices: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    /// What the mesh was shown of each pod.
    shown: BTreeMap<ObjectName, Shown>,
    /// Who claims each address, the first one first: it keeps the address until it goes.
    claims: BTreeMap<IpAddr, Vec<ObjectName>>,
    /// The pods whose record depends on their node.
    by_node: BTreeMap<Arc<str>, BTreeSet<ObjectName>>,
    /// The namespace of each identity that has one, and the other way round.
    identity_namespaces: BTreeMap<u32, Arc<str>>,
    identities: BTreeMap<Arc<str>, BTreeSet<u32>>,
}

/// What of a pod is claimed, counted and looked up elsewhere.
#[derive(Debug, Default)]
struct Shown {
    addresses: Vec<IpAddr>,
    /// Of a pod whose identity follows from its labels.
    labels: Option<LabelText>,
    node: Option<Arc<str>>,
}

/// The object that describes a pod best.
enum Described<'a> {
    Endpoint(&'a Endpoint),
    Pod(&'a Pod),
}

impl Described<'_> {
    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Endpoint(endpoint) => &endpoint.addresses,
            Self::Pod(pod) => &pod.addresses,
        }
    }
}

impl Workloads {
    pub(super) fn set_slice(&mut self, pod: &ObjectName, slice: &ObjectName, is_there: bool) {
        let slices = self.slices.entry(pod.clone()).or_default();
        if is_there {
            slices.insert(slice.clone());
        } else {
            slices.remove(slice);
        }
        if slices.is_empty() {
            self.slices.remove(pod);
        }
    }

    /// The pods of a namespace that stand in Cilium slices.
    pub(super) fn sliced_in(&self, namespace: &Arc<str>) -> impl Iterator<Item = ObjectName> {
        let first = ObjectName {
            namespace: Arc::clone(namespace),
            name: "".into(),
        };
        let pods = self.slices.range(first..).map(|(pod, _)| pod);
        pods.take_while(|it| it.namespace == *namespace).cloned()
    }

    pub(super) fn identities_in(&self, namespace: &str) -> impl Iterator<Item = u32> {
        self.identities
            .get(namespace)
            .into_iter()
            .flatten()
            .copied()
    }

    pub(super) fn on_node(&self, node: &str) -> impl Iterator<Item = ObjectName> {
        self.by_node.get(node).into_iter().flatten().cloned()
    }

    pub(super) fn addresses_of(&self, pod: &ObjectName) -> impl Iterator<Item = IpAddr> {
        let shown = self.shown.get(pod);
        shown.into_iter().flat_map(|it| &it.addresses).copied()
    }

    fn claim(&mut self, address: IpAddr, pod: &ObjectName) {
        match self.claims.get_mut(&address) {
            None => drop(self.claims.insert(address, vec![pod.clone()])),
            Some(claimants) if claimants.contains(pod) => (),
            Some(claimants) => claimants.push(pod.clone()),
        }
    }

    fn give_up(&mut self, address: IpAddr, pod: &ObjectName) {
        if let Some(claimants) = self.claims.get_mut(&address) {
            claimants.retain(|it| it != pod);
            if claimants.is_empty() {
                self.claims.remove(&address);
            }
        }
    }

    fn set_node(&mut self, pod: &ObjectName, before: Option<&Arc<str>>, after: Option<&Arc<str>>) {
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(pods) = self.by_node.get_mut(before)
        {
            pods.remove(pod);
            if pods.is_empty() {
                self.by_node.remove(before);
            }
        }
        if let Some(after) = after {
            let pods = self.by_node.entry(Arc::clone(after)).or_default();
            pods.insert(pod.clone());
        }
    }

    fn set_namespace(&mut self, identity: u32, namespace: Option<&str>) {
        if let Some(before) = self.identity_namespaces.remove(&identity)
            && let Some(numbers) = self.identities.get_mut(&before)
        {
            numbers.remove(&identity);
            if numbers.is_empty() {
                self.identities.remove(&before);
            }
        }
        if let Some(namespace) = namespace {
            let namespace: Arc<str> = namespace.into();
            let numbers = self.identities.entry(Arc::clone(&namespace)).or_default();
            numbers.insert(identity);
            self.identity_namespaces.insert(identity, namespace);
        }
    }
}

impl Publisher {
    /// Decides which addresses a pod claims, and which labels it needs a number for.
    pub(super) fn derive_workload(
        &mut self,
        name: &ObjectName,
        problems: &mut Vec<String>,
        now: u64,
    ) {
        let before = self.workloads.shown.remove(name).unwrap_or_default();
        let after = self.shown(name, problems);

        for address in &before.addresses {
            self.dirty.insert(Unit::Address(*address));
            if !after.addresses.contains(address) {
                self.workloads.give_up(*address, name);
            }
        }
        for address in &after.addresses {
            self.dirty.insert(Unit::Address(*address));
            self.workloads.claim(*address, name);
        }
        if before.labels != after.labels {
            if let Some(labels) = &after.labels {
                self.identities.take(labels, name.clone());
            }
            if let Some(labels) = &before.labels {
                self.identities.release(labels, name, now);
            }
        }
        let (node, node_before) = (after.node.as_ref(), before.node.as_ref());
        self.workloads.set_node(name, node_before, node);
        if !after.addresses.is_empty() {
            self.workloads.shown.insert(name.clone(), after);
        }
    }

    /// Gives an address to whoever claimed it first.
    pub(super) fn derive_address(&mut self, address: IpAddr, problems: &mut Vec<String>) {
        let key = Key::Ip(self.cluster.name.clone(), address.into());
        let claimants = self.workloads.claims.get(&address);
        let Some((owner, others)) = claimants.and_then(|it| it.split_first()) else {
            return self.records.hide(&key);
        };
        problems.extend(others.iter().map(|it| {
            format!("address {address} of Pod {it} is not published: Pod {owner} has it already")
        }));
        match self.ip_identity(address, owner) {
            Some(record) => {
                let scope = self.scoping.of_namespace(&owner.namespace);
                self.records.show(&key, scope, Record::Ip(record).encode());
            }
            None => self.records.hide(&key),
        }
    }

    pub(super) fn derive_identity(&mut self, number: u32) {
        let key = Key::Identity(self.cluster.name.clone(), NumericIdentity(number));
        let text = self.identities.labels(number).cloned();
        let labels = text.as_deref().map(Labels::parse);
        let namespace = labels.as_ref().and_then(|it| it.value(POD_NAMESPACE));
        self.workloads.set_namespace(number, namespace);
        match (text, namespace) {
            (Some(text), Some(namespace)) => {
                let scope = self.scoping.of_namespace(namespace);
                self.records.show(&key, scope, text.as_bytes().to_vec());
            }
            // One without a namespace is nobody's, and is never exported.
            _ => self.records.hide(&key),
        }
    }

    pub(super) fn derive_cilium_identity(&self, name: &Arc<str>, problems: &mut Vec<String>) {
        let key = key(ObjectKind::CiliumIdentity, &ObjectName::new("", name));
        let Some(Object::CiliumIdentity(labels)) = self.objects.get(&key).map(Arc::as_ref) else {
            return;
        };
        if self.identities.is_known(&labels.to_string()) {
            return; // The same in every cluster: nobody has to be told.
        }
        let range = self.identities.range();
        let is_ours = |it: u32| range.contains(&it);
        if !name.parse().is_ok_and(is_ours) {
            problems.push(format!(
                "CiliumIdentity {name:?} is not published: not one of this cluster's numbers, {} to {}",
                range.start(),
                range.end()
            ));
        }
    }

    fn shown(&self, name: &ObjectName, problems: &mut Vec<String>) -> Shown {
        let Some(described) = self.describe(name) else {
            return Shown::default();
        };
        let is_hidden = *self.scoping.of_namespace(&name.namespace) == Scope::Nobody;
        if is_hidden || described.addresses().is_empty() {
            return Shown::default();
        }
        let addresses = described.addresses().to_vec();
        match described {
            Described::Endpoint(endpoint) => {
                let number = NumericIdentity(endpoint.identity);
                let range = self.identities.range();
                if !number.is_reserved() && !range.contains(&number.0) {
                    problems.push(format!(
                        "CiliumEndpoint {name} is not published: its identity {number} is not one of \
                         this cluster's numbers, {} to {}",
                        range.start(),
                        range.end()
                    ));
                    return Shown::default();
                }
                Shown {
                    addresses,
                    ..Shown::default()
                }
            }
            Described::Pod(pod) => Shown {
                addresses,
                labels: Some(self.labels(name, pod).to_string().into()),
                node: Some(pod.node.as_str().into()),
            },
        }
    }

    /// Cilium knows its endpoints better than the pod does.
    fn describe(&self, name: &ObjectName) -> Option<Described<'_>> {
        let object = |kind| self.objects.get(&key(kind, name)).map(Arc::as_ref);
        if let Some(Object::CiliumEndpoint(endpoint)) = object(ObjectKind::CiliumEndpoint) {
            return Some(Described::Endpoint(endpoint));
        }
        let slices = self.workloads.slices.get(name).into_iter().flatten();
        for slice in slices {
            let slice = self
                .objects
                .get(&key(ObjectKind::CiliumEndpointSlice, slice));
            if let Some(Object::CiliumEndpointSlice(list)) = slice.map(Arc::as_ref)
                && let Some((_, it)) = list.endpoints.iter().find(|(pod, _)| *pod == name.name)
            {
                return Some(Described::Endpoint(it));
            }
        }
        match object(ObjectKind::Pod) {
            Some(Object::Pod(pod)) => Some(Described::Pod(pod)),
            _ => None,
        }
    }

    fn labels(&self, name: &ObjectName, pod: &Pod) -> Labels {
        let none = BTreeMap::new();
        let namespace = key(ObjectKind::Namespace, &ObjectName::new("", &name.namespace));
        let namespace_labels = match self.objects.get(&namespace).map(Arc::as_ref) {
            Some(Object::Namespace(namespace)) => &namespace.labels,
            _ => &none,
        };
        identity::labels(
            &self.cluster.name,
            &name.namespace,
            namespace_labels,
            &pod.service_account,
            &pod.labels,
        )
    }

    fn ip_identity(&self, address: IpAddr, owner: &ObjectName) -> Option<IpIdentity> {
        let record = IpIdentity {
            address,
            mask: None,
            host: None,
            identity: NumericIdentity(0),
            encryption_key: 0,
            metadata: String::new(),
            namespace: owner.namespace.to_string(),
            pod: owner.name.to_string(),
            service_account: String::new(),
            named_ports: Vec::new(),
        };
        match self.describe(owner)? {
            Described::Endpoint(endpoint) => Some(IpIdentity {
                host: endpoint.host,
                identity: NumericIdentity(endpoint.identity),
                encryption_key: endpoint.encryption_key,
                service_account: endpoint.service_account.to_string(),
                named_ports: endpoint.named_ports.to_vec(),
                ..record
            }),
            Described::Pod(pod) => {
                let labels = self.workloads.shown.get(owner)?.labels.as_ref()?;
                let node = self.node(&pod.node);
                Some(IpIdentity {
                    host: pod.host.or_else(|| node.as_ref()?.internal_address()),
                    identity: NumericIdentity(self.identities.number(labels)?),
                    encryption_key: node.as_ref().map_or(0, |it| it.encryption_key),
                    service_account: pod.service_account.clone(),
                    named_ports: pod.named_ports.clone(),
                    ..record
                })
            }
        }
    }
}

pub(super) fn key(kind: ObjectKind, name: &ObjectName) -> ObjectKey {
    ObjectKey {
        kind,
        name: name.clone(),
    }
}
