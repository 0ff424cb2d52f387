//! Decides what an operator permits a remote cluster to announce, whatever it says of itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;

use ipnet::IpNet;
use serde::Deserialize;
use topology::id::{ClusterId, ClusterName, ServiceName};
use topology::record::{AddressKind, IpIdentity, Key, Labels, Node, Record};

/// `<cluster>.contract.yaml` beside the peer's configuration file. What it does not name is not
/// restricted; an empty list permits nothing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Contract {
    pub cluster: PinnedCluster,
    #[serde(rename = "podCIDRs")]
    pub pod_prefixes: Option<Vec<IpNet>>,
    #[serde(rename = "nodeCIDRs")]
    pub node_prefixes: Option<Vec<IpNet>>,
    pub namespaces: Option<BTreeSet<String>>,
    pub limits: Limits,
}

/// Who the peer must say it is; its id also decides which identities it may announce.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PinnedCluster {
    pub name: Option<ClusterName>,
    pub id: Option<ClusterId>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Records of all kinds together.
    pub objects: Option<usize>,
    /// Of keys and values together.
    pub bytes: Option<usize>,
    /// Beyond it changes wait, and none is dropped: the peer would stay wrong for ever.
    pub changes_per_second: Option<NonZeroU32>,
}

/// What the contract's file is called, after the cluster's name.
pub const CONTRACT_SUFFIX: &str = ".contract.yaml";

/// How a record breaks the contract.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Breach {
    pub(super) reason: &'static str,
    pub(super) what: String,
}

impl Contract {
    /// Reads the contract with the cluster `name`. A problem names file, line and column.
    pub fn parse(path: &Path, name: &str, text: &str) -> Result<Self, String> {
        let contract: Self = serde_saphyr::from_str(text).map_err(|error| {
            let problem = error.without_snippet().to_string();
            let problem = problem.lines().next().unwrap_or_default();
            match error.location() {
                Some(it) => {
                    let (line, column) = (it.line(), it.column());
                    let place = format!(" at line {line}, column {column}");
                    let problem = problem.replace(&place, "");
                    format!("{}:{line}:{column}: {problem}", path.display())
                }
                None => format!("{}: {problem}", path.display()),
            }
        })?;
        match &contract.cluster.name {
            Some(pinned) if pinned.as_str() != name => Err(format!(
                "{}: cluster.name is {pinned}, but the file's name says {name}",
                path.display()
            )),
            Some(_) | None => Ok(contract),
        }
    }

    /// Whether the peer may announce a record.
    pub(super) fn check(&self, key: &Key, record: &Record) -> Result<(), Breach> {
        match key {
            Key::DeltaBackend(_, service, address) => {
                self.check_namespace(service.namespace())?;
                self.check_backend(*address)?;
            }
            Key::DeltaService(_, service)
            | Key::Service(_, service)
            | Key::ServiceExport(_, service) => self.check_service(service, record)?,
            Key::EndpointSlice(cluster, slice) => {
                self.check_namespace(slice.namespace())?;
                if let Record::Opaque(frame) = record {
                    self.check_endpoint_slice(cluster, slice, frame)?;
                }
            }
            Key::ClusterConfig(_)
            | Key::Identity(..)
            | Key::Ip(..)
            | Key::LocalService(..)
            | Key::Node(..)
            | Key::OwnCapabilities(_)
            | Key::OwnSynced(_)
            | Key::Peer(_)
            | Key::Pulse(_)
            | Key::Reach(..)
            | Key::Synced(..)
            | Key::TunnelEnd(..) => (),
        }
        match record {
            Record::Identity(labels) => self.check_identity(labels),
            Record::Ip(ip) => self.check_ip(ip),
            Record::Node(node) => self.check_node(node),
            Record::Backend(_)
            | Record::ClusterConfig(_)
            | Record::LocalService(_)
            | Record::Opaque(_)
            | Record::OwnCapabilities(_)
            | Record::Peer(_)
            | Record::Pulse(_)
            | Record::Reach(_)
            | Record::Service(_)
            | Record::Synced(_)
            | Record::TunnelEnd(_) => Ok(()),
        }
    }

