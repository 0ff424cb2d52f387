//! A node of a cluster: its addresses, its pods' prefixes, its WireGuard key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::go_json;
use crate::id::{ClusterId, ClusterName, NodeName};

/// `cilium/state/nodes/v1/<cluster>/<node>`; fields in the order in which upstream writes them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    pub name: NodeName,
    pub cluster: ClusterName,
    #[serde(default, rename = "IPAddresses", with = "go_json::null_when_empty")]
    pub addresses: Vec<NodeAddress>,
    #[serde(default, rename = "IPv4AllocCIDR", with = "go_json::optional_prefix")]
    pub pod_prefix_v4: Option<IpNet>,
    #[serde(
        default,
        rename = "IPv4SecondaryAllocCIDRs",
        with = "go_json::prefixes"
    )]
    pub more_pod_prefixes_v4: Vec<IpNet>,
    #[serde(default, rename = "IPv6AllocCIDR", with = "go_json::optional_prefix")]
    pub pod_prefix_v6: Option<IpNet>,
    #[serde(
        default,
        rename = "IPv6SecondaryAllocCIDRs",
        with = "go_json::prefixes"
    )]
    pub more_pod_prefixes_v6: Vec<IpNet>,
    #[serde(default, rename = "IPv4HealthIP", with = "go_json::optional_address")]
    pub health_v4: Option<IpAddr>,
    #[serde(default, rename = "IPv6HealthIP", with = "go_json::optional_address")]
    pub health_v6: Option<IpAddr>,
    #[serde(default, rename = "IPv4IngressIP", with = "go_json::optional_address")]
    pub ingress_v4: Option<IpAddr>,
    #[serde(default, rename = "IPv6IngressIP", with = "go_json::optional_address")]
    pub ingress_v6: Option<IpAddr>,
    #[serde(rename = "ClusterID")]
    pub cluster_id: ClusterId,
    /// Where the writer has it from, such as `custom-resource`.
    #[serde(default)]
    pub source: String,
    /// 255 for WireGuard, 0 for none, else an IPsec SPI.
    #[serde(default)]
    pub encryption_key: u8,
    #[serde(default, with = "go_json::null_when_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, with = "go_json::null_when_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Base64, or empty.
    #[serde(default, rename = "WireguardPubKey")]
    pub wireguard_public_key: String,
    #[serde(default, rename = "BootID")]
    pub boot_id: String,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeAddress {
    #[serde(rename = "Type")]
    pub kind: AddressKind,
    #[serde(rename = "IP")]
    pub address: IpAddr,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum AddressKind {
    CiliumInternalIP,
    ExternalDNS,
    ExternalIP,
    Hostname,
    InternalDNS,
    InternalIP,
}

impl Node {
    /// The address at which other nodes reach this one: the first internal one, v4 before v6.
    pub fn internal_address(&self) -> Option<IpAddr> {
        let internal = |it: &&NodeAddress| it.kind == AddressKind::InternalIP;
        let addresses = || self.addresses.iter().filter(internal).map(|it| it.address);
        addresses()
            .find(IpAddr::is_ipv4)
            .or_else(|| addresses().next())
    }

    /// Every prefix from which this node's pods have their addresses.
    pub fn pod_prefixes(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.pod_prefix_v4.iter().chain(&self.more_pod_prefixes_v4);
        let v6 = self.pod_prefix_v6.iter().chain(&self.more_pod_prefixes_v6);
        v4.chain(v6).copied()
    }
}
