use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::denial::Denial;

const ORIGIN: &[u8] = b"\x01z\x00";

const POLICY: Policy = Policy {
    keys_ttl: 10,
    zone_ttl: 30,
    parent_ttl: 20,
    propagation: 5,
    zone_lifetime: Some(100),
    entry_lifetime: Some(200),
};

#[test]
fn takes_the_parent_along() {
    let mut keys = generate(false);
    assert_eq!(steps(&mut keys, 34, &[]), "");
    // Unsigned answers are gone, and so is the knowledge that there were no keys.
    assert_eq!(steps(&mut keys, 35, &[]), "a Submitted");
    assert_eq!(steps(&mut keys, 1_000, &[]), "");
    let old = keys.ds(Digest::Sha384);
    assert_eq!(steps(&mut keys, 1_001, &old), "a Active, b Published");
    assert_eq!(steps(&mut keys, 1_015, &old), "");
    assert_eq!(steps(&mut keys, 1_016, &old), "b Submitted");
    assert_eq!(steps(&mut keys, 1_020, &old), "");
    let new = keys.ds(Digest::Sha256);
    assert_eq!(
        steps(&mut keys, 1_021, &new),
        "b Active, a Retired { until: 1056 }"
    );
    assert_eq!(steps(&mut keys, 1_055, &new), "");
    assert_eq!(steps(&mut keys, 1_056, &new), "a gone");
}

#[test]
fn renews_what_only_signs_by_itself() {
    let mut keys = generate(true);
    assert_eq!(steps(&mut keys, 35, &[]), "a Submitted");
    assert_eq!(steps(&mut keys, 99, &[]), "");
    assert_eq!(steps(&mut keys, 100, &[]), "c Published");
    assert_eq!(
        steps(&mut keys, 115, &[]),
        "c Active, b Retired { until: 150 }"
    );
    assert_eq!(steps(&mut keys, 149, &[]), "");
    assert_eq!(steps(&mut keys, 150, &[]), "b gone");
}

