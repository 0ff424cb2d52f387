//! Pods: their addresses, and the identities that these carry.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodSpec, PodStatus};
use topology::id::{NodeName, NumericIdentity};
use topology::record::{IpIdentity, Key, Labels, NamedPort, Node, Record};
use topology::service::Protocol;

use super::{Draft, is_global};
use crate::identity::{self, Numbers, POD_NAMESPACE};
use crate::objects::cilium::CiliumEndpoint;
use crate::objects::{ObjectName, Objects};

type Nodes = BTreeMap<NodeName, Node>;

/// Publishes identities and addresses, and returns the numbers given to pods without a
/// `CiliumEndpoint`.
pub(super) fn publish(
    objects: &Objects,
    nodes: &Nodes,
    held: &Numbers,
    draft: &mut Draft<'_>,
) -> Numbers {
    let fixed = publish_cilium_identities(objects, draft);
    let mut owners = Owners::default();
    for (name, object) in &objects.cilium_endpoints {
        if is_global(objects, &name.namespace) {
            for record in cilium_addresses(name, object) {
                owners.put(name, record, draft);
            }
        }
    }

    let pods = pods_on_the_mesh(objects, draft);
    let wanted: BTreeSet<String> = pods.iter().map(|it| it.labels.to_string()).collect();
    let range = draft.cluster.id.identity_range(draft.cluster.mesh);
    let numbers = identity::allocate(&wanted, &fixed, held, &range);
    for pod in &pods {
        publish_pod(pod, &numbers, nodes, &mut owners, draft);
    }
    if numbers.len() < wanted.len() {
        let missing = wanted.len() - numbers.len();
        draft.problems.push(format!(
            "{missing} kinds of pods are not published: all {} identities of the cluster are taken",
            range.count()
        ));
    }
    numbers
}

/// Publishes the identities that exist as objects, and returns their numbers.
fn publish_cilium_identities(objects: &Objects, draft: &mut Draft<'_>) -> Numbers {
    let mut fixed = Numbers::new();
    for (name, object) in &objects.cilium_identities {
        let Ok(number) = name.parse() else {
            let problem = format!("CiliumIdentity {name:?} is not published: not a number");
            draft.problems.push(problem);
            continue;
        };
        let mut labels = Labels::default();
        for (key, value) in &object.security_labels {
            let (source, key) = key.split_once(':').unwrap_or(("", key));
            labels.insert(source, key, value);
        }
        fixed.insert(labels.to_string(), number);
        // One without a namespace is nobody's, and is never exported.
        if labels
            .value(POD_NAMESPACE)
            .is_some_and(|it| is_global(objects, it))
        {
            publish_identity(number, labels, draft);
        }
    }
    fixed
}

fn publish_identity(number: u32, labels: Labels, draft: &mut Draft<'_>) {
    let key = Key::Identity(draft.cluster.name.clone(), NumericIdentity(number));
    draft.put(&key, &Record::Identity(labels));
}

fn cilium_addresses(name: &ObjectName, object: &CiliumEndpoint) -> Vec<IpIdentity> {
    let status = &object.status;
    let named_ports = status.named_ports.iter().filter_map(|it| {
        Some(NamedPort {
            name: it.name.clone(),
            port: it.port,
            protocol: protocol(Some(&it.protocol))?,
        })
    });
    let named_ports: Vec<NamedPort> = named_ports.collect();
    let addressing = status.networking.addressing.iter();
    addressing
        .flat_map(|it| [&it.ipv4, &it.ipv6])
        .filter_map(|it| it.parse().ok())
        .map(|address| IpIdentity {
            address,
            mask: None,
            host: status.networking.node.parse().ok(),
            identity: NumericIdentity(status.identity.id),
            encryption_key: status.encryption.key,
            metadata: String::new(),
            namespace: name.namespace.clone(),
            pod: name.name.clone(),
            service_account: status.service_account.clone(),
            named_ports: named_ports.clone(),
        })
        .collect()
}

/// A pod whose addresses are the mesh's concern.
struct MeshPod<'a> {
    name: &'a ObjectName,
    spec: &'a PodSpec,
    status: &'a PodStatus,
    addresses: Vec<IpAddr>,
    labels: Labels,
}

