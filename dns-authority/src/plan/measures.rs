//! What others have measured of targets, for choices that go by it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::check::CheckId;

/// Empty until somebody measures: then choices fall back to geography or chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Milliseconds to the target and back, from the mesh near the client.
    pub round_trips: BTreeMap<IpAddr, u32>,
    /// Thousandths of its capacity that the target uses.
    pub loads: BTreeMap<IpAddr, u32>,
    /// What the target's own health URL says of its weight.
    pub weights: BTreeMap<CheckId, u32>,
}

impl Measures {
    pub fn round_trip(&self, target: &str) -> Option<u32> {
        get(&self.round_trips, target)
    }

    pub fn load(&self, target: &str) -> Option<u32> {
        get(&self.loads, target)
    }
}

/// What is known of the address that `target` spells, without reading it if nothing is known at all.
fn get(map: &BTreeMap<IpAddr, u32>, target: &str) -> Option<u32> {
    if map.is_empty() {
        return None;
    }
    map.get(&target.parse().ok()?).copied()
}
