//! Messages as bytes, both ways: what an update does through them, and what a device says in them.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use proptest::prelude::*;

use super::*;
use crate::configuration::Configuration;

#[test]
fn a_successor_is_nothing_that_the_kernel_knows() {
    let peer = PeerUpdate {
        successor_of: Some(Setting::To([2; 32].into())),
        ..PeerUpdate::new([1; 32].into())
    };
    let update = Update {
        peers: vec![peer],
        ..Update::default()
    };
    assert_eq!(requests("wg0", &update), Err(Unsupported("successor_of")));
}

#[test]
fn a_prefix_of_several_peers_is_nothing_that_the_kernel_knows() {
    let prefix = "10.0.0.0/8".parse().unwrap();
    for (change, key) in [
        (AllowedIpChange::Share(prefix), "shared_allowed_ip"),
        (AllowedIpChange::Accept(prefix), "accepted_ip"),
    ] {
        let peer = PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(prefix), change],
            ..PeerUpdate::new([1; 32].into())
        };
        let update = Update {
            peers: vec![peer],
            ..Update::default()
        };
        assert_eq!(requests("wg0", &update), Err(Unsupported(key)));
    }
}

#[test]
fn what_does_not_fit_one_message_goes_in_several() {
    let prefixes = (0..3_000_u16).map(|it| {
        let [high, low] = it.to_be_bytes();
        IpNet::new([10, 0, high, low].into(), 32).unwrap()
    });
    let peer = PeerUpdate {
        replace_allowed_ips: true,
        allowed_ips: prefixes.map(AllowedIpChange::Add).collect(),
        ..PeerUpdate::new([1; 32].into())
    };
    let update = Update {
        replace_peers: true,
        peers: vec![peer],
        ..Update::default()
    };
    let messages = requests("wg0", &update).unwrap();
    assert!(2 < messages.len());
    for message in &messages {
        assert!(
            message.buffer_len() < usize::from(u16::MAX),
            "{}",
            message.buffer_len()
        );
    }
    check(&Configuration::default(), &update);
}

proptest! {
    #[test]
    fn messages_do_what_the_update_does(
        first in update(),
        second in update(),
    ) {
        let start = Configuration::default().plan(&first).ok().unwrap().apply();
        check(&start, &second);
    }

    #[test]
    fn reads_back_what_a_device_says(device in device()) {
        let mut state = DeviceState::default();
        for message in dump(&device) {
            read(&mut state, &through_bytes(message)).unwrap();
        }
        prop_assert_eq!(state, device);
    }
}

/// Applies `update` as it is, and as the messages that it becomes, one after the other.
#[track_caller]
fn check(start: &Configuration, update: &Update) {
    // Tunnels are shared between configurations, so that each way has a start of its own.
    let [direct, mut by_messages] = [start, start].map(|it| restored(&it.state(0)));
    let direct = direct.plan(update).ok().unwrap().apply();
    for message in requests("wg0", update).unwrap() {
        let update = understood(&through_bytes(message));
        by_messages = by_messages.plan(&update).ok().unwrap().apply();
    }
    assert_eq!(by_messages.state(0), direct.state(0));
}

fn restored(state: &DeviceState) -> Configuration {
    let mut configuration = Configuration::default();
    let peers = state.peers.iter().map(|(key, peer)| PeerUpdate {
        preshared_key: peer.preshared_key.clone().map(Setting::To),
        endpoint: peer.endpoint,
        persistent_keepalive_seconds: Some(peer.persistent_keepalive_seconds),
        allowed_ips: peer
            .allowed_ips
            .iter()
            .copied()
            .map(AllowedIpChange::Add)
            .collect(),
        ..PeerUpdate::new(*key)
    });
    let update = Update {
        private_key: state.private_key.clone().map(Setting::To),
        fwmark: Some(state.fwmark),
        peers: peers.collect(),
        ..Update::default()
    };
    configuration = configuration.plan(&update).ok().unwrap().apply();
    configuration
}

