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
    owners: BTreeMap<(IpNet, PublicKey), Role>,
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
            self.owners.retain(|(_, owner), _| *owner != key);
        }
        for change in &update.allowed_ips {
            match *change {
                AllowedIpChange::Add(prefix) => {
                    self.owners.retain(|(it, _), _| *it != prefix);
                    self.owners.insert((prefix, key), Role::Sent);
                }
                AllowedIpChange::Share(prefix) => {
                    self.owners.insert((prefix, key), Role::Sent);
                }
                AllowedIpChange::Accept(prefix) => {
                    self.owners.insert((prefix, key), Role::Accepted);
                }
                AllowedIpChange::Remove(prefix) => {
                    self.owners.remove(&(prefix, key));
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
            for ((prefix, _), role) in self.owners.clone().iter().filter(|it| it.0.1 == key) {
                let inherited = self.owners.entry((*prefix, heir)).or_insert(*role);
                *inherited = (*inherited).max(*role);
            }
        }
        self.owners.retain(|(_, owner), _| *owner != key);
    }

    /// Who may send what comes from `address`, or else whom what goes there is sent to.
    fn allowed(&self, address: IpAddr, least: Role) -> BTreeSet<PublicKey> {
        let fit = |(_, role): &(&(IpNet, PublicKey), &Role)| least <= **role;
        let fit = self.owners.iter().filter(fit).map(|it| it.0);
        let holds = fit.filter(|it| it.0.contains(&address));
        let longest = holds.clone().map(|it| it.0.prefix_len()).max();
        let those = holds.filter(|it| Some(it.0.prefix_len()) == longest);
        those.map(|it| it.1).collect()
    }

    fn senders(&self, source: IpAddr) -> BTreeSet<PublicKey> {
        let allowed = self.allowed(source, Role::Accepted);
        let pairs = self.successors.iter();
        let partners = pairs.flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
        let partners = partners.filter(|(one, _)| allowed.contains(one));
        partners.map(|it| it.1).chain(allowed.clone()).collect()
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
                let receivers = configuration.allowed_ips.receivers(source).iter();
                let receivers = receivers.map(|it| &configuration.peers_by_index[it].tunnel);
                let receivers: BTreeSet<_> = receivers.map(Tunnel::public_key).collect();
                prop_assert_eq!(receivers, model.allowed(source, Role::Sent));
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
        let sent = peer.allowed_ips.iter().map(|it| ((*it, *key), Role::Sent));
        let accepted = peer.accepted_ips.iter();
        sent.chain(accepted.map(|it| ((*it, *key), Role::Accepted)))
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
    let kinds = [
        AllowedIpChange::Add,
        AllowedIpChange::Share,
        AllowedIpChange::Accept,
        AllowedIpChange::Remove,
    ];
    let prefix = (0..4_u8, 28..=32_u8);
    (prop::sample::select(kinds.to_vec()), prefix).prop_map(|(kind, (last, length))| {
        let prefix = IpNet::new([10, 0, 0, last].into(), length).unwrap();
        kind(prefix.trunc())
    })
}
