//! Decides when keys take each other's places (RFC 7583): never before all caches know what comes, and
//! never as long as one may still want what goes.
//!
//! A key that only signs the zone is published before it signs anything (section 2.1). One that the
//! parent knows is in the zone and signs its keys beside the one before it, until the parent and all
//! caches know it (section 2.2).

use super::algorithm::Failed;
use super::keys::{Key, Keys, Role, Stage};
use super::records::{Digest, ds};

/// What has to be waited for, and how often keys change. All in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long caches keep the zone's keys.
    pub keys_ttl: u64,
    /// How long they keep anything else of the zone, at most.
    pub zone_ttl: u64,
    /// How long they keep the parent's DS records, at least; the parent's answers may say more.
    pub parent_ttl: u64,
    /// Within so long all authorities, of the zone or of its parent, say the same.
    pub propagation: u64,
    /// How long keys that only sign are used; `None` is for ever.
    pub zone_lifetime: Option<u64>,
    /// The same of keys that the parent knows.
    pub entry_lifetime: Option<u64>,
}

/// DS records of the zone, as its parent has them now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    pub ds: Vec<Vec<u8>>,
    /// In seconds.
    pub ttl: u64,
}

/// A key came to another stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub tag: u16,
    pub role: Role,
    /// `None` if the key is gone.
    pub stage: Option<Stage>,
}

/// Takes all steps that are due at `now`, in seconds since 1970. `parent` is what the parent was seen to
/// have, if it was asked.
///
/// # Errors
///
/// A key is due, and there is no randomness to make one of.
pub fn advance(
    keys: &mut Keys,
    now: u64,
    policy: &Policy,
    parent: Option<&Parent>,
) -> Result<Vec<Step>, Failed> {
    let mut steps = Vec::new();
    for index in 0..keys.keys.len() {
        if let Some(stage) = next_stage(keys, index, now, policy, parent) {
            enter(&mut keys.keys[index], stage, now, &mut steps);
            if stage == Stage::Active {
                let parent_ttl = parent.map_or(0, |it| it.ttl).max(policy.parent_ttl);
                retire_others(keys, index, now, policy, parent_ttl, &mut steps);
            }
        }
    }
    keys.keys.retain(|key| {
        let is_gone = matches!(key.stage, Stage::Retired { until } if until <= now);
        if is_gone {
            steps.push(step(key, None));
        }
        !is_gone
    });
    for role in [Role::Both, Role::Entry, Role::Zone] {
        if let Some(predecessor) = due(keys, role, now, policy) {
            let algorithm = predecessor.pair.private.algorithm();
            let mut key = Key::generate(algorithm, role, now)?;
            // Validators would have to try both keys that have one tag.
            while keys.keys.iter().any(|it| it.pair.tag == key.pair.tag) {
                key = Key::generate(algorithm, role, now)?;
            }
            steps.push(step(&key, Some(key.stage)));
            keys.keys.push(key);
        }
    }
    Ok(steps)
}

/// Where a key goes next, if that is due.
fn next_stage(
    keys: &Keys,
    index: usize,
    now: u64,
    policy: &Policy,
    parent: Option<&Parent>,
) -> Option<Stage> {
    let key = &keys.keys[index];
    match (key.stage, key.role) {
        (Stage::Published, Role::Zone) => {
            let due = key
                .since
                .saturating_add(policy.keys_ttl + policy.propagation);
            (due <= now).then_some(Stage::Active)
        }
        (Stage::Published, Role::Both | Role::Entry) => {
            // Before the first key there was no signature: what has none must be gone as well.
            let is_first = !keys.entry().any(|it| it.stage == Stage::Active);
            let cached = if is_first {
                policy.keys_ttl.max(policy.zone_ttl)
            } else {
                policy.keys_ttl
            };
            let due = key.since.saturating_add(cached + policy.propagation);
            (due <= now).then_some(Stage::Submitted)
        }
        (Stage::Submitted, _) => {
            let dnskey = &key.pair.dnskey;
            let digests = [Digest::Sha256, Digest::Sha384].map(|it| ds(&keys.origin, dnskey, it));
            let is_known = parent.is_some_and(|it| it.ds.iter().any(|it| digests.contains(it)));
            is_known.then_some(Stage::Active)
        }
        (Stage::Active | Stage::Retired { .. }, _) => None,
    }
}

/// Those whose place the key at `index` has taken stay as long as caches may want them.
fn retire_others(
    keys: &mut Keys,
    index: usize,
    now: u64,
    policy: &Policy,
    parent_ttl: u64,
    steps: &mut Vec<Step>,
) {
    let role = keys.keys[index].role;
    for (other, key) in keys.keys.iter_mut().enumerate() {
        let is_replaced = other != index && key.stage == Stage::Active && key.role == role;
        if is_replaced {
            let zone = if role.signs_zone() {
                policy.zone_ttl
            } else {
                0
            };
            let entry = if role.is_entry() { parent_ttl } else { 0 };
            let until = now.saturating_add(zone.max(entry) + policy.propagation);
            enter(key, Stage::Retired { until }, now, steps);
        }
    }
}

/// The key that another one is to take the place of, unless one is about to or has only just.
fn due<'a>(keys: &'a Keys, role: Role, now: u64, policy: &Policy) -> Option<&'a Key> {
    let lifetime = if role.is_entry() {
        policy.entry_lifetime
    } else {
        policy.zone_lifetime
    }?;
    let mut same = keys.keys.iter().filter(|it| it.role == role);
    let key = same.next().filter(|_| same.next().is_none())?;
    let is_old = key.stage == Stage::Active && key.made.saturating_add(lifetime) <= now;
    is_old.then_some(key)
}

fn enter(key: &mut Key, stage: Stage, now: u64, steps: &mut Vec<Step>) {
    key.stage = stage;
    key.since = now;
    steps.push(step(key, Some(stage)));
}

fn step(key: &Key, stage: Option<Stage>) -> Step {
    Step {
        tag: key.pair.tag,
        role: key.role,
        stage,
    }
}

#[cfg(test)]
mod tests;