/// Pods with an address of their own, which no `CiliumEndpoint` describes better.
fn pods_on_the_mesh<'a>(objects: &'a Objects, draft: &Draft<'_>) -> Vec<MeshPod<'a>> {
    let pods = objects.pods.iter();
    pods.filter(|(name, _)| !objects.cilium_endpoints.contains_key(name))
        .filter(|(name, _)| is_global(objects, &name.namespace))
        .filter_map(|(name, pod)| {
            let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
            let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
            let addresses = addresses(status);
            if ended || spec.host_network == Some(true) || addresses.is_empty() {
                return None;
            }
            Some(MeshPod {
                name,
                spec,
                status,
                addresses,
                labels: labels(objects, name, pod, spec, draft),
            })
        })
        .collect()
}

fn labels(
    objects: &Objects,
    name: &ObjectName,
    pod: &Pod,
    spec: &PodSpec,
    draft: &Draft<'_>,
) -> Labels {
    let none = BTreeMap::new();
    let namespace = objects.namespaces.get(&name.namespace);
    let namespace_labels = namespace.and_then(|it| it.metadata.labels.as_ref());
    identity::labels(
        &draft.cluster.name,
        &name.namespace,
        namespace_labels.unwrap_or(&none),
        service_account(spec),
        pod.metadata.labels.as_ref().unwrap_or(&none),
    )
}

fn publish_pod(
    pod: &MeshPod<'_>,
    numbers: &Numbers,
    nodes: &Nodes,
    owners: &mut Owners,
    draft: &mut Draft<'_>,
) {
    let Some(number) = numbers.get(&pod.labels.to_string()) else {
        return;
    };
    publish_identity(*number, pod.labels.clone(), draft);
    let node = pod
        .spec
        .node_name
        .as_deref()
        .and_then(|it| nodes.get(&it.parse().ok()?));
    let host = pod.status.host_ip.as_deref().and_then(|it| it.parse().ok());
    for address in &pod.addresses {
        let record = IpIdentity {
            address: *address,
            mask: None,
            host: host.or_else(|| node?.internal_address()),
            identity: NumericIdentity(*number),
            encryption_key: node.map_or(0, |it| it.encryption_key),
            metadata: String::new(),
            namespace: pod.name.namespace.clone(),
            pod: pod.name.name.clone(),
            service_account: service_account(pod.spec).to_owned(),
            named_ports: named_ports(pod.spec),
        };
        owners.put(pod.name, record, draft);
    }
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let all = status.pod_ips.as_deref().unwrap_or(&[]);
    let mut addresses: Vec<IpAddr> = all.iter().filter_map(|it| it.ip.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(
            status
                .pod_ip
                .as_ref()
                .and_then(|it| it.parse::<IpAddr>().ok()),
        );
    }
    addresses
}

fn service_account(spec: &PodSpec) -> &str {
    let name = spec.service_account_name.as_deref();
    name.filter(|it| !it.is_empty()).unwrap_or("default")
}

fn named_ports(spec: &PodSpec) -> Vec<NamedPort> {
    let containers = spec.containers.iter();
    let ports = containers.flat_map(|it| it.ports.as_deref().unwrap_or(&[]));
    ports.filter_map(named_port).collect()
}

fn named_port(port: &ContainerPort) -> Option<NamedPort> {
    Some(NamedPort {
        name: port.name.clone()?,
        port: port.container_port.try_into().ok()?,
        protocol: protocol(port.protocol.as_deref())?,
    })
}

/// Kubernetes' default is TCP; `None` for a protocol that no service can have.
pub(super) fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.unwrap_or_default() {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// Which object has each address: the first one, where two claim the same.
#[derive(Default)]
struct Owners(BTreeMap<IpAddr, ObjectName>);

impl Owners {
    fn put(&mut self, name: &ObjectName, record: IpIdentity, draft: &mut Draft<'_>) {
        let address = record.address;
        if let Some(owner) = self.0.get(&address) {
            let problem = format!(
                "address {address} of Pod {name} is not published: Pod {owner} has it already"
            );
            draft.problems.push(problem);
            return;
        }
        self.0.insert(address, name.clone());
        let key = Key::Ip(draft.cluster.name.clone(), address.into());
        draft.put(&key, &Record::Ip(record));
    }
}
