//! Two configurations that exchange their datagrams in memory.

use std::net::Ipv4Addr;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::tunnel::BUFFER_BYTES;
use crate::uapi::{AllowedIpChange, PeerUpdate, Setting, UnixTime, Update};
use crate::{PresharedKey, PrivateKey};

#[test]
fn the_first_packet_starts_a_handshake_and_arrives_after_it() {
    let (east, west) = connected_pair();

    assert_eq!(west.delivered, [packet("10.0.0.1", "10.0.0.2")]);
    for end in [&east, &west] {
        let state = end.peer_state();
        assert_eq!(state.last_handshake, Some(now().unix));
        assert!(
            0 < state.sent_bytes && 0 < state.received_bytes,
            "{state:?}"
        );
    }
}

#[test]
fn packets_that_waited_follow_a_handshake_that_the_other_end_began() {
    let (mut east, mut west) = pair();
    let lost = west.send("10.0.0.2", "10.0.0.1").expect("a handshake");
    assert_eq!(lost[0], 1);

    let initiation = east.send("10.0.0.1", "10.0.0.2").expect("a handshake");
    east.pass(&mut west, initiation);

    assert_eq!(east.delivered, [packet("10.0.0.2", "10.0.0.1")]);
    assert_eq!(west.delivered, [packet("10.0.0.1", "10.0.0.2")]);
}

#[test]
fn changing_a_live_peer_keeps_its_session() {
    let (mut east, mut west) = connected_pair();
    let mut update = PeerUpdate::new(west.public_key());
    update.endpoint = Some(WEST);
    update.persistent_keepalive_seconds = Some(7);
    update.preshared_key = Some(Setting::Clear);
    update.replace_allowed_ips = true;
    update.allowed_ips = vec![AllowedIpChange::Add("10.0.0.2/32".parse().unwrap())];
    east.update(Update {
        private_key: Some(Setting::To(east.private_key.clone())),
        peers: vec![update],
        ..Update::default()
    });

    let datagram = east.send("10.0.0.1", "10.0.0.2").expect("a session");
    assert_eq!(datagram[0], 4, "data, not a handshake");
    east.pass(&mut west, datagram);
    assert_eq!(west.delivered.len(), 2);
    assert_eq!(east.peer_state().persistent_keepalive_seconds, 7);
}

#[test]
fn a_new_preshared_key_ends_the_session_and_asks_for_another() {
    let (mut east, mut west) = connected_pair();
    let preshared_key = PresharedKey::generate();
    let (east_key, west_key) = (east.public_key(), west.public_key());
    for (end, other) in [(&mut east, west_key), (&mut west, east_key)] {
        let mut update = PeerUpdate::new(other);
        update.preshared_key = Some(Setting::To(preshared_key.clone()));
        end.update_peer(update);
    }

    let initiation = east.start().expect("a handshake");
    assert_eq!(initiation[0], 1);
    east.pass(&mut west, initiation);
    let datagram = east.send("10.0.0.1", "10.0.0.2").expect("a session");
    assert_eq!(datagram[0], 4);
}

#[test]
fn different_preshared_keys_never_meet() {
    let (mut east, mut west) = pair();
    let mut update = PeerUpdate::new(west.public_key());
    update.preshared_key = Some(Setting::To(PresharedKey::generate()));
    east.update_peer(update);

    let initiation = east.send("10.0.0.1", "10.0.0.2").expect("a handshake");
    east.pass(&mut west, initiation);

    assert_eq!(west.delivered, Vec::<Vec<u8>>::new());
    assert_eq!(east.dropped, [Dropped::NotAuthentic]);
}

#[test]
fn a_stranger_is_not_answered() {
    let (mut east, mut west) = pair();
    west.update_peer(PeerUpdate::removal(east.public_key()));

    let initiation = east.send("10.0.0.1", "10.0.0.2").expect("a handshake");
    east.pass(&mut west, initiation);

    assert_eq!(west.dropped, [Dropped::NoPeer]);
}

#[test]
fn a_source_address_that_is_not_the_senders_is_dropped() {
    let (mut east, mut west) = connected_pair();

    let datagram = east.send("10.0.0.3", "10.0.0.2").expect("a session");
    east.pass(&mut west, datagram);

    assert_eq!(west.dropped, [Dropped::Spoofed]);
    assert_eq!(west.delivered.len(), 1);
}

