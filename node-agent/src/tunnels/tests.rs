use std::collections::BTreeSet;

use ipnet::IpNet;
use wireguard::uapi::PeerState;

use crate::desired::Ways;
use crate::preshared::{self, Choice, Orders, Shared};
use crate::search::KEEPALIVE_SECONDS;

use super::*;

#[test]
fn adds_a_peer_with_everything_it_needs() {
    let desired = desired();
    let places = BTreeMap::from([(key(1), endpoint())]);
    let wish = Wish {
        places: &places,
        ..wish(&desired)
    };

    let update = plan(&DeviceState::default(), &wish).unwrap();

    let expected = PeerUpdate {
        endpoint: Some(endpoint()),
        persistent_keepalive_seconds: Some(KEEPALIVE_SECONDS),
        allowed_ips: vec![AllowedIpChange::Add(prefix())],
        ..PeerUpdate::new(key(1))
    };
    assert_eq!(update.peers, [expected]);
    assert!(!update.replace_peers);
}

#[test]
fn changes_nothing_once_applied() {
    let device = device(key(1), endpoint());

    assert_eq!(plan(&device, &wish(&desired())), None);
}

#[test]
fn derives_a_secret_for_each_pair_of_nodes() {
    let (own, secret) = (key(9), PresharedKey::from([7; 32]));
    let secrets = |current: &PresharedKey, former: Option<&PresharedKey>| {
        let (current, former) = (current.clone(), former.cloned());
        let shared = Shared { current, former };
        Secrets {
            files: Some([("us".parse().unwrap(), shared)].into()),
            agreed: None,
        }
    };
    let desired = desired();
    let (with, without) = (secrets(&secret, None), secrets(&PresharedKey::none(), None));
    let wish = |secrets| Wish {
        secrets,
        key: Some(own),
        ..wish(&desired)
    };
    let mut device = device(key(1), endpoint());

    let update = plan(&device, &wish(&with)).unwrap();
    let expected = preshared::pair(&secret, [own, key(1)]);
    assert_eq!(
        update.peers[0].preshared_key,
        Some(Setting::To(expected.clone()))
    );

    device.peers.get_mut(&key(1)).unwrap().preshared_key = Some(expected.clone());
    assert_eq!(plan(&device, &wish(&with)), None);
    assert_eq!(
        plan(&device, &wish(&NO_SECRETS)),
        None,
        "others may have set it"
    );
    let update = plan(&device, &wish(&without)).unwrap();
    assert_eq!(update.peers[0].preshared_key, Some(Setting::Clear));

    let changed = secrets(&PresharedKey::from([8; 32]), Some(&secret));
    let update = plan(&device, &wish(&changed)).unwrap();
    let former = Some(Setting::To(expected));
    assert_eq!(update.peers[0].alternate_preshared_key, former);
    let plain = Wish {
        is_plain: true,
        ..wish(&changed)
    };
    let update = plan(&device, &plain).unwrap();
    assert_eq!(update.peers[0].alternate_preshared_key, None);
}

#[test]
fn gives_a_node_what_was_agreed_on_under_either_key() {
    let [main, former] = [7, 8].map(|it| PresharedKey::from([it; 32]));
    let mut desired = desired();
    let successor = Peer {
        successor_of: Some(key(1)),
        ..desired.peers[&key(1)].clone()
    };
    desired.peers.insert(key(2), successor);
    let secrets = |orders: Option<Orders>| {
        let node = ("us".parse().unwrap(), "node-1".parse().unwrap());
        Secrets {
            files: None,
            agreed: Some(orders.into_iter().map(|it| (node.clone(), it)).collect()),
        }
    };
    let wish = |secrets| Wish {
        secrets,
        key: Some(key(9)),
        ..wish(&desired)
    };
    let orders = Orders {
        main: Choice::Agreed(main.clone()),
        alternate: Some(Choice::Agreed(former.clone())),
    };
    let (agreed, unknown) = (secrets(Some(orders)), secrets(None));
    let mut device = device(key(1), endpoint());

    let update = plan(&device, &wish(&agreed)).unwrap();
    assert_eq!(update.peers.len(), 2);
    for peer in update.peers {
        assert_eq!(peer.preshared_key, Some(Setting::To(main.clone())));
        let alternate = Some(Setting::To(former.clone()));
        assert_eq!(peer.alternate_preshared_key, alternate);
    }

    device.peers.get_mut(&key(1)).unwrap().preshared_key = Some(main);
    let update = plan(&device, &wish(&unknown)).unwrap();
    let keys: Vec<_> = update.peers.iter().map(|it| it.public_key).collect();
    assert_eq!(keys, [key(2)], "what an earlier agent agreed on stays");
}

