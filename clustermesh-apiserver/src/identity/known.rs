//! Decides which labels have a number that is not one of the cluster's own: what Cilium reserves,
//! what it knows well, and what an operator fixed.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use topology::id::ClusterName;
use topology::record::{CLUSTER_LABEL, Labels};

use super::{LabelText, NAMESPACE_NAME, POD_NAMESPACE, SERVICE_ACCOUNT};

/// Which of them apply: the same as in the agents of this cluster.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// Give DNS servers and Cilium's operator the numbers from 100 that Cilium knows for them; as its
    /// agents' option of this name, which its chart switches off
    #[arg(
        long = "well-known-identities",
        env = "CAUSEWAY_WELL_KNOWN_IDENTITIES",
        alias = "enable-well-known-identities"
    )]
    pub is_well_known: bool,

    /// Namespace of Cilium's operator, for --well-known-identities
    #[arg(
        long,
        env = "CAUSEWAY_CILIUM_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = KUBE_SYSTEM
    )]
    pub cilium_namespace: String,

    /// Numbers from 128 to 255 for pods with the label io.cilium.fixed-identity=NAME; as Cilium's
    /// agents' option of this name
    #[arg(
        long,
        env = "CAUSEWAY_FIXED_IDENTITY_MAPPING",
        value_name = "N=NAME",
        value_delimiter = ','
    )]
    pub fixed_identity_mapping: Vec<FixedIdentity>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            is_well_known: false,
            cilium_namespace: KUBE_SYSTEM.to_owned(),
            fixed_identity_mapping: Vec::new(),
        }
    }
}

/// A number that pods ask for by a name: `128=kv-store`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FixedIdentity {
    number: u32,
    name: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a number from 128 to 255 with a name, such as 128=kv-store")]
pub struct InvalidFixedIdentity(String);

impl FromStr for FixedIdentity {
    type Err = InvalidFixedIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(number, name)| {
            let number = number.parse().ok().filter(|it| (128..256).contains(it))?;
            let is_label = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
            (!name.is_empty() && name.bytes().all(is_label)).then(|| (number, name.to_owned()))
        });
        let (number, name) = parts.ok_or_else(|| InvalidFixedIdentity(text.to_owned()))?;
        Ok(Self { number, name })
    }
}

/// The numbers below 256, by the labels that have them.
///
/// They mean the same in every cluster, so nobody has to be told: there is no record of them.
#[derive(Debug, Default)]
pub struct Known {
    well_known: BTreeMap<LabelText, u32>,
    fixed: BTreeMap<String, u32>,
}

impl Known {
    pub fn new(cluster: &ClusterName, options: &Options) -> Self {
        let fixed = options.fixed_identity_mapping.iter();
        Self {
            well_known: match options.is_well_known {
                true => well_known(cluster, &options.cilium_namespace),
                false => BTreeMap::new(),
            },
            fixed: fixed.map(|it| (it.name.clone(), it.number)).collect(),
        }
    }

    /// The number of a label string; a name that nobody fixed has none of these.
    pub fn number(&self, labels: &str) -> Option<u32> {
        if let Some(number) = self.well_known.get(labels) {
            return Some(*number);
        }
        if !self.fixed.is_empty() && labels.contains(FIXED_IDENTITY) {
            let labels = Labels::parse(labels);
            return self.fixed.get(labels.value(FIXED_IDENTITY)?).copied();
        }
        let name = labels.strip_prefix("reserved:")?;
        reserved_number(labels).or_else(|| self.fixed.get(name.strip_suffix("=;")?).copied())
    }
}

const FIXED_IDENTITY: &str = "io.cilium.fixed-identity";

/// The number that upstream reserves for a label string: a single label with the source `reserved`,
/// but for the API server's nodes, which are remote nodes too.
fn reserved_number(labels: &str) -> Option<u32> {
    const RESERVED: [&str; 10] = [
        "host",
        "world",
        "unmanaged",
        "health",
        "init",
        "remote-node",
        "kube-apiserver",
        "ingress",
        "world-ipv4",
        "world-ipv6",
    ];
    if labels == "reserved:kube-apiserver=;reserved:remote-node=;" {
        return Some(7);
    }
    let name = labels.strip_prefix("reserved:")?.strip_suffix("=;")?;
    let index = RESERVED.iter().position(|it| *it == name)?;
    u32::try_from(index + 1).ok()
}

/// A component of Kubernetes or of Cilium whose number is known before any is allocated.
struct Component {
    number: u32,
    /// `None` for that of Cilium itself.
    namespace: Option<&'static str>,
    service_account: &'static str,
    labels: &'static [(&'static str, &'static str)],
}

const KUBE_SYSTEM: &str = "kube-system";
const KUBE_DNS: (&str, &str) = ("k8s-app", "kube-dns");
const EKS_COMPONENT: &str = "eks.amazonaws.com/component";
const ETCD_OPERATOR: (&str, &str) = ("io.cilium/app", "etcd-operator");