/// What the kernel makes of a message.
fn understood(message: &WireguardMessage) -> Update {
    assert_eq!(message.cmd, WireguardCmd::SetDevice);
    let mut update = Update::default();
    for attribute in &message.attributes {
        match attribute {
            WireguardAttribute::IfName(name) => assert_eq!(name, "wg0"),
            WireguardAttribute::Flags(flags) => {
                update.replace_peers = *flags == WireguardDeviceFlags::ReplacePeers;
            }
            WireguardAttribute::PrivateKey(key) => update.private_key = Some(setting_of(*key)),
            WireguardAttribute::ListenPort(port) => update.listen_port = Some(*port),
            WireguardAttribute::Fwmark(mark) => update.fwmark = Some(*mark),
            WireguardAttribute::Peers(peers) => {
                update.peers.extend(peers.iter().map(understood_peer));
            }
            other => panic!("{other:?}"),
        }
    }
    update
}

fn understood_peer(message: &WireguardPeer) -> PeerUpdate {
    let WireguardPeerAttribute::PublicKey(key) = &message[0] else {
        panic!("no key");
    };
    let mut update = PeerUpdate::new((*key).into());
    for attribute in &message[1..] {
        match attribute {
            WireguardPeerAttribute::Flags(flags) => {
                update.remove = flags.contains(WireguardPeerFlags::RemoveMe);
                update.update_only = flags.contains(WireguardPeerFlags::UpdateOnly);
                update.replace_allowed_ips = flags.contains(WireguardPeerFlags::ReplaceAllowedIps);
            }
            WireguardPeerAttribute::PresharedKey(key) => {
                update.preshared_key = Some(setting_of(*key));
            }
            WireguardPeerAttribute::Endpoint(endpoint) => update.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                update.persistent_keepalive_seconds = Some(*seconds);
            }
            WireguardPeerAttribute::AllowedIps(prefixes) => {
                update.allowed_ips.extend(prefixes.iter().map(|it| {
                    let prefix = read_prefix(it).unwrap();
                    let removes = |it: &_| matches!(it, WireguardAllowedIpAttr::Flags(_));
                    if it.iter().any(removes) {
                        AllowedIpChange::Remove(prefix)
                    } else {
                        AllowedIpChange::Add(prefix)
                    }
                }));
            }
            other => panic!("{other:?}"),
        }
    }
    update
}

fn setting_of<T: From<[u8; 32]>>(key: [u8; 32]) -> Setting<T> {
    match key {
        NO_KEY => Setting::Clear,
        _ => Setting::To(key.into()),
    }
}

/// A device's description as the kernel sends it: peers that do not fit go on in the next message.
fn dump(device: &DeviceState) -> Vec<WireguardMessage> {
    let key = device.private_key.as_ref();
    let mut attributes = vec![
        WireguardAttribute::ListenPort(device.listen_port),
        WireguardAttribute::Fwmark(device.fwmark),
        WireguardAttribute::IfIndex(7),
        WireguardAttribute::IfName("wg0".to_owned()),
    ];
    attributes.extend(key.map(|it| WireguardAttribute::PrivateKey(it.to_bytes())));
    let mut messages = vec![answer(attributes)];
    for (key, peer) in &device.peers {
        let time = peer.last_handshake.unwrap_or_default();
        let mut first = vec![
            WireguardPeerAttribute::PublicKey(*key.as_bytes()),
            WireguardPeerAttribute::PresharedKey(
                peer.preshared_key
                    .as_ref()
                    .map_or(NO_KEY, |it| *it.secret()),
            ),
            WireguardPeerAttribute::LastHandshake(WireguardTimeSpec {
                seconds: time.seconds.try_into().unwrap(),
                nano_seconds: time.nanoseconds.into(),
            }),
            WireguardPeerAttribute::PersistentKeepalive(peer.persistent_keepalive_seconds),
            WireguardPeerAttribute::TxBytes(peer.sent_bytes),
            WireguardPeerAttribute::RxBytes(peer.received_bytes),
            WireguardPeerAttribute::ProtocolVersion(1),
        ];
        first.extend(peer.endpoint.map(WireguardPeerAttribute::Endpoint));
        let peers = std::iter::once(WireguardPeer(first));
        let more = peer.allowed_ips.iter().map(|it| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey(*key.as_bytes()),
                WireguardPeerAttribute::AllowedIps(vec![allowed_ip(*it)]),
            ])
        });
        let all: Vec<_> = peers.chain(more).collect();
        let pairs = all.chunks(2);
        messages.extend(pairs.map(|it| answer(vec![WireguardAttribute::Peers(it.to_vec())])));
    }
    messages
}