#[test]
fn a_more_specific_prefix_of_another_peer_takes_the_source_away() {
    let (mut east, mut west) = connected_pair();
    let mut other = PeerUpdate::new(PrivateKey::generate().public_key());
    other.allowed_ips = vec![AllowedIpChange::Add("10.0.0.1/32".parse().unwrap())];
    let mut wide = PeerUpdate::new(east.public_key());
    wide.allowed_ips = vec![AllowedIpChange::Add("10.0.0.0/8".parse().unwrap())];
    west.update_peer(wide);
    west.update_peer(other);

    let datagram = east.send("10.0.0.1", "10.0.0.2").expect("a session");
    east.pass(&mut west, datagram);

    assert_eq!(west.dropped, [Dropped::Spoofed]);
}

#[test]
fn a_packet_for_nobody_goes_nowhere() {
    let (east, _) = connected_pair();

    assert_eq!(east.try_send("10.0.0.1", "10.9.9.9"), Err(Dropped::NoPeer));
}

#[test]
fn the_endpoint_follows_genuine_datagrams_only() {
    let (east, mut west) = connected_pair();
    let elsewhere: SocketAddr = "203.0.113.7:7".parse().unwrap();
    let mut forged = east.send("10.0.0.1", "10.0.0.2").expect("a session");
    let genuine = forged.clone();
    *forged.last_mut().unwrap() ^= 1;

    west.receive(&forged, elsewhere);
    assert_eq!(west.peer_state().endpoint, Some(EAST));
    west.receive(&genuine, elsewhere);
    assert_eq!(west.peer_state().endpoint, Some(elsewhere));
    west.receive(&genuine, EAST);
    assert_eq!(west.peer_state().endpoint, Some(elsewhere), "a replay");
}

#[test]
fn a_persistent_keepalive_starts_the_handshake_by_itself() {
    let (mut east, west) = pair();
    assert_eq!(east.start(), None);
    let mut update = PeerUpdate::new(west.public_key());
    update.persistent_keepalive_seconds = Some(25);
    east.update_peer(update);

    assert_eq!(east.start().map(|it| it[0]), Some(1));
    assert_eq!(east.start(), None, "one is under way");
}

#[test]
fn a_flood_of_handshakes_is_answered_with_cookies() {
    let (east, mut west) = pair();
    let initiation = east.send("10.0.0.1", "10.0.0.2").expect("a handshake");

    let answers: Vec<_> = (0..=HANDSHAKES_PER_SECOND_MAX)
        .flat_map(|_| west.receive(&initiation, EAST))
        .map(|it| it[0])
        .collect();

    assert_eq!(
        answers,
        [2, 3],
        "one response; then replays, unanswered; then a cookie"
    );
}

#[test]
fn a_device_is_no_peer_of_itself() {
    let (mut east, _) = pair();
    let before = east.configuration.state(0);

    east.update_peer(PeerUpdate::new(east.public_key()));

    assert_eq!(east.configuration.state(0), before);
}

#[test]
fn update_only_makes_no_peer_and_replace_forgets_them() {
    let (mut east, _) = pair();
    let mut update = PeerUpdate::new(PrivateKey::generate().public_key());
    update.update_only = true;
    east.update_peer(update);
    assert_eq!(east.configuration.peers().count(), 1);

    east.update(Update {
        replace_peers: true,
        ..Update::default()
    });
    assert_eq!(east.configuration.peers().count(), 0);
    assert_eq!(east.try_send("10.0.0.1", "10.0.0.2"), Err(Dropped::NoPeer));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_datagram_panics_or_is_believed(
        mut noise in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![Just(1_u8), Just(2), Just(3), Just(4), any::<u8>()],
        flip in any::<prop::sample::Index>(),
    ) {
        let (east, mut west) = connected_pair();
        let before = west.configuration.state(0);
        let mut genuine = east.send("10.0.0.1", "10.0.0.2").expect("a session");
        *flip.get_mut(&mut genuine) ^= 1;
        if let Some(first) = noise.first_mut() {
            *first = kind;
        }

        for datagram in [noise, genuine] {
            west.receive(&datagram, EAST);
        }
        prop_assert_eq!(west.configuration.state(0), before);
        prop_assert_eq!(west.dropped.len(), 2);
    }
}

const EAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
const WEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 2);

