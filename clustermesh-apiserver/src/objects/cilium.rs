//! The few fields of Cilium's own objects that the mesh publishes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use topology::record::{Labels, NamedPort};

use super::core::protocol;
use super::raw::{Metadata, raw};
use super::{Endpoint, EndpointList, Object};

/// All that is needed of the metadata of an object that there are many of.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Name {
    pub name: Option<String>,
    pub namespace: Option<String>,
}

impl Metadata for Name {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

/// A node as Cilium's agent describes it; it knows more than the `Node` of the same name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumNode {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: CiliumNodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumNodeSpec {
    pub addresses: Vec<CiliumNodeAddress>,
    pub bootid: String,
    pub encryption: CiliumEncryption,
    pub health: CiliumAddressPair,
    pub ingress: CiliumAddressPair,
    pub ipam: CiliumNodeIpam,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumNodeAddress {
    #[serde(default)]
    pub ip: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// `key` is 255 for WireGuard, 0 for none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumEncryption {
    pub key: u8,
}

/// Addresses as text; empty where there is none.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumAddressPair {
    pub ipv4: String,
    pub ipv6: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct CiliumNodeIpam {
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    pub pools: CiliumNodePools,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumNodePools {
    pub allocated: Vec<CiliumNodePool>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumNodePool {
    pub cidrs: Vec<String>,
}

/// A security identity: its number is its name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumIdentity {
    pub metadata: Name,
    /// Label keys with their source (`k8s:app`).
    #[serde(rename = "security-labels", default)]
    pub security_labels: BTreeMap<String, String>,
}

/// A pod's addresses and identity as Cilium's agent reports them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumEndpoint {
    pub metadata: Name,
    #[serde(default)]
    pub status: CiliumEndpointStatus,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "kebab-case")]
pub struct CiliumEndpointStatus {
    pub encryption: CiliumEncryption,
    pub identity: CiliumEndpointIdentity,
    pub named_ports: Vec<CiliumNamedPort>,
    pub networking: CiliumNetworking,
    pub service_account: String,
}

/// The same of many pods of one namespace.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumEndpointSlice {
    pub metadata: Name,
    /// Of the pods.
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub endpoints: Vec<CiliumSliceEndpoint>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "kebab-case")]
pub struct CiliumSliceEndpoint {
    /// Of the pod.
    pub name: String,
    /// The number of the identity.
    pub id: u32,
    pub encryption: CiliumEncryption,
    pub named_ports: Vec<CiliumNamedPort>,
    pub networking: CiliumNetworking,
    pub service_account: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumEndpointIdentity {
    pub id: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumNamedPort {
    #[serde(default)]
    pub name: String,
    pub port: u16,
    #[serde(default)]
    pub protocol: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct CiliumNetworking {
    pub addressing: Vec<CiliumAddressPair>,
    /// The address of the node that the endpoint runs on.
    pub node: String,
}

raw!(CiliumEndpoint, CiliumEndpoint, |it: CiliumEndpoint| {
    let status = it.status;
    Object::CiliumEndpoint(Endpoint {
        addresses: addresses(&status.networking),
        host: status.networking.node.parse().ok(),
        identity: status.identity.id,
        encryption_key: status.encryption.key,
        service_account: status.service_account.into(),
        named_ports: named_ports(status.named_ports),
    })
});
raw!(
    CiliumEndpointSlice,
    CiliumEndpointSlice,
    |it: CiliumEndpointSlice| {
        let endpoints = it.endpoints.into_iter().map(|it| {
            let endpoint = Endpoint {
                addresses: addresses(&it.networking),
                host: it.networking.node.parse().ok(),
                identity: it.id,
                encryption_key: it.encryption.key,
                service_account: it.service_account.into(),
                named_ports: named_ports(it.named_ports),
            };
            (it.name.into(), endpoint)
        });
        Object::CiliumEndpointSlice(EndpointList {
            namespace: it.namespace.into(),
            endpoints: endpoints.collect(),
        })
    }
);
raw!(CiliumIdentity, CiliumIdentity, |it: CiliumIdentity| {
    let mut labels = Labels::default();
    for (key, value) in &it.security_labels {
        let (source, key) = key.split_once(':').unwrap_or(("", key));
        labels.insert(source, key, value);
    }
    Object::CiliumIdentity(labels)
});
raw!(CiliumNode, CiliumNode, |it: CiliumNode| Object::CiliumNode(
    Box::new(CiliumNode {
        metadata: ObjectMeta {
            labels: it.metadata.labels,
            annotations: it.metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: it.spec,
    })
));

fn addresses(networking: &CiliumNetworking) -> Vec<IpAddr> {
    let pairs = networking.addressing.iter();
    let texts = pairs.flat_map(|it| [&it.ipv4, &it.ipv6]);
    let mut addresses: Vec<IpAddr> = texts.filter_map(|it| it.parse().ok()).collect();
    addresses.shrink_to_fit();
    addresses
}

fn named_ports(ports: Vec<CiliumNamedPort>) -> Box<[NamedPort]> {
    let ports = ports.into_iter().filter_map(|it| {
        Some(NamedPort {
            protocol: protocol(Some(&it.protocol))?,
            name: it.name,
            port: it.port,
        })
    });
    ports.collect()
}
