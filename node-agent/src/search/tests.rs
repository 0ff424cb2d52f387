#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]

use wireguard::uapi::UnixTime;

use crate::desired::Peer;

use super::*;

#[test]
fn goes_from_place_to_place_until_one_answers() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"]);
    world.reachable = Some(place("192.0.2.3:3"));

    world.pass(60);

    assert_eq!(
        world.tried,
        ["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"].map(place)
    );
    world.pass(1_000);
    assert_eq!(world.tried.len(), 3, "it stays where it was found");
}

#[test]
fn begins_anew_at_the_end_of_the_list() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2"]);

    world.pass(40);

    assert_eq!(
        world.tried[..3],
        ["192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1"].map(place)
    );
}

#[test]
fn searches_again_when_a_place_answers_no_more() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2"]);
    world.reachable = Some(place("192.0.2.1:1"));
    world.pass(300);
    assert_eq!(world.tried.len(), 1);

    world.reachable = Some(place("192.0.2.2:2"));
    world.pass(300);

    assert_eq!(world.tried, ["192.0.2.1:1", "192.0.2.2:2"].map(place));
}

#[test]
fn searches_sooner_when_probes_say_so() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2"]);
    world.reachable = Some(place("192.0.2.1:1"));
    world.pass(300);

    world.reachable = Some(place("192.0.2.2:2"));
    world.unhealthy.insert(key());
    world.pass(25);

    assert_eq!(world.tried, ["192.0.2.1:1", "192.0.2.2:2"].map(place));
}

#[test]
fn does_not_call_back_who_roamed() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2"]);
    world.reachable = Some(place("192.0.2.1:1"));
    world.pass(10);

    world.state.as_mut().unwrap().endpoint = Some(place("203.0.113.7:7"));
    world.reachable = Some(place("203.0.113.7:7"));
    world.pass(1_000);

    assert_eq!(world.tried.len(), 1);
}

#[test]
fn follows_a_node_that_moves() {
    let mut world = World::new(&["192.0.2.1:1"]);
    world.reachable = Some(place("192.0.2.1:1"));
    world.pass(10);

    world.announce(&["192.0.2.9:9"]);
    world.pass(2);

    assert_eq!(world.tried, ["192.0.2.1:1", "192.0.2.9:9"].map(place));
}

#[test]
fn leaves_a_tunnel_that_is_up_when_an_agent_starts() {
    let mut world = World::new(&["192.0.2.1:1", "192.0.2.2:2"]);
    world.state = Some(PeerState {
        endpoint: Some(place("192.0.2.2:2")),
        ..PeerState::default()
    });
    world.reachable = Some(place("192.0.2.2:2"));
    world.handshake();

    world.pass(1_000);

    assert_eq!(world.tried, []);
}

#[test]
fn keeps_alive_what_is_behind_nat() {
    let places = [place("192.0.2.1:1")];
    let met_at = |text: &str| PeerState {
        endpoint: Some(place(text)),
        last_handshake: Some(UnixTime::default()),
        ..PeerState::default()
    };
    let seconds =
        |state: &PeerState, own, probed| keepalive_seconds(&places, Some(state), own, probed);

    assert_eq!(seconds(&met_at("192.0.2.1:1"), false, true), 0);
    assert_eq!(
        seconds(&met_at("192.0.2.1:9"), false, true),
        NAT_KEEPALIVE_SECONDS
    );
    assert_eq!(
        seconds(&met_at("192.0.2.1:1"), true, true),
        NAT_KEEPALIVE_SECONDS
    );
    assert_eq!(
        seconds(&met_at("192.0.2.1:1"), false, false),
        KEEPALIVE_SECONDS
    );
}

/// One peer, which is in reach at one place at most.
struct World {
    search: Search,
    desired: Desired,
    state: Option<PeerState>,
    reachable: Option<SocketAddr>,
    unhealthy: BTreeSet<PublicKey>,
    now: Instant,
    seconds: u64,
    tried: Vec<SocketAddr>,
}

impl World {
    fn new(places: &[&str]) -> Self {
        let mut world = Self {
            search: Search::default(),
            desired: Desired::default(),
            state: None,
            reachable: None,
            unhealthy: BTreeSet::new(),
            now: Instant::now(),
            seconds: 1_700_000_000,
            tried: Vec::new(),
        };
        world.announce(places);
        world
    }

    fn announce(&mut self, places: &[&str]) {
        let endpoints: Vec<SocketAddr> = places.iter().map(|it| place(it)).collect();
        let peer = Peer {
            cluster: "us".parse().unwrap(),
            node: "node-1".parse().unwrap(),
            endpoint: endpoints[0],
            endpoints,
            successor_of: None,
        };
        self.desired.peers = BTreeMap::from([(key(), peer)]);
    }

    /// A look each second, and a handshake whenever one is due and possible.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let peers = self.state.clone().map(|it| (key(), it));
            let seen = Seen {
                peers: &peers.into_iter().collect(),
                unhealthy: &self.unhealthy,
                now: self.now,
                now_unix_seconds: self.seconds,
            };
            if let Some(place) = self.search.places(&self.desired, seen).get(&key()) {
                self.tried.push(*place);
                self.state.get_or_insert_default().endpoint = Some(*place);
            }
            if let Some(state) = &mut self.state {
                state.sent_bytes += 148;
            }
            let age = self.state.as_ref().and_then(|it| it.last_handshake);
            let is_due = age.is_none_or(|it| it.seconds + 120 <= self.seconds);
            let is_searched = !self.unhealthy.is_empty();
            if is_due || is_searched {
                self.handshake();
            }
            self.now += Duration::from_secs(1);
            self.seconds += 1;
        }
    }

    fn handshake(&mut self) {
        if let Some(state) = &mut self.state
            && state.endpoint == self.reachable
            && self.reachable.is_some()
        {
            state.last_handshake = Some(UnixTime {
                seconds: self.seconds,
                nanoseconds: 0,
            });
        }
    }
}

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key() -> PublicKey {
    PublicKey::from([1; 32])
}
