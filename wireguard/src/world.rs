//! Devices without a system: their datagrams cross a network of memory under simulated time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::configuration::Configuration;
use crate::congestion::Ecn;
use crate::dropped::Dropped;
use crate::egress::{Egress, Network};
use crate::ingress::{Arrival, Ingress, Interface};
use crate::message::Message;
use crate::offload::{Frame, Offloads, VnetHeader};
use crate::outbox::Burst;
use crate::session::REJECT_AFTER_MILLISECONDS;
use crate::tunnel::{Endpoint, Now};
use crate::uapi::{AllowedIpChange, PeerState, PeerUpdate, Setting, UnixTime, Update};
use crate::{PrivateKey, PublicKey};

// Not in the fuzz targets, which are made of this world too.
#[cfg(test)]
mod days;
#[cfg(test)]
mod drops;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod time;

/// Every device of a test, the network between them, and the time.
pub(crate) struct World {
    pub(crate) ends: Vec<End>,
    pub(crate) milliseconds: u64,
    /// Added to the wall clock, which may go back.
    pub(crate) unix_seconds: u64,
    /// Of a hundred datagrams, how many are lost.
    pub(crate) loss_percent: u32,
    /// The same of handshake messages alone.
    pub(crate) handshake_loss_percent: u32,
    /// When each session index was last given out, in milliseconds.
    born: BTreeMap<u32, u64>,
    random: SmallRng,
}

/// A device with one address inside, 10.0.0.N, and one outside, 192.0.2.N.
pub(crate) struct End {
    pub(crate) private_key: PrivateKey,
    pub(crate) configuration: Configuration,
    pub(crate) outside: SocketAddr,
    pub(crate) number: u8,
    /// What came out of the tunnel, packet by packet.
    pub(crate) delivered: Vec<Vec<u8>>,
    pub(crate) dropped: Dropped,
    /// How far its wall clock is ahead of the others', in seconds.
    pub(crate) unix_ahead_seconds: u64,
    egress: Egress,
    ingress: Ingress,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) payload: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Ecn,
}

pub(crate) const MTU: usize = 1_420;

/// How much time passes at once.
const STEP_MILLISECONDS: u64 = 100;

impl World {
    /// Devices that know nothing of each other.
    pub(crate) fn of(ends: u8) -> Self {
        Self {
            ends: (1..=ends).map(End::new).collect(),
            milliseconds: 1_000_000,
            unix_seconds: 1_700_000_000,
            loss_percent: 0,
            handshake_loss_percent: 0,
            born: BTreeMap::new(),
            random: SmallRng::seed_from_u64(7),
        }
    }

    /// Two devices that know each other, of which the first also knows where the other is.
    pub(crate) fn pair() -> Self {
        let mut world = Self::of(2);
        world.introduce(0, 1);
        world.introduce(1, 0);
        world
    }

    /// The same, with a session.
    pub(crate) fn connected_pair() -> Self {
        let mut world = Self::pair();
        world.send(0, 1);
        assert_eq!(world.ends[1].delivered.len(), 1, "the first packet");
        world.ends[1].delivered.clear();
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            milliseconds: self.milliseconds,
            unix: UnixTime {
                seconds: self.unix_seconds + self.milliseconds / 1_000,
                nanoseconds: u32::try_from(self.milliseconds % 1_000).unwrap() * 1_000_000,
            },
        }
    }

    /// The time as an end sees it.
    fn now_of(&self, end: usize) -> Now {
        let mut now = self.now();
        now.unix.seconds += self.ends[end].unix_ahead_seconds;
        now
    }

    /// Tells `knower` of another end: its key, address, and what it is allowed.
    pub(crate) fn introduce(&mut self, knower: usize, other: usize) {
        let update = self.ends[other].introduction();
        self.ends[knower].update(update);
    }

    /// Sends a small packet from one end to another, and lets everything that follows happen.
    pub(crate) fn send(&mut self, from: usize, to: usize) {
        let packet = packet(self.ends[from].number, self.ends[to].number, 40);
        let datagrams = self.seal(from, &packet);
        self.carry(datagrams);
    }

    /// Lets the first two ends send each other a packet every tenth of a second, and returns how many
    /// each has sent.
    pub(crate) fn converse(&mut self, milliseconds: u64) -> usize {
        let mut sent = 0;
        for _ in 0..milliseconds / 100 {
            self.send(0, 1);
            self.send(1, 0);
            self.pass(100);
            sent += 1;
        }
        sent
    }

    /// The datagrams that a packet becomes.
    pub(crate) fn seal(&mut self, from: usize, packet: &[u8]) -> Vec<Datagram> {
        let now = self.now_of(from);
        let end = &mut self.ends[from];
        let mut frame = vec![0; VnetHeader::BYTES];
        frame.extend(packet);
        let mut wire = Wire::of(end);
        end.egress
            .carry(&end.configuration, &mut frame, now, &mut wire);
        end.egress.flush(&end.configuration, now, &mut wire);
        end.dropped += end.egress.take_dropped();
        wire.sent
    }

    /// Takes datagrams to whoever has their address, and their answers back, until it is quiet.
    pub(crate) fn carry(&mut self, datagrams: Vec<Datagram>) {
        let mut under_way = VecDeque::from(datagrams);
        while let Some(datagram) = under_way.pop_front() {
            self.check_age(&datagram);
            let is_handshake = datagram.payload.first().is_some_and(|it| *it < 4);
            let loss_percent = if is_handshake {
                self.loss_percent.max(self.handshake_loss_percent)
            } else {
                self.loss_percent
            };
            if self.random.random_range(0..100) < loss_percent {
                continue;
            }
            let to = self.ends.iter().position(|it| it.outside == datagram.to);
            if let Some(to) = to {
                under_way.extend(self.receive(to, &datagram));
            }
        }
    }

    /// Whoever names a session may do so for as long as it lives.
    fn check_age(&mut self, datagram: &Datagram) {
        match Message::parse(&datagram.payload) {
            Some(Message::Initiation(it)) => _ = self.born.insert(it.sender, self.milliseconds),
            Some(Message::Response(it)) => _ = self.born.insert(it.sender, self.milliseconds),
            Some(Message::Data { receiver, .. }) => {
                // Tests make up others.
                let born = self.born.get(&receiver).unwrap_or(&self.milliseconds);
                let age = self.milliseconds - born;
                assert!(age <= REJECT_AFTER_MILLISECONDS, "a session of {age} ms");
            }
            Some(Message::CookieReply(_)) | None => (),
        }
    }

    /// What an end answers to a datagram.
    pub(crate) fn receive(&mut self, to: usize, datagram: &Datagram) -> Vec<Datagram> {
        let now = self.now_of(to);
        let end = &mut self.ends[to];
        let mut buffer = datagram.payload.clone();
        let arrival = Arrival {
            start: 0,
            end: buffer.len(),
            segment: buffer.len(),
            ecn: datagram.ecn,
            from: Endpoint {
                address: datagram.from,
                source: None,
            },
        };
        let mut wire = Wire::of(end);
        let mut delivered = Delivered(&mut end.delivered);
        end.ingress.carry(
            &end.configuration,
            &mut buffer,
            [arrival].into_iter(),
            now,
            &mut wire,
            &mut delivered,
        );
        end.dropped += end.ingress.take_dropped();
        wire.sent
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds.div_ceil(STEP_MILLISECONDS) {
            self.milliseconds += STEP_MILLISECONDS;
            for index in 0..self.ends.len() {
                let datagrams = self.tick(index);
                self.carry(datagrams);
            }
        }
    }

    /// What an end sends because it is time to.
    pub(crate) fn tick(&mut self, index: usize) -> Vec<Datagram> {
        let now = self.now_of(index);
        let end = &mut self.ends[index];
        let mut wire = Wire::of(end);
        end.egress.tick(&end.configuration, now, &mut wire);
        end.dropped += end.egress.take_dropped();
        wire.sent
    }
}