    fn check_service(&self, name: &ServiceName, record: &Record) -> Result<(), Breach> {
        self.check_namespace(name.namespace())?;
        let Record::Service(service) = record else {
            return Ok(());
        };
        let mut backends = service.backends.keys();
        backends.try_for_each(|it| self.check_backend(*it))
    }

    fn check_identity(&self, labels: &Labels) -> Result<(), Breach> {
        if self.namespaces.is_none() {
            return Ok(());
        }
        self.check_namespace(labels.value(NAMESPACE_LABEL).unwrap_or_default())
    }

    fn check_ip(&self, ip: &IpIdentity) -> Result<(), Breach> {
        if !ip.namespace.is_empty() {
            self.check_namespace(&ip.namespace)?;
        }
        if let Some(host) = ip.host {
            self.check_node_address(host)?;
        }
        let prefix = ip.prefix().unwrap_or_else(|| ip.address.into());
        // What stands for a node and not for a pod has the node's address.
        let is_unbounded_node = ip.identity.is_reserved() && self.node_prefixes.is_none();
        if is_unbounded_node || self.is_any_prefix(prefix) {
            return Ok(());
        }
        Err(breach(
            "address",
            format!("{prefix} is in none of its podCIDRs"),
        ))
    }

    fn check_node(&self, node: &Node) -> Result<(), Breach> {
        for it in &node.addresses {
            match it.kind {
                AddressKind::InternalIP | AddressKind::ExternalIP => {
                    self.check_node_address(it.address)?;
                }
                AddressKind::CiliumInternalIP => self.check_backend(it.address)?,
                AddressKind::ExternalDNS | AddressKind::Hostname | AddressKind::InternalDNS => (),
            }
        }
        let mut prefixes = node.pod_prefixes();
        match prefixes.find(|it| !is_within(self.pod_prefixes.as_deref(), *it)) {
            Some(prefix) => {
                let what = format!("the pod prefix {prefix} is in none of its podCIDRs");
                Err(breach("pod-prefix", what))
            }
            None => Ok(()),
        }
    }

    fn check_namespace(&self, namespace: &str) -> Result<(), Breach> {
        if self
            .namespaces
            .as_ref()
            .is_none_or(|it| it.contains(namespace))
        {
            return Ok(());
        }
        let what = format!("the namespace {namespace:?} is none of its namespaces");
        Err(breach("namespace", what))
    }

    fn check_node_address(&self, address: IpAddr) -> Result<(), Breach> {
        if is_within(self.node_prefixes.as_deref(), address.into()) {
            return Ok(());
        }
        let what = format!("the node address {address} is in none of its nodeCIDRs");
        Err(breach("node-address", what))
    }

    pub(super) fn check_backend(&self, address: IpAddr) -> Result<(), Breach> {
        if self.is_any_prefix(address.into()) {
            return Ok(());
        }
        let what = format!("{address} is in none of its podCIDRs and nodeCIDRs");
        Err(breach("backend-address", what))
    }

    /// Whether pods may have these addresses, those in the network of their node included.
    fn is_any_prefix(&self, prefix: IpNet) -> bool {
        is_within(self.pod_prefixes.as_deref(), prefix)
            || (self.node_prefixes.is_some() && is_within(self.node_prefixes.as_deref(), prefix))
    }
}

const NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";

fn is_within(prefixes: Option<&[IpNet]>, prefix: IpNet) -> bool {
    prefixes.is_none_or(|all| all.iter().any(|it| it.contains(&prefix)))
}

