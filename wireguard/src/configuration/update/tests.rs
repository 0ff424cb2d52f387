//! Updates of every kind, beside a model that knows nothing but lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::uapi::DeviceState;

/// What a device is, as its users think of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    own_key: Option<PublicKey>,
    peers: BTreeSet<PublicKey>,
    /// Each successor with its predecessor.
    successors: BTreeMap<PublicKey, PublicKey>,
    owners: BTreeMap<IpNet, PublicKey>,
}

impl Model {
    fn updated(&self, update: &Update) -> Option<Self> {
        let mut next = self.clone();
        match &update.private_key {
            None => (),
            Some(Setting::Clear) => next.own_key = None,
            Some(Setting::To(key)) => {
                next.own_key = Some(key.public_key());
                next.remove(key.public_key());
            }
        }
        if update.replace_peers {
            next = Self {
                own_key: next.own_key,
                ..Self::default()
            };
        }
        for peer in &update.peers {
            next.update_peer(peer)?;
        }
        Some(next)
    }

    fn update_peer(&mut self, update: &PeerUpdate) -> Option<()> {
        let key = update.public_key;
        if update.remove {
            self.remove(key);
            return Some(());
        }
        let is_wanted = self.peers.contains(&key) || !update.update_only;
        if self.own_key == Some(key) || !is_wanted {
            return Some(());
        }
        self.peers.insert(key);
        if update.replace_allowed_ips {
            self.owners.retain(|_, owner| *owner != key);
        }
        for change in &update.allowed_ips {
            match change {
                AllowedIpChange::Add(prefix) => {
                    self.owners.insert(*prefix, key);
                }
                AllowedIpChange::Remove(prefix) => {
                    self.owners
                        .retain(|it, owner| it != prefix || *owner != key);
                }
            }
        }
        match &update.successor_of {
            None => (),
            Some(Setting::Clear) => {
                self.successors.remove(&key);
            }
            Some(Setting::To(other)) => {
                let is_fit = self.peers.contains(other)
                    && *other != key
                    && !self.successors.contains_key(other)
                    && !self.successors.values().any(|it| *it == key);
                if !is_fit {
                    return None;
                }
                self.successors.retain(|_, it| it != other);
                self.successors.insert(key, *other);
            }
        }
        Some(())
    }

    fn remove(&mut self, key: PublicKey) {
        self.peers.remove(&key);
        self.successors.remove(&key);
        let heir = self.successors.iter().find(|(_, it)| **it == key);
        if let Some((heir, _)) = heir.map(|(heir, it)| (*heir, *it)) {
            self.successors.remove(&heir);
            for owner in self.owners.values_mut().filter(|it| **it == key) {
                *owner = heir;
            }
        }
        self.owners.retain(|_, owner| *owner != key);
    }

    /// Who may send what comes from `source`.
    fn senders(&self, source: IpAddr) -> BTreeSet<PublicKey> {
        let holds = self.owners.iter().filter(|(it, _)| it.contains(&source));
        let Some((_, owner)) = holds.max_by_key(|(it, _)| it.prefix_len()) else {
            return BTreeSet::new();
        };
        let pairs = self.successors.iter();
        let partners = pairs.filter_map(|(one, other)| match owner {
            it if it == one => Some(*other),
            it if it == other => Some(*one),
            _ => None,
        });
        partners.chain([*owner]).collect()
    }
}

