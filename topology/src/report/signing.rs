//! What a DNS authority says of the keys of its zones, and of what their parents should know.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Problem;

/// `/v1/dns/keys` of `dns-authority`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysReport {
    pub zone: String,
    /// How absence is proven: `compact`, `nsec` or `nsec3`.
    pub denial: String,
    pub keys: Vec<KeyReport>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReport {
    pub tag: u16,
    pub algorithm: String,
    /// `csk` signs everything, `ksk` the keys, `zsk` the rest.
    pub role: String,
    /// `published`, `submitted`, `active` or `retired`.
    pub stage: String,
    /// When it came to this stage.
    pub since: u64,
    /// When a retired key goes.
    pub until: Option<u64>,
    pub made: u64,
}

/// `/v1/dns/delegation` of `dns-authority`: what a zone's parent should have, and what it has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DelegationReport {
    pub zone: String,
    /// For the parent's zone file.
    pub records: Vec<String>,
    /// `None` if nobody was there to ask.
    pub parent: Option<ParentReport>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReport {
    pub asked: SocketAddr,
    pub servers: Vec<String>,
    /// The data of its DS records.
    pub ds: Vec<String>,
}
