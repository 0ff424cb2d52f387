//! Decides which peers must get or lose which prefixes.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use wireguard::PublicKey;
use wireguard::uapi::{AllowedIpChange, DeviceState};

use super::Wish;
use crate::desired::Ways;

/// Changes of peers' prefixes, each prefix in its turn.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) given: Vec<(PublicKey, AllowedIpChange)>,
    /// To be made after all of the others.
    pub(super) taken: Vec<(PublicKey, AllowedIpChange)>,
}

/// Who has a prefix.
#[derive(Debug, Default)]
struct Held {
    sent: BTreeSet<PublicKey>,
    accepted: BTreeSet<PublicKey>,
}

/// What brings every prefix to whom it should be sent, and no other.
pub(super) fn changes(device: &DeviceState, wish: &Wish<'_>) -> Changes {
    let mut changes = Changes::default();
    let wanted = &wish.desired.allowed_ips;
    let mut held = held(device);
    for (prefix, ways) in wanted {
        let held = held.remove(prefix).unwrap_or_default();
        if wish.is_plain || ways.is_plain() {
            give_to_one(*prefix, &held, ways.first, wish, &mut changes);
        } else {
            share(*prefix, &held, ways, wish, &mut changes);
        }
    }
    for (prefix, held) in held {
        let all = held.sent.union(&held.accepted);
        take(prefix, all, wish, &mut changes);
    }
    changes
}

/// As every WireGuard device can: whoever had it loses it.
fn give_to_one(prefix: IpNet, held: &Held, key: PublicKey, wish: &Wish<'_>, changes: &mut Changes) {
    let is_alone = held.sent.len() == 1 && held.accepted.is_empty();
    if !held.sent.contains(&key) || !(is_alone || wish.keep_unknown) {
        changes.given.push((key, AllowedIpChange::Add(prefix)));
    }
}

fn share(prefix: IpNet, held: &Held, ways: &Ways, wish: &Wish<'_>, changes: &mut Changes) {
    for key in ways.sent.difference(&held.sent) {
        changes.given.push((*key, AllowedIpChange::Share(prefix)));
    }
    for key in ways.accepted.difference(&held.accepted) {
        let change = (*key, AllowedIpChange::Accept(prefix));
        if held.sent.contains(key) {
            changes.taken.push(change);
        } else {
            changes.given.push(change);
        }
    }
    let all = held.sent.union(&held.accepted);
    let lost = all.filter(|it| !ways.sent.contains(it) && !ways.accepted.contains(it));
    take(prefix, lost, wish, changes);
}

fn take<'a>(
    prefix: IpNet,
    from: impl Iterator<Item = &'a PublicKey>,
    wish: &Wish<'_>,
    changes: &mut Changes,
) {
    // Of a peer that leaves, nothing is left anyway.
    let from = from.filter(|it| !wish.keep_unknown && wish.has(it));
    let lost = from.map(|key| (*key, AllowedIpChange::Remove(prefix)));
    changes.taken.extend(lost);
}

fn held(device: &DeviceState) -> BTreeMap<IpNet, Held> {
    let mut all = BTreeMap::<IpNet, Held>::new();
    for (key, peer) in &device.peers {
        for prefix in &peer.allowed_ips {
            all.entry(*prefix).or_default().sent.insert(*key);
        }
        for prefix in &peer.accepted_ips {
            all.entry(*prefix).or_default().accepted.insert(*key);
        }
    }
    all
}

#[cfg(test)]
mod tests;