proptest! {
    #[test]
    fn updates_do_what_the_model_does(updates in prop::collection::vec(update(), 1..12)) {
        let mut model = Model::default();
        let mut configuration = Configuration::default();
        for update in &updates {
            let before = configuration.state(0);
            let change = configuration.plan(update);
            prop_assert_eq!(configuration.state(0), before, "planned, not done");
            match (model.updated(update), change) {
                (None, Err(errno)) => prop_assert_eq!(errno, Errno::Invalid),
                (Some(next), Ok(change)) => {
                    model = next;
                    configuration = change.apply();
                }
                (expected, change) => {
                    prop_assert!(false, "{expected:?}, refused: {}", change.is_err());
                }
            }
            prop_assert_eq!(seen(&configuration.state(0)), model.clone());
            for last in 0..=4 {
                let source = IpAddr::from([10, 0, 0, last]);
                let senders = configuration.peers().filter(|it| configuration.is_allowed(source, it));
                let senders: BTreeSet<_> = senders.map(|it| it.tunnel.public_key()).collect();
                prop_assert_eq!(senders, model.senders(source));
            }
        }
    }
}

#[test]
fn a_planned_update_changes_nothing_before_it_is_applied() {
    let endpoint = Some(([192, 0, 2, 1], 1).into());
    let key = PublicKey::from([1; 32]);
    let mut update = Update {
        peers: vec![PeerUpdate::new(key)],
        ..Update::default()
    };
    let configuration = Configuration::default().plan(&update).ok().unwrap().apply();

    update.peers[0].endpoint = endpoint;
    update.peers.push(PeerUpdate {
        successor_of: Some(Setting::To([9; 32].into())),
        ..PeerUpdate::new([2; 32].into())
    });
    assert_eq!(configuration.plan(&update).err(), Some(Errno::Invalid));
    assert_eq!(configuration.state(0).peers[&key].endpoint, None);

    update.peers.pop();
    let configuration = configuration.plan(&update).ok().unwrap().apply();
    assert_eq!(configuration.state(0).peers[&key].endpoint, endpoint);
}

/// A device as far as the model goes.
fn seen(state: &DeviceState) -> Model {
    let peers = state.peers.iter();
    let owners = peers.clone().flat_map(|(key, peer)| {
        let prefixes = peer.allowed_ips.iter();
        prefixes.map(|it| (*it, *key))
    });
    Model {
        own_key: state.public_key(),
        peers: state.peers.keys().copied().collect(),
        successors: peers
            .filter_map(|(key, peer)| Some((*key, peer.successor_of?)))
            .collect(),
        owners: owners.collect(),
    }
}

/// Few keys and prefixes, so that updates meet.
fn update() -> impl Strategy<Value = Update> {
    let private_key = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Setting::Clear)),
        2 => key().prop_map(|it| Some(Setting::To(it))),
    ];
    let replace_peers = prop::bool::weighted(0.1);
    let peers = prop::collection::vec(peer_update(), 0..4);
    (private_key, replace_peers, peers).prop_map(|(private_key, replace_peers, peers)| Update {
        private_key,
        replace_peers,
        peers,
        ..Update::default()
    })
}

fn peer_update() -> impl Strategy<Value = PeerUpdate> {
    let successor_of = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Setting::Clear)),
        3 => key().prop_map(|it| Some(Setting::To(it.public_key()))),
    ];
    let allowed_ips = prop::collection::vec(allowed_ip_change(), 0..3);
    let remove = prop::bool::weighted(0.2);
    (
        key(),
        remove,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        successor_of,
        allowed_ips,
    )
        .prop_map(
            |(key, remove, update_only, replace_allowed_ips, successor_of, allowed_ips)| {
                PeerUpdate {
                    remove,
                    update_only,
                    replace_allowed_ips,
                    successor_of,
                    allowed_ips,
                    ..PeerUpdate::new(key.public_key())
                }
            },
        )
}

fn key() -> impl Strategy<Value = PrivateKey> {
    (1..5_u8).prop_map(|it| PrivateKey::from([it; 32]))
}

fn allowed_ip_change() -> impl Strategy<Value = AllowedIpChange> {
    (0..4_u8, 28..=32_u8, any::<bool>()).prop_map(|(last, length, add)| {
        let prefix = IpNet::new([10, 0, 0, last].into(), length).unwrap().trunc();
        if add {
            AllowedIpChange::Add(prefix)
        } else {
            AllowedIpChange::Remove(prefix)
        }
    })
}