#[test]
fn moves_a_prefix_by_adding_it_to_the_new_peer() {
    let device = device(key(2), endpoint());

    let update = plan(&device, &wish(&desired())).unwrap();

    assert_eq!(update.peers.len(), 2);
    let added = update
        .peers
        .iter()
        .find(|it| it.public_key == key(1))
        .unwrap();
    assert_eq!(added.allowed_ips, [AllowedIpChange::Add(prefix())]);
    assert!(update.peers.contains(&PeerUpdate::removal(key(2))));
}

#[test]
fn takes_nothing_away_while_the_mesh_is_not_known_whole() {
    let device = device(key(2), endpoint());

    let nothing = Desired::default();
    let careful = Wish {
        keep_unknown: true,
        ..wish(&nothing)
    };

    assert_eq!(plan(&device, &careful), None);
    let update = plan(&device, &wish(&nothing)).unwrap();
    assert_eq!(update.peers, [PeerUpdate::removal(key(2))]);
}

#[test]
fn lets_a_key_be_succeeded_and_takes_the_old_one_away_last() {
    let mut before = desired();
    let next = Peer {
        successor_of: Some(key(1)),
        ..before.peers[&key(1)].clone()
    };
    before.peers.insert(key(0), next);
    let mut device = device(key(1), endpoint());

    let update = plan(&device, &wish(&before)).unwrap();
    assert_eq!(update.peers.len(), 1);
    assert_eq!(update.peers[0].public_key, key(0));
    assert_eq!(update.peers[0].successor_of, Some(Setting::To(key(1))));
    let plain = Wish {
        is_plain: true,
        ..wish(&before)
    };
    assert_eq!(plan(&device, &plain), None);

    let successor = PeerState {
        successor_of: Some(key(1)),
        persistent_keepalive_seconds: 0,
        allowed_ips: BTreeSet::new(),
        ..device.peers[&key(1)].clone()
    };
    device.peers.insert(key(0), successor);
    assert_eq!(plan(&device, &wish(&before)), None);

    let after = Desired {
        peers: BTreeMap::from([(key(0), desired().peers[&key(1)].clone())]),
        allowed_ips: BTreeMap::from([(prefix(), Ways::only(key(0)))]),
        ..Desired::default()
    };
    let update = plan(&device, &wish(&after)).unwrap();
    let taken_over = PeerUpdate {
        persistent_keepalive_seconds: Some(KEEPALIVE_SECONDS),
        allowed_ips: vec![AllowedIpChange::Add(prefix())],
        ..PeerUpdate::new(key(0))
    };
    assert_eq!(update.peers, [taken_over, PeerUpdate::removal(key(1))]);
}

#[test]
fn gives_a_device_the_key_and_the_port_that_it_lacks() {
    let private_key = PrivateKey::from([7; 32]);
    let mut device = DeviceState::default();

    let update = identity(&device, &private_key).unwrap();

    assert_eq!(update.private_key, Some(Setting::To(private_key.clone())));
    assert_eq!(update.listen_port, Some(WIREGUARD_PORT));
    device.private_key = Some(private_key.clone());
    device.listen_port = 1;
    let update = identity(&device, &private_key).unwrap();
    assert_eq!(
        (update.private_key, update.listen_port),
        (None, Some(WIREGUARD_PORT))
    );
    device.listen_port = WIREGUARD_PORT;
    assert_eq!(identity(&device, &private_key), None);
}

static NOWHERE: BTreeMap<PublicKey, SocketAddr> = BTreeMap::new();
static NO_SECRETS: Secrets = Secrets {
    files: None,
    agreed: None,
};

fn wish(desired: &Desired) -> Wish<'_> {
    Wish {
        desired,
        places: &NOWHERE,
        secrets: &NO_SECRETS,
        key: None,
        is_behind_nat: false,
        is_probed: false,
        keep_unknown: false,
        is_plain: false,
    }
}

fn desired() -> Desired {
    let peer = Peer {
        cluster: "us".parse().unwrap(),
        node: "node-1".parse().unwrap(),
        endpoint: endpoint(),
        endpoints: vec![endpoint()],
        successor_of: None,
    };
    Desired {
        peers: BTreeMap::from([(key(1), peer)]),
        allowed_ips: BTreeMap::from([(prefix(), Ways::only(key(1)))]),
        ..Desired::default()
    }
}

fn device(key: PublicKey, endpoint: SocketAddr) -> DeviceState {
    let peer = PeerState {
        endpoint: Some(endpoint),
        persistent_keepalive_seconds: KEEPALIVE_SECONDS,
        allowed_ips: [prefix()].into(),
        ..PeerState::default()
    };
    DeviceState {
        peers: BTreeMap::from([(key, peer)]),
        ..DeviceState::default()
    }
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

fn endpoint() -> SocketAddr {
    "198.51.100.11:51871".parse().unwrap()
}

fn prefix() -> IpNet {
    "10.2.1.0/24".parse().unwrap()
}