/// Upstream also numbers its etcd operator's own pods (107 and 115), but spells their labels so that
/// no pod has them.
const COMPONENTS: [Component; 7] = [
    Component {
        number: 100,
        namespace: None,
        service_account: "cilium-etcd-sa",
        labels: &[ETCD_OPERATOR],
    },
    Component {
        number: 101,
        namespace: None,
        service_account: "default",
        labels: &[
            ETCD_OPERATOR,
            ("app", "etcd"),
            ("etcd_cluster", "cilium-etcd"),
        ],
    },
    Component {
        number: 102,
        namespace: Some(KUBE_SYSTEM),
        service_account: "kube-dns",
        labels: &[KUBE_DNS],
    },
    Component {
        number: 103,
        namespace: Some(KUBE_SYSTEM),
        service_account: "kube-dns",
        labels: &[KUBE_DNS, (EKS_COMPONENT, "kube-dns")],
    },
    Component {
        number: 104,
        namespace: Some(KUBE_SYSTEM),
        service_account: "coredns",
        labels: &[KUBE_DNS],
    },
    Component {
        number: 105,
        namespace: None,
        service_account: "cilium-operator",
        labels: &[
            ("app.kubernetes.io/name", "cilium-operator"),
            ("app.kubernetes.io/part-of", "cilium"),
            ("io.cilium/app", "operator"),
            ("name", "cilium-operator"),
        ],
    },
    Component {
        number: 106,
        namespace: Some(KUBE_SYSTEM),
        service_account: "coredns",
        labels: &[KUBE_DNS, (EKS_COMPONENT, "coredns")],
    },
];

/// What is added to a component's number where its namespace has the label that names it, which every
/// namespace has since Kubernetes 1.21.
const WITH_NAMESPACE_NAME: u32 = 8;

fn well_known(cluster: &ClusterName, cilium_namespace: &str) -> BTreeMap<LabelText, u32> {
    let mut numbers = BTreeMap::new();
    for component in COMPONENTS {
        let namespace = component.namespace.unwrap_or(cilium_namespace);
        let mut labels = Labels::default();
        for (key, value) in component.labels {
            labels.insert("k8s", key, value);
        }
        labels.insert("k8s", CLUSTER_LABEL, cluster.as_str());
        labels.insert("k8s", SERVICE_ACCOUNT, component.service_account);
        labels.insert("k8s", POD_NAMESPACE, namespace);
        numbers.insert(labels.to_string().into(), component.number);
        labels.insert("k8s", NAMESPACE_NAME, namespace);
        let number = component.number + WITH_NAMESPACE_NAME;
        numbers.insert(labels.to_string().into(), number);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_reserved_labels() {
        let known = Known::default();
        assert_eq!(known.number("reserved:host=;"), Some(1));
        assert_eq!(known.number("reserved:world-ipv6=;"), Some(10));
        let api_server = "reserved:kube-apiserver=;reserved:remote-node=;";
        assert_eq!(known.number(api_server), Some(7));
        assert_eq!(known.number("reserved:moon=;"), None);
        assert_eq!(known.number("k8s:host=;"), None);
    }

    #[test]
    fn knows_components_by_all_of_their_labels() {
        let known = known(&Options {
            is_well_known: true,
            cilium_namespace: "cilium".to_owned(),
            ..Options::default()
        });
        let dns = "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=kube-system;\
                   k8s:io.cilium.k8s.policy.cluster=eu;\
                   k8s:io.cilium.k8s.policy.serviceaccount=coredns;\
                   k8s:io.kubernetes.pod.namespace=kube-system;k8s:k8s-app=kube-dns;";
        assert_eq!(known.number(dns), Some(112));
        assert_eq!(known.number(&dns.replace("=eu;", "=us;")), None);
        assert_eq!(known.number(&format!("k8s:a=b;{dns}")), None);
        let nameless = dns.split_once(';').unwrap().1;
        assert_eq!(known.number(nameless), Some(104));

        let operator = "k8s:app.kubernetes.io/name=cilium-operator;\
                        k8s:app.kubernetes.io/part-of=cilium;\
                        k8s:io.cilium.k8s.policy.cluster=eu;\
                        k8s:io.cilium.k8s.policy.serviceaccount=cilium-operator;\
                        k8s:io.cilium/app=operator;k8s:io.kubernetes.pod.namespace=cilium;\
                        k8s:name=cilium-operator;";
        assert_eq!(known.number(operator), Some(105));
        assert_eq!(Known::default().number(dns), None);
    }

    #[test]
    fn gives_pods_the_number_that_an_operator_fixed() {
        let known = known(&Options {
            fixed_identity_mapping: vec!["128=kv-store".parse().unwrap()],
            ..Options::default()
        });
        let fixed = |name| known.number(&format!("k8s:app=a;k8s:{FIXED_IDENTITY}={name};"));

        assert_eq!(fixed("kv-store"), Some(128));
        assert_eq!(fixed("other"), None);
        assert_eq!(known.number("reserved:kv-store=;"), Some(128));
    }

    #[test]
    fn refuses_numbers_that_are_not_the_operators() {
        for text in ["127=a", "256=a", "128=", "128", "a=128", "128=a;b"] {
            let error = text.parse::<FixedIdentity>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    fn known(options: &Options) -> Known {
        Known::new(&"eu".parse().unwrap(), options)
    }
}
