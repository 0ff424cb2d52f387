//! The LUA records of all zones, found once when they are loaded: whose targets are all down, and
//! what a drain is about, is asked more often than a million names can be looked through.

use std::sync::Arc;

use crate::check::CheckId;
use crate::plan::{Candidate, Pick};
use crate::zone::{Zone, Zones};

/// A choice of a LUA record.
pub(super) struct Planned {
    zone: Arc<Zone>,
    pub(super) owner: Box<[u8]>,
    /// In seconds.
    pub(super) ttl: u32,
    number: usize,
    /// Among the record's choices.
    index: usize,
    /// Those of all its values; empty if any has none.
    pub(super) checks: Box<[CheckId]>,
}

impl Planned {
    pub(super) fn pick(&self) -> &Pick {
        self.zone.plan(self.number).picks()[self.index]
    }

    /// Everything that it may answer.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.pick().sets.iter().flatten()
    }
}

pub(super) fn planned(zones: &Zones) -> Vec<Planned> {
    let mut planned = Vec::new();
    for zone in zones.iter().filter(|it| it.has_plans()) {
        for node in zone.nodes() {
            for set in node.sets() {
                let of_record = |number| of_record(zone, node.owner(), set.ttl, number);
                planned.extend(set.plans().flat_map(of_record));
            }
        }
    }
    planned
}

fn of_record(zone: &Arc<Zone>, owner: &[u8], ttl: u32, number: usize) -> Vec<Planned> {
    let picks = zone.plan(number).picks().into_iter().enumerate();
    let planned = picks.map(|(index, pick)| {
        let candidates = pick.sets.iter().flatten();
        let checks: Option<Box<[CheckId]>> = candidates.map(|it| it.check).collect();
        Planned {
            zone: Arc::clone(zone),
            owner: owner.into(),
            ttl,
            number,
            index,
            checks: checks.unwrap_or_default(),
        }
    });
    planned.collect()
}