#[test]
fn keeps_keys_for_ever_if_told_so() {
    let mut keys = generate(true);
    let policy = Policy {
        zone_lifetime: None,
        entry_lifetime: None,
        ..POLICY
    };
    let parent = Parent::default();
    let taken = advance(&mut keys, 1 << 40, &policy, Some(&parent)).unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let parent = Parent {
        ds: keys.ds(Digest::Sha256),
        ttl: 0,
    };
    assert_eq!(
        advance(&mut keys, 1 << 40, &policy, Some(&parent))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        advance(&mut keys, 1 << 41, &policy, Some(&parent)),
        Ok(Vec::new())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two authorities take changes over at different times, and the parent when it likes; a resolver
    /// may have got each part of what it checks from either, at any time within the part's time to live.
    #[test]
    fn never_breaks_a_chain_that_anybody_has(
        is_split in any::<bool>(),
        policy in policy(),
        parent_ttl in 1_u64..40,
        seed in prop::collection::vec(0_u64..40, 64),
    ) {
        let mut world = World::new(is_split, policy, parent_ttl, seed);
        for now in 0..1_500 {
            world.step(now);
            if let Some(broken) = world.broken(now) {
                prop_assert!(false, "at {}: {}", now, broken);
            }
        }
        prop_assert!(2 < world.made, "keys were rolled over");
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let time = || 1_u64..40;
    (time(), time(), time(), time(), 100_u64..200, 100_u64..200).prop_map(
        |(keys_ttl, zone_ttl, parent_ttl, propagation, zone, entry)| Policy {
            keys_ttl,
            zone_ttl,
            parent_ttl,
            propagation,
            zone_lifetime: Some(zone),
            entry_lifetime: Some(entry),
        },
    )
}

/// The first octets of public keys.
type Ids = BTreeSet<u64>;

/// What an authority says from a moment on.
#[derive(Clone, PartialEq)]
struct Said {
    keys: Ids,
    signers_of_keys: Ids,
    signer: u64,
}

/// What was said from when until when.
struct History<T>(Vec<(u64, u64, T)>);

struct World {
    keys: Keys,
    policy: Policy,
    parent_ttl: u64,
    chance: Vec<u64>,
    drawn: usize,
    made: usize,
    /// Of each authority; before it signs, it says nothing that could be checked.
    authorities: [History<Option<Said>>; 2],
    /// Of each server of the parent.
    parents: [History<Ids>; 2],
    /// When who says what.
    plans: BTreeMap<(u64, usize), Said>,
    parent_plans: BTreeMap<(u64, usize), Ids>,
    digests: BTreeMap<u64, Vec<u8>>,
}

impl World {
    fn new(is_split: bool, policy: Policy, parent_ttl: u64, chance: Vec<u64>) -> Self {
        let mut world = Self {
            keys: generate(is_split),
            policy,
            parent_ttl,
            chance,
            drawn: 0,
            made: 0,
            authorities: [(); 2].map(|()| History(vec![(0, 0, None)])),
            parents: [(); 2].map(|()| History(vec![(0, 0, Ids::new())])),
            plans: BTreeMap::new(),
            parent_plans: BTreeMap::new(),
            digests: BTreeMap::new(),
        };
        world.publish(0);
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.drawn += 1;
        self.chance[self.drawn % self.chance.len()] % below
    }

    fn step(&mut self, now: u64) {
        for (who, authority) in self.authorities.iter_mut().enumerate() {
            authority.go_on(now, self.plans.remove(&(now, who)).map(Some));
        }
        for (who, parent) in self.parents.iter_mut().enumerate() {
            parent.go_on(now, self.parent_plans.remove(&(now, who)));
        }
        // The parent looks for CDS records every 37 seconds, at the first authority.
        if now.is_multiple_of(37) {
            self.tell_parent(now);
        }
        let seen = self.parents[0].last();
        let ttl = self.parent_ttl;
        let ds = seen.iter().map(|it| self.digests[it].clone()).collect();
        let policy = self.policy;
        let steps = advance(&mut self.keys, now, &policy, Some(&Parent { ds, ttl })).unwrap();
        if !steps.is_empty() {
            self.made += steps
                .iter()
                .filter(|it| it.stage == Some(Stage::Published))
                .count();
            self.publish(now);
        }
    }

    fn publish(&mut self, now: u64) {
        let ids = |keys: &mut dyn Iterator<Item = &Key>| keys.map(id).collect();
        let said = Said {
            keys: ids(&mut self.keys.keys.iter()),
            signers_of_keys: ids(&mut self.keys.entry()),
            signer: id(self.keys.signing().unwrap()),
        };
        for who in 0..2 {
            let delay = self.draw(self.policy.propagation + 1);
            // What comes later is not overtaken by what came before it.
            self.plans
                .retain(|(at, whose), _| *whose != who || *at < now + delay);
            self.plans.insert((now + delay.max(1), who), said.clone());
        }
    }

    fn tell_parent(&mut self, now: u64) {
        let wanted: Vec<(u64, Vec<u8>)> = self
            .keys
            .wanted_at_parent()
            .map(|it| (id(it), ds(ORIGIN, &it.pair.dnskey, Digest::Sha256)))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let ids: Ids = wanted.iter().map(|it| it.0).collect();
        self.digests.extend(wanted);
        for who in 0..2 {
            let delay = self.draw(self.policy.propagation + 1).max(1);
            self.parent_plans
                .retain(|(at, whose), _| *whose != who || *at < now + delay);
            self.parent_plans.insert((now + delay, who), ids.clone());
        }
    }

    /// A combination that would not validate.
    fn broken(&self, now: u64) -> Option<String> {
        let ds_ttl = self.parent_ttl;
        let digests = self
            .parents
            .iter()
            .flat_map(|it| it.since(now.saturating_sub(ds_ttl)));
        for digests in digests.filter(|it| !it.is_empty()) {
            let from = now.saturating_sub(self.policy.keys_ttl);
            for keys in self.authorities.iter().flat_map(|it| it.since(from)) {
                let Some(keys) = keys else {
                    return Some("the parent vouches for what is not signed".to_owned());
                };
                let mut entries = digests.iter();
                if !entries.any(|it| keys.keys.contains(it) && keys.signers_of_keys.contains(it)) {
                    return Some(format!("{digests:?} vouch for none of {:?}", keys.keys));
                }
                let from = now.saturating_sub(self.policy.zone_ttl);
                for signed in self.authorities.iter().flat_map(|it| it.since(from)) {
                    match signed {
                        Some(it) if keys.keys.contains(&it.signer) => (),
                        Some(it) => {
                            return Some(format!("{} is none of {:?}", it.signer, keys.keys));
                        }
                        None => return Some("an answer has no signature".to_owned()),
                    }
                }
            }
        }
        None
    }
}

impl<T: PartialEq> History<T> {
    fn go_on(&mut self, now: u64, said: Option<T>) {
        self.0.last_mut().unwrap().1 = now;
        if let Some(said) = said {
            self.0.push((now, now, said));
        }
    }

    fn last(&self) -> &T {
        &self.0.last().unwrap().2
    }

    fn since(&self, from: u64) -> impl Iterator<Item = &T> {
        let all = self.0.iter().filter(move |(_, until, _)| from < *until);
        all.map(|it| &it.2)
    }
}

fn id(key: &Key) -> u64 {
    let public = key.pair.private.public().first_chunk();
    u64::from_be_bytes(*public.unwrap())
}

fn generate(is_split: bool) -> Keys {
    Keys::generate(ORIGIN, Algorithm::Ed25519, is_split, Denial::Compact, 0).unwrap()
}

/// The steps that are taken, keys named in the order in which they were made.
fn steps(keys: &mut Keys, now: u64, ds: &[Vec<u8>]) -> String {
    let before: Vec<u16> = keys.keys.iter().map(|it| it.pair.tag).collect();
    let parent = Parent {
        ds: ds.to_vec(),
        ttl: 30,
    };
    let taken = advance(keys, now, &POLICY, Some(&parent)).unwrap();
    let name = |tag: u16| {
        let index = before
            .iter()
            .position(|it| *it == tag)
            .unwrap_or(before.len());
        char::from(b'a' + u8::try_from(index).unwrap())
    };
    let taken = taken.iter().map(|it| match it.stage {
        Some(stage) => format!("{} {stage:?}", name(it.tag)),
        None => format!("{} gone", name(it.tag)),
    });
    taken.collect::<Vec<_>>().join(", ")
}