impl End {
    fn new(number: u8) -> Self {
        let private_key = PrivateKey::generate();
        let offloads = Offloads::default();
        let mut end = Self {
            configuration: Configuration::default(),
            outside: ([192, 0, 2, number], 51_820).into(),
            number,
            delivered: Vec::new(),
            dropped: Dropped::default(),
            unix_ahead_seconds: 0,
            egress: Egress::new(MTU),
            ingress: Ingress::new(offloads, MTU),
            private_key: private_key.clone(),
        };
        end.set_private_key(private_key);
        end
    }

    pub(crate) fn set_private_key(&mut self, private_key: PrivateKey) {
        self.private_key = private_key.clone();
        self.apply(&Update {
            private_key: Some(Setting::To(private_key)),
            ..Update::default()
        });
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.private_key.public_key()
    }

    /// What others have to know of this end.
    pub(crate) fn introduction(&self) -> PeerUpdate {
        let prefix = format!("10.0.0.{}/32", self.number);
        PeerUpdate {
            endpoint: Some(self.outside),
            allowed_ips: vec![AllowedIpChange::Add(prefix.parse().unwrap())],
            ..PeerUpdate::new(self.public_key())
        }
    }

    pub(crate) fn update(&mut self, peer: PeerUpdate) {
        self.apply(&Update {
            peers: vec![peer],
            ..Update::default()
        });
    }

    pub(crate) fn apply(&mut self, update: &Update) {
        self.configuration = self.configuration.plan(update).ok().unwrap().apply();
    }

    /// Of the only peer.
    pub(crate) fn peer_state(&self) -> PeerState {
        let peers = self.configuration.state(0).peers;
        assert_eq!(peers.len(), 1);
        peers.into_values().next().unwrap()
    }
}

/// An IPv4 packet of `length` bytes between two ends.
pub(crate) fn packet(from: u8, to: u8, length: u16) -> Vec<u8> {
    let mut packet = vec![0; length.into()];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[8] = 64;
    packet[9] = 255; // No transport that anything would look into.
    packet[12..20].copy_from_slice(&[10, 0, 0, from, 10, 0, 0, to]);
    packet
}

/// Keeps what is sent, datagram by datagram.
struct Wire {
    from: SocketAddr,
    sent: Vec<Datagram>,
}

impl Wire {
    fn of(end: &End) -> Self {
        Self {
            from: end.outside,
            sent: Vec::new(),
        }
    }
}

impl Network for Wire {
    fn send(&mut self, burst: Burst<'_>) -> bool {
        let datagrams = burst.bytes.chunks(burst.segment);
        self.sent.extend(datagrams.map(|payload| Datagram {
            payload: payload.to_vec(),
            from: self.from,
            to: burst.to.address,
            ecn: burst.ecn,
        }));
        true
    }
}

struct Delivered<'a>(&'a mut Vec<Vec<u8>>);

impl Interface for Delivered<'_> {
    fn write(&mut self, frame: &Frame<'_>, buffer: &[u8]) -> bool {
        let pieces = frame.pieces.iter();
        let bytes = pieces.flat_map(|it| &buffer[it.start..it.start + it.length]);
        self.0.push(bytes.copied().collect());
        true
    }
}