pub(super) fn breach(reason: &'static str, what: String) -> Breach {
    Breach { reason, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_contract_and_says_where_it_is_wrong() {
        let contract = parse(
            "cluster: {name: eu, id: 3}\npodCIDRs: [10.1.0.0/16, fd00::/64]\nnodeCIDRs: [192.0.2.0/24]\n\
             namespaces: [shop]\nlimits: {objects: 10, bytes: 1000, changesPerSecond: 5}\n",
        )
        .unwrap();
        assert_eq!(contract.cluster.id, Some(3.try_into().unwrap()));
        assert_eq!(contract.pod_prefixes.unwrap().len(), 2);
        assert_eq!(contract.limits.objects, Some(10));
        assert_eq!(parse("{}"), Ok(Contract::default()));

        check_problem("podCIDRs: [x]", "/mesh/eu.contract.yaml:1:12: ");
        check_problem("cluster: {}\nlimit: {}", "/mesh/eu.contract.yaml:2:1: ");
        check_problem("cluster: {id: 0}", "/mesh/eu.contract.yaml:1:");
        check_problem(
            "cluster: {name: us}",
            "/mesh/eu.contract.yaml: cluster.name is us, but the file's name says eu",
        );
    }

    #[test]
    fn permits_what_it_names_and_nothing_else() {
        let ip = "cilium/state/ip/v1/default/";
        check(ip, "10.1.0.9", r#"{"IP":"10.1.0.9","ID":65537}"#, None);
        check(
            ip,
            "10.2.0.9",
            r#"{"IP":"10.2.0.9","ID":65537}"#,
            Some("address"),
        );
        check(ip, "192.0.2.1", r#"{"IP":"192.0.2.1","ID":1}"#, None);
        let elsewhere = r#"{"IP":"10.1.0.9","ID":65537,"HostIP":"198.51.100.1"}"#;
        check(ip, "10.1.0.9", elsewhere, Some("node-address"));
        let secret = r#"{"IP":"10.1.0.9","ID":65537,"K8sNamespace":"secret"}"#;
        check(ip, "10.1.0.9", secret, Some("namespace"));

        let id = "cilium/state/identities/v1/id/";
        let shop = "k8s:io.cilium.k8s.policy.cluster=eu;k8s:io.kubernetes.pod.namespace=shop;";
        check(id, "65537", shop, None);
        let nowhere = "k8s:io.cilium.k8s.policy.cluster=eu;";
        check(id, "65537", nowhere, Some("namespace"));

        let service = |address: &str| {
            format!(
                r#"{{"cluster":"eu","namespace":"shop","name":"web","backends":{{"{address}":{{}}}},"clusterID":1}}"#
            )
        };
        let services = "cilium/state/services/v1/eu/shop/";
        check(services, "web", &service("10.1.0.9"), None);
        check(
            services,
            "web",
            &service("10.3.0.9"),
            Some("backend-address"),
        );
        let backends = "causeway/delta/services/v1/eu/shop/web/";
        check(backends, "10.1.0.9", r#"{"ports":{}}"#, None);
        check(
            backends,
            "10.3.0.9",
            r#"{"ports":{}}"#,
            Some("backend-address"),
        );
        check("cilium/state/endpointslices/v1/eu/", "shop/a", "", None);
        let other = "cilium/state/serviceexports/v1/eu/";
        check(other, "other/a", "", Some("namespace"));

        let node = |prefix: &str| {
            format!(
                r#"{{"Name":"n","Cluster":"eu","IPAddresses":[{{"Type":"InternalIP","IP":"192.0.2.7"}}],
                "IPv4AllocCIDR":{{"IP":"{prefix}","Mask":"////AA=="}},"ClusterID":1}}"#
            )
        };
        check("cilium/state/nodes/v1/eu/", "n", &node("10.1.4.0"), None);
        let breach = Some("pod-prefix");
        check("cilium/state/nodes/v1/eu/", "n", &node("10.4.4.0"), breach);
    }

    #[track_caller]
    fn check(prefix: &str, name: &str, value: &str, expected: Option<&str>) {
        let contract =
            parse("podCIDRs: [10.1.0.0/16]\nnodeCIDRs: [192.0.2.0/24]\nnamespaces: [shop]\n")
                .unwrap();
        let key = format!("{prefix}{name}");
        let key = Key::parse(&key, &"eu".parse().unwrap()).unwrap().unwrap();
        let record = Record::decode(&key, value.as_bytes(), None).unwrap();

        let reason = contract.check(&key, &record).err().map(|it| it.reason);
        assert_eq!(reason, expected, "{key:?}: {value}");
    }

    fn parse(text: &str) -> Result<Contract, String> {
        Contract::parse(Path::new("/mesh/eu.contract.yaml"), "eu", text)
    }

    #[track_caller]
    fn check_problem(text: &str, expected: &str) {
        let problem = parse(text).unwrap_err();
        assert!(problem.starts_with(expected), "{problem}");
    }
}
