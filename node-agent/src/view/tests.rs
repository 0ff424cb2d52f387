use wireguard::PrivateKey;
use wireguard::uapi::{DropCause, UnixTime};

use crate::desired::OwnNode;

use super::*;

#[test]
fn counts_a_tunnel_as_up_until_its_session_is_too_old() {
    let desired = desired();

    for (age_seconds, up) in [(0, true), (179, true), (180, false)] {
        let report = tunnels(&desired, Some(&device(age_seconds)), &Reports::new(), NOW);
        assert_eq!(report[0].up, up, "{age_seconds}");
    }
    let never = &tunnels(&desired, None, &Reports::new(), NOW)[0];
    assert!(!never.up);
    assert_eq!(never.endpoint, Some(endpoint()));
    assert_eq!(never.last_handshake_unix_seconds, None);
}

#[test]
fn tells_what_the_device_dropped() {
    let mut device = device(0);
    let state = device.peers.get_mut(&PublicKey::from([1; 32])).unwrap();
    state.dropped = [(DropCause::NotAuthentic, 3)].into();

    let report = tunnels(&desired(), Some(&device), &Reports::new(), NOW).remove(0);
    assert_eq!(
        report.dropped_packets,
        [("not_authentic".to_owned(), 3)].into()
    );
}

#[test]
fn tells_what_probes_see_and_whether_an_address_was_translated() {
    let seen = ProbeReport {
        health: Health::Unhealthy,
        since: 7,
        round_trip_microseconds: Some(1_000),
        round_trip_p99_microseconds: Some(2_000),
        loss_per_mille: 30,
        path_mtu: Some(1_371),
    };
    let node = ("us".parse().unwrap(), "node-1".parse().unwrap());
    let reports = [(node, seen)].into();
    let report = |device: &DeviceState| tunnels(&desired(), Some(device), &reports, NOW).remove(0);
    let mut device = device(0);

    assert_eq!(report(&device).probes, Some(seen));
    assert!(!report(&device).behind_nat, "no packet has come yet");
    let state = device.peers.get_mut(&PublicKey::from([1; 32])).unwrap();
    state.endpoint = Some(endpoint());
    assert!(!report(&device).behind_nat);
    let state = device.peers.get_mut(&PublicKey::from([1; 32])).unwrap();
    state.endpoint = Some("203.0.113.7:1024".parse().unwrap());
    assert!(report(&device).behind_nat);
}

#[test]
fn tells_of_the_device_what_there_is() {
    let private = PrivateKey::generate();
    let device = DeviceState {
        private_key: Some(private.clone()),
        listen_port: 51871,
        ..DeviceState::default()
    };

    let report = encryption("wg", Some(&device), NodeEncryption::OptedOut);
    assert_eq!(report.public_key, Some(private.public_key().to_base64()));
    assert_eq!(report.listen_port, Some(51871));
    assert_eq!(report.node_encryption, NodeEncryption::OptedOut);
    assert_eq!(
        encryption("wg", None, NodeEncryption::Enabled).public_key,
        None
    );
    let fresh = encryption("wg", Some(&DeviceState::default()), NodeEncryption::Enabled);
    assert_eq!((fresh.public_key, fresh.listen_port), (None, None));
}

#[test]
fn says_what_is_wrong_with_a_device() {
    let private = PrivateKey::generate();
    let mut desired = desired();
    desired.own = Some(OwnNode {
        public_key: Some(private.public_key()),
        ..OwnNode::default()
    });
    let problem = |device: &DeviceState| {
        let problem = device_problem("wg", &desired, Ok(device));
        problem.map(|it| it.what).unwrap_or_default()
    };
    let with_key = |key| DeviceState {
        private_key: key,
        listen_port: desired::WIREGUARD_PORT,
        ..DeviceState::default()
    };

    assert_eq!(problem(&with_key(Some(private.clone()))), "");
    let elsewhere = DeviceState {
        listen_port: 7,
        ..with_key(Some(private))
    };
    assert!(problem(&elsewhere).contains("listens on UDP port 7"));
    assert!(problem(&with_key(Some(PrivateKey::generate()))).contains("but the mesh announces"));
    assert!(problem(&with_key(None)).contains("has no private key"));
    let missing = device_problem("wg", &desired, Err("nobody answers")).unwrap();
    assert_eq!(missing.what, "no tunnels: nobody answers");
    assert_eq!(missing.remedy, "start it: wireguard-device wg");
}

#[test]
fn says_why_a_relay_is_sent_what_is_for_a_node() {
    let mut desired = desired();
    let node = ("us".parse().unwrap(), "node-1".parse().unwrap());
    let relay = ("us".parse().unwrap(), "node-2".parse().unwrap());
    desired.detours.insert(node.clone(), Some(relay));
    let report = |device: Option<&DeviceState>, health| {
        let seen = ProbeReport {
            health,
            since: 7,
            round_trip_microseconds: None,
            round_trip_p99_microseconds: None,
            loss_per_mille: 1_000,
            path_mtu: None,
        };
        let reports = [(node.clone(), seen)].into();
        tunnels(&desired, device, &reports, NOW).remove(0)
    };
    let reason = |device, health, places| {
        let reason = detour_reason(&report(device, health), places).unwrap();
        reason
            .strip_prefix("relayed by us/node-2: ")
            .unwrap()
            .to_owned()
    };
    let (young, old) = (device(0), device(180));

    let reasons = [
        reason(None, Health::Unhealthy, 1),
        reason(None, Health::Unhealthy, 3),
        reason(Some(&old), Health::Unhealthy, 3),
        reason(Some(&young), Health::Unhealthy, 3),
    ];
    assert_eq!(
        reasons,
        [
            "no handshake at the only place of the node",
            "no handshake at any of 3 places",
            "no handshake any more at any of 3 places",
            "no probe comes back through the direct tunnel",
        ]
    );
    let back = reason(Some(&young), Health::Healthy, 3);
    assert!(back.starts_with("probes come back"), "{back}");
}

#[test]
fn explains_a_peer_by_the_state_of_its_tunnel() {
    let mesh = Mesh::new("eu".parse().unwrap());
    let identity = Identity {
        node: "node-1".parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        cluster_id: 1.try_into().unwrap(),
    };
    let explain = |cluster: &str| {
        let node = "node-9".parse().unwrap();
        explain_peer(
            &mesh,
            &identity,
            &desired(),
            &[],
            &cluster.parse().unwrap(),
            &node,
        )
    };

    assert!(explain("eu").unwrap().reason.contains("without a tunnel"));
    assert_eq!(explain("us"), None);
}

const NOW: u64 = 1_000_000;

fn desired() -> Desired {
    let peer = Peer {
        cluster: "us".parse().unwrap(),
        node: "node-1".parse().unwrap(),
        endpoint: endpoint(),
        endpoints: vec![endpoint()],
        successor_of: None,
    };
    Desired {
        peers: [(PublicKey::from([1; 32]), peer)].into(),
        ..Desired::default()
    }
}

fn device(age_seconds: u64) -> DeviceState {
    let peer = PeerState {
        last_handshake: Some(UnixTime {
            seconds: NOW - age_seconds,
            nanoseconds: 0,
        }),
        ..PeerState::default()
    };
    DeviceState {
        peers: [(PublicKey::from([1; 32]), peer)].into(),
        ..DeviceState::default()
    }
}

fn endpoint() -> SocketAddr {
    "198.51.100.11:51871".parse().unwrap()
}
