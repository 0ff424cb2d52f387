//! The few fields of Cilium's own objects that the mesh publishes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

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
}

/// A security identity: its number is its name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumIdentity {
    pub metadata: ObjectMeta,
    /// Label keys with their source (`k8s:app`).
    #[serde(rename = "security-labels", default)]
    pub security_labels: BTreeMap<String, String>,
}

/// A pod's addresses and identity as Cilium's agent reports them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CiliumEndpoint {
    pub metadata: ObjectMeta,
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
