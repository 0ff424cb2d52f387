//! How it is told which targets of the DNS are well, and who says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoreReport;
use crate::health::Health;

/// `/v1/dns/health` of `dns-authority`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsHealth {
    /// The authority that tells.
    pub vantage: String,
    /// How many other authorities it hears.
    pub heard: usize,
    /// Authorities whose verdicts do not count, because each finds everything down alone.
    pub doubted: Vec<String>,
    /// The way to the other authorities; `None` if there is none.
    pub store: Option<StoreReport>,
    pub targets: Vec<TargetHealth>,
    pub drains: Vec<DrainReport>,
}

/// A region or target that leaves the answers little by little, or returns to them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainReport {
    /// A place's name, an address, a prefix, or a value as records have it.
    pub subject: String,
    /// What is left of its share of the answers, in thousandths.
    pub per_mille: u16,
    /// What will be left at the end.
    pub to_per_mille: u16,
    pub begin: u64,
    pub end: u64,
    /// When nobody can have it cached any more; `None` unless it leads to nothing.
    pub expires: Option<u64>,
    /// How many records choose it among others.
    pub records: usize,
    /// Some of their names.
    pub names: Vec<String>,
    /// Whether every authority of the mesh hears of it, in the store; otherwise it holds for the one
    /// that tells.
    pub everywhere: bool,
}

/// One health check, shared by all records that use it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetHealth {
    /// An address, with the port where there is one.
    pub target: String,
    /// What is asked: `tcp`, `icmp` or a URL.
    pub question: String,
    /// What answers follow.
    pub health: Health,
    /// When that last changed.
    pub since: u64,
    /// What this authority finds itself.
    pub own: Health,
    /// What other authorities find, by name; without those that have no verdict.
    pub others: BTreeMap<String, Health>,
    /// The last failure; empty if the last probe succeeded.
    pub last_error: String,
    /// The last probes, the newest at the end: `+` and `-`.
    pub probes: String,
    /// How long the last probe took; `None` before any.
    pub probe_microseconds: Option<u64>,
    /// How often it was healthy and then was not, since this authority started or the check is new.
    pub falls: u64,
    /// Until when it counts as down although probes succeed, because it came and went too often.
    pub held_until: Option<u64>,
}