fn answer(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
    WireguardMessage {
        cmd: WireguardCmd::GetDevice,
        attributes,
    }
}

/// A message as the other end reads it.
fn through_bytes(message: WireguardMessage) -> WireguardMessage {
    let mut message = GenlMessage::from_payload(message);
    message.set_resolved_family_id(0x1c);
    let payload = NetlinkPayload::from(message);
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let message = NetlinkMessage::<GenlMessage<WireguardMessage>>::deserialize(&bytes);
    match message.unwrap().payload {
        NetlinkPayload::InnerMessage(message) => message.payload,
        other => panic!("{other:?}"),
    }
}

fn update() -> impl Strategy<Value = Update> {
    let private_key = prop::option::of(setting(PrivateKey::from));
    let peers = prop::collection::vec(peer_update(), 0..6);
    (
        private_key,
        any::<Option<u16>>(),
        any::<Option<u32>>(),
        any::<bool>(),
        peers,
    )
        .prop_map(
            |(private_key, listen_port, fwmark, replace_peers, peers)| Update {
                private_key,
                listen_port,
                fwmark,
                replace_peers,
                peers,
            },
        )
}

fn peer_update() -> impl Strategy<Value = PeerUpdate> {
    let change = (prefix(), any::<bool>()).prop_map(|(prefix, add)| {
        if add {
            AllowedIpChange::Add(prefix)
        } else {
            AllowedIpChange::Remove(prefix)
        }
    });
    (
        (
            1..5_u8,
            prop::bool::weighted(0.2),
            any::<bool>(),
            any::<bool>(),
        ),
        prop::option::of(setting(PresharedKey::from)),
        prop::option::of(endpoint()),
        any::<Option<u16>>(),
        prop::collection::vec(change, 0..4),
    )
        .prop_map(
            |((key, remove, update_only, replace_allowed_ips), psk, endpoint, keepalive, ips)| {
                PeerUpdate {
                    remove,
                    update_only,
                    replace_allowed_ips,
                    preshared_key: psk,
                    endpoint,
                    persistent_keepalive_seconds: keepalive,
                    allowed_ips: ips,
                    ..PeerUpdate::new([key; 32].into())
                }
            },
        )
}

fn setting<T: std::fmt::Debug>(key: impl Fn([u8; 32]) -> T) -> impl Strategy<Value = Setting<T>> {
    (0..4_u8).prop_map(move |byte| match byte {
        0 => Setting::Clear,
        _ => Setting::To(key([byte; 32])),
    })
}

fn device() -> impl Strategy<Value = DeviceState> {
    let key = any::<Option<[u8; 32]>>().prop_map(|it| it.map(PrivateKey::from));
    let peers = prop::collection::btree_map(any::<[u8; 32]>().prop_map(Into::into), peer(), 0..4);
    (key, any::<u16>(), any::<u32>(), peers).prop_map(
        |(private_key, listen_port, fwmark, peers)| DeviceState {
            private_key,
            listen_port,
            fwmark,
            peers,
        },
    )
}

fn peer() -> impl Strategy<Value = PeerState> {
    let time = (1..1_u64 << 40, 0..1_000_000_000_u32);
    let time = prop::option::of(time.prop_map(|(seconds, nanoseconds)| UnixTime {
        seconds,
        nanoseconds,
    }));
    (
        any::<Option<[u8; 32]>>().prop_map(|it| it.map(PresharedKey::from)),
        prop::option::of(endpoint()),
        any::<u16>(),
        prop::collection::btree_set(prefix(), 0..5),
        time,
        any::<(u64, u64)>(),
    )
        .prop_map(
            |(preshared_key, endpoint, keepalive, allowed_ips, time, bytes)| PeerState {
                preshared_key,
                endpoint,
                persistent_keepalive_seconds: keepalive,
                allowed_ips,
                last_handshake: time,
                received_bytes: bytes.0,
                sent_bytes: bytes.1,
                ..PeerState::default()
            },
        )
}

fn endpoint() -> impl Strategy<Value = std::net::SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(Into::into)
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(ip, length)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, length % (longest + 1)).unwrap().trunc()
    })
}
