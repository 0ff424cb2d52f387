//! Who is at the other end, and what both ends have in common for a trial.

use std::net::{IpAddr, SocketAddr};

use wireguard::PresharedKey;
use wireguard::uapi::{PeerUpdate, Setting, Update};

use super::namespace::Namespace;
use super::pair::{End, Family, Pair};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Other {
    Ours,
    WireguardGo,
}

impl Other {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::WireguardGo];

    /// One of ours in the east, and the other in the west, who know each other.
    pub(crate) fn pair(self, family: Family) -> Pair {
        match self {
            Self::Ours => Pair::configured(family),
            Self::WireguardGo => Pair::with_wireguard_go(family),
        }
    }

    /// The same, before the ends know each other.
    pub(crate) fn strangers(self, family: Family) -> Pair {
        let mut pair = Pair::without_devices(family);
        pair.east.start();
        self.start(&mut pair.west);
        pair
    }

    /// Whether it may answer from `source` when it was asked at `asked`. Debian's does not always
    /// keep to that.
    pub(crate) fn answers_from(self, source: SocketAddr, asked: SocketAddr) -> bool {
        match self {
            Self::Ours => source == asked,
            Self::WireguardGo => true,
        }
    }

    pub(crate) fn start(self, end: &mut End) {
        match self {
            Self::Ours => end.start(),
            Self::WireguardGo => end.start_program("wireguard-go", &["-f"]),
        }
    }
}

/// Gives each end an address of the other family in the tunnel as well, and returns the west's.
pub(crate) fn add_other_family(pair: &Pair) -> IpAddr {
    let (east, west) = (of_other_family(&pair.east), of_other_family(&pair.west));
    for (end, own, other, its) in [
        (&pair.east, east, &pair.west, west),
        (&pair.west, west, &pair.east, east),
    ] {
        end.add_address(&end.interface, own);
        allow(end, other, &format!("{},{its}", other.inside));
    }
    west
}

pub(crate) fn of_other_family(end: &End) -> IpAddr {
    let last = match end.inside {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    match end.inside {
        IpAddr::V4(_) => [0xfd88, 0, 0, 0, 0, 0, 0, last.into()].into(),
        IpAddr::V6(_) => [10, 88, 0, last].into(),
    }
}

/// Lets `other` have exactly these prefixes.
pub(crate) fn allow(end: &End, other: &End, prefixes: &str) {
    let peer = other.private_key.public_key().to_string();
    end.wg(&["peer", &peer, "allowed-ips", prefixes]);
}

/// Tells where `other` is.
pub(crate) fn point(end: &End, other: &End, endpoint: SocketAddr) {
    let peer = other.private_key.public_key().to_string();
    end.wg(&["peer", &peer, "endpoint", &endpoint.to_string()]);
}

pub(crate) fn keep_alive(end: &End, other: &End, seconds: &str) {
    let peer = other.private_key.public_key().to_string();
    end.wg(&["peer", &peer, "persistent-keepalive", seconds]);
}

pub(crate) fn set_preshared_key(end: &End, other: &End, key: &PresharedKey) {
    let peer = PeerUpdate {
        preshared_key: Some(Setting::To(key.clone())),
        ..PeerUpdate::new(other.private_key.public_key())
    };
    let update = Update {
        peers: vec![peer],
        ..Update::default()
    };
    end.uapi().set(&update).unwrap();
}

/// Where an end believes its only peer to be.
pub(crate) fn endpoint(end: &End) -> SocketAddr {
    end.peer_dump()[2].parse().unwrap()
}

/// Writes a setting below `/proc/sys/net`.
pub(crate) fn set(host: &Namespace, setting: &str, value: &str) {
    let path = format!("/proc/sys/net/{setting}");
    let value = value.to_owned();
    host.within(move || std::fs::write(path, value).unwrap());
}