/// One end of a tunnel, its interface and its network in memory.
struct End {
    private_key: PrivateKey,
    address: SocketAddr,
    configuration: Configuration,
    delivered: Vec<Vec<u8>>,
    dropped: Vec<Dropped>,
}

/// 10.0.0.1 behind `EAST` and 10.0.0.2 behind `WEST`, configured and silent.
fn pair() -> (End, End) {
    let (mut east, mut west) = (End::new(EAST), End::new(WEST));
    let (east_key, west_key) = (east.public_key(), west.public_key());
    east.update_peer(peer(west_key, WEST, "10.0.0.2/32"));
    west.update_peer(peer(east_key, EAST, "10.0.0.1/32"));
    (east, west)
}

/// The same after one packet from east to west.
fn connected_pair() -> (End, End) {
    let (mut east, mut west) = pair();
    let initiation = east.send("10.0.0.1", "10.0.0.2").expect("a handshake");
    assert_eq!(initiation[0], 1);
    east.pass(&mut west, initiation);
    (east, west)
}

fn peer(key: PublicKey, endpoint: SocketAddr, prefix: &str) -> PeerUpdate {
    PeerUpdate {
        endpoint: Some(endpoint),
        allowed_ips: vec![AllowedIpChange::Add(prefix.parse().unwrap())],
        ..PeerUpdate::new(key)
    }
}

impl End {
    fn new(address: SocketAddr) -> Self {
        let private_key = PrivateKey::generate();
        let mut end = Self {
            private_key: private_key.clone(),
            address,
            configuration: Configuration::default(),
            delivered: Vec::new(),
            dropped: Vec::new(),
        };
        end.update(Update {
            private_key: Some(Setting::To(private_key)),
            ..Update::default()
        });
        end
    }

    fn public_key(&self) -> PublicKey {
        self.private_key.public_key()
    }

    fn update(&mut self, update: Update) {
        self.configuration = self.configuration.updated(&update, now().monotonic);
    }

    fn update_peer(&mut self, update: PeerUpdate) {
        self.update(Update {
            peers: vec![update],
            ..Update::default()
        });
    }

    fn peer_state(&self) -> PeerState {
        let state = self.configuration.state(0);
        state.peers.into_values().next().expect("a peer")
    }

    fn start(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let peer = self.configuration.peers().next()?;
        let started = peer.tunnel().start(&mut buffer, now());
        started.map(|it| it.payload.to_vec())
    }

    fn send(&self, source: &str, destination: &str) -> Option<Vec<u8>> {
        self.try_send(source, destination).unwrap()
    }

    fn try_send(&self, source: &str, destination: &str) -> Result<Option<Vec<u8>>, Dropped> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut inner = packet(source, destination);
        let length = inner.len();
        let outgoing = Outgoing::new(&mut inner, length, length);
        let sent = self.configuration.outbound(outgoing, &mut buffer, now())?;
        Ok(sent.map(|it| it.payload.to_vec()))
    }

    /// Takes a datagram in, and returns those it causes.
    fn receive(&mut self, datagram: &[u8], source: SocketAddr) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut caused = Vec::new();
        let (inbound, peer) = self
            .configuration
            .inbound(datagram, source, &mut buffer, now());
        match inbound {
            Inbound::Nothing => (),
            Inbound::Deliver(packet) => self.delivered.push(packet.to_vec()),
            Inbound::Drop(dropped) => self.dropped.push(dropped),
            Inbound::Reply(reply) => caused.push(reply.payload.to_vec()),
        }
        if let Some(peer) = peer {
            while let Some(it) = peer.tunnel().next_queued(&mut buffer, now()) {
                caused.push(it.payload.to_vec());
            }
        }
        caused
    }

    /// Sends a datagram to `other`, then whatever that causes, until both are silent.
    fn pass(&mut self, other: &mut Self, datagram: Vec<u8>) {
        let mut there = vec![datagram];
        while !there.is_empty() {
            let back: Vec<_> = there
                .iter()
                .flat_map(|it| other.receive(it, self.address))
                .collect();
            there = back
                .iter()
                .flat_map(|it| self.receive(it, other.address))
                .collect();
        }
    }
}

/// A bare IPv4 header.
fn packet(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20];
    packet.resize(12, 0);
    for address in [source, destination] {
        packet.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    }
    packet
}

fn now() -> Now {
    Now {
        monotonic: Instant::now(),
        unix: UnixTime {
            seconds: 1_700_000_000,
            nanoseconds: 5,
        },
    }
}
