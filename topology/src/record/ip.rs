//! Which identity an address has, and on which node it lives.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::go_json;
use crate::id::NumericIdentity;
use crate::service::Protocol;

/// `cilium/state/ip/v1/default/<ip>`; fields in the order in which upstream writes them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IpIdentity {
    #[serde(rename = "IP")]
    pub address: IpAddr,
    /// Null for an endpoint's address; a prefix has its netmask's bytes.
    #[serde(default, rename = "Mask", with = "go_json::optional_mask")]
    pub mask: Option<Vec<u8>>,
    /// The node's address, which ends its tunnels.
    #[serde(default, rename = "HostIP", with = "go_json::optional_address")]
    pub host: Option<IpAddr>,
    #[serde(rename = "ID")]
    pub identity: NumericIdentity,
    /// 255 for WireGuard, 0 for none.
    #[serde(default, rename = "Key")]
    pub encryption_key: u8,
    #[serde(default, rename = "Metadata")]
    pub metadata: String,
    #[serde(
        default,
        rename = "K8sNamespace",
        skip_serializing_if = "String::is_empty"
    )]
    pub namespace: String,
    #[serde(
        default,
        rename = "K8sPodName",
        skip_serializing_if = "String::is_empty"
    )]
    pub pod: String,
    #[serde(
        default,
        rename = "K8sServiceAccount",
        skip_serializing_if = "String::is_empty"
    )]
    pub service_account: String,
    #[serde(default, rename = "NamedPorts", skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamedPort {
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

impl IpIdentity {
    /// The address or prefix that the record is about; `None` if its mask is no netmask.
    pub fn prefix(&self) -> Option<IpNet> {
        let Some(mask) = &self.mask else {
            return Some(self.address.into());
        };
        let mask = match (<[u8; 4]>::try_from(&**mask), <[u8; 16]>::try_from(&**mask)) {
            (Ok(octets), _) => IpAddr::from(octets),
            (_, Ok(octets)) => IpAddr::from(octets),
            _ => return None,
        };
        IpNet::with_netmask(self.address, mask).ok()
    }
}
