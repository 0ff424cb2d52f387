//! Keeps the probes of many checks from crowding at one target: so many at once, and the rest wait.

use std::collections::{BTreeMap, VecDeque};

use crate::check::{Check, CheckId, Endpoint};

/// Which targets are being probed, and who waits for his turn at each.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// By check: its target's place in `targets`.
    target_of: Vec<usize>,
    targets: Vec<Target>,
}

#[derive(Debug, Default)]
struct Target {
    entered: usize,
    waiting: VecDeque<CheckId>,
}

/// Probes of one machine at once, whatever its ports: a host of hundreds of sites is not attacked by
/// whoever asks after their health.
pub(super) const TARGET_PROBES_MAX: usize = 16;

impl Crowd {
    /// `checks` are in the order of their ids.
    pub(super) fn new<'a>(checks: impl Iterator<Item = &'a Check>) -> Self {
        let mut places = BTreeMap::new();
        let target_of = checks.map(|check| {
            let host = match &check.target {
                Endpoint::Address(address) => (Some(address.ip()), ""),
                Endpoint::Named { host, .. } => (None, host.as_str()),
            };
            let next = places.len();
            *places.entry(host).or_insert(next)
        });
        let target_of: Vec<usize> = target_of.collect();
        let targets = places.iter().map(|_| Target::default()).collect();
        Self { target_of, targets }
    }

    /// Whether the check may be probed now. Otherwise it waits, and [`leave`](Self::leave) will name
    /// it.
    pub(super) fn enter(&mut self, id: CheckId) -> bool {
        let target = &mut self.targets[self.target_of[id.index()]];
        if target.entered == TARGET_PROBES_MAX {
            target.waiting.push_back(id);
            return false;
        }
        target.entered += 1;
        true
    }

    /// The check's probe has ended; returns one that has waited for that.
    pub(super) fn leave(&mut self, id: CheckId) -> Option<CheckId> {
        let target = &mut self.targets[self.target_of[id.index()]];
        target.entered = target.entered.saturating_sub(1);
        target.waiting.pop_front()
    }
}
