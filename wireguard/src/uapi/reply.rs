//! Reads and writes a device's description of itself, the answer to `get=1`.

use std::fmt::Write as _;

use super::request::{NO_SECRET, alternate_text};
use super::{DeviceState, DropCause, PROTOCOL_VERSION, PeerState, UnixTime};
use crate::{PresharedKey, PrivateKey, PublicKey};

/// What the names of causes come behind.
const DROPPED: &str = "dropped_";

/// A reply that a client cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The device refused the request with this error number (positive).
    #[error("the device answered error {0}")]
    Refused(i32),
    #[error("the device answered with a bad line {line}")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    #[error("the device's answer has no result at its end")]
    Truncated,
}

/// Writes a description, its result line and the empty line that ends it.
pub(crate) fn render(device: &DeviceState) -> String {
    let mut text = String::new();
    write_device(&mut text, device).expect("writing to a string succeeds");
    text
}

fn write_device(text: &mut String, device: &DeviceState) -> std::fmt::Result {
    if let Some(key) = &device.private_key {
        writeln!(text, "private_key={}", key.to_hex())?;
    }
    writeln!(text, "listen_port={}", device.listen_port)?;
    if device.fwmark != 0 {
        writeln!(text, "fwmark={}", device.fwmark)?;
    }
    for (key, peer) in &device.peers {
        write_peer(text, key, peer)?;
    }
    writeln!(text, "errno=0\n")
}

fn write_peer(text: &mut String, key: &PublicKey, peer: &PeerState) -> std::fmt::Result {
    writeln!(text, "public_key={}", key.to_hex())?;
    if let Some(preshared_key) = &peer.preshared_key {
        writeln!(text, "preshared_key={}", preshared_key.to_hex())?;
    }
    if let Some(alternate) = &peer.alternate_preshared_key {
        let alternate = alternate_text(alternate);
        writeln!(text, "alternate_preshared_key={alternate}")?;
    }
    if peer.preshared_key_in_use {
        writeln!(text, "preshared_key_in_use=true")?;
    }
    writeln!(text, "protocol_version={PROTOCOL_VERSION}")?;
    if let Some(endpoint) = peer.endpoint {
        writeln!(text, "endpoint={endpoint}")?;
    }
    let (seconds, nanoseconds) = peer
        .last_handshake
        .map_or((0, 0), |it| (it.seconds, it.nanoseconds));
    writeln!(text, "last_handshake_time_sec={seconds}")?;
    writeln!(text, "last_handshake_time_nsec={nanoseconds}")?;
    writeln!(text, "tx_bytes={}", peer.sent_bytes)?;
    writeln!(text, "rx_bytes={}", peer.received_bytes)?;
    writeln!(
        text,
        "persistent_keepalive_interval={}",
        peer.persistent_keepalive_seconds
    )?;
    if let Some(predecessor) = peer.successor_of {
        writeln!(text, "successor_of={}", predecessor.to_hex())?;
    }
    for (cause, packets) in &peer.dropped {
        writeln!(text, "{DROPPED}{}={packets}", cause.name())?;
    }
    for prefix in &peer.allowed_ips {
        writeln!(text, "allowed_ip={prefix}")?;
    }
    for prefix in &peer.accepted_ips {
        writeln!(text, "accepted_ip={prefix}")?;
    }
    Ok(())
}

/// Reads a description. Keys that this release does not know are passed over.
pub(crate) fn parse(text: &str) -> Result<DeviceState, ReplyError> {
    let mut device = DeviceState::default();
    let mut current: Option<(PublicKey, PeerState)> = None;

    for (line, number) in text.lines().zip(1..) {
        let malformed = || ReplyError::Malformed { line: number };
        let (key, value) = line.split_once('=').ok_or_else(malformed)?;
        match key {
            "errno" => {
                device.peers.extend(current);
                return result(value).ok_or_else(malformed)?.map(|()| device);
            }
            "public_key" => {
                let key = PublicKey::from_hex(value).map_err(|_| malformed())?;
                device
                    .peers
                    .extend(current.replace((key, PeerState::default())));
            }
            _ => match &mut current {
                None => read_device_line(&mut device, key, value),
                Some((_, peer)) => read_peer_line(peer, key, value),
            }
            .ok_or_else(malformed)?,
        }
    }
    Err(ReplyError::Truncated)
}

/// Reads the answer to a request that asks for nothing but its result.
pub(super) fn parse_result(text: &str) -> Result<(), ReplyError> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("errno="))
        .ok_or(ReplyError::Truncated)?;
    result(value).ok_or(ReplyError::Malformed { line: 1 })?
}

/// The result behind `errno=`; devices disagree about its sign.
fn result(value: &str) -> Option<Result<(), ReplyError>> {
    let number: i32 = value.parse().ok()?;
    Some(match number {
        0 => Ok(()),
        _ => Err(ReplyError::Refused(number.checked_abs()?)),
    })
}

fn read_device_line(device: &mut DeviceState, key: &str, value: &str) -> Option<()> {
    match key {
        "fwmark" => device.fwmark = value.parse().ok()?,
        "listen_port" => device.listen_port = value.parse().ok()?,
        "private_key" => device.private_key = Some(PrivateKey::from_hex(value).ok()?),
        _ => (),
    }
    Some(())
}

fn read_peer_line(peer: &mut PeerState, key: &str, value: &str) -> Option<()> {
    match key {
        "accepted_ip" => {
            peer.accepted_ips.insert(value.parse().ok()?);
        }
        "allowed_ip" => {
            peer.allowed_ips.insert(value.parse().ok()?);
        }
        "alternate_preshared_key" => {
            peer.alternate_preshared_key = Some(match value {
                NO_SECRET => PresharedKey::none(),
                _ => PresharedKey::from_hex(value).ok()?,
            });
        }
        "endpoint" => peer.endpoint = Some(value.parse().ok()?),
        "last_handshake_time_nsec" => {
            let nanoseconds = value.parse().ok()?;
            if let Some(time) = &mut peer.last_handshake {
                time.nanoseconds = nanoseconds;
            }
        }
        "last_handshake_time_sec" => peer.last_handshake = handshake_time(value.parse().ok()?),
        "persistent_keepalive_interval" => {
            peer.persistent_keepalive_seconds = value.parse().ok()?;
        }
        "preshared_key" => {
            let preshared_key = PresharedKey::from_hex(value).ok()?;
            let none = value.bytes().all(|it| it == b'0');
            peer.preshared_key = (!none).then_some(preshared_key);
        }
        "preshared_key_in_use" => peer.preshared_key_in_use = value == "true",
        "rx_bytes" => peer.received_bytes = value.parse().ok()?,
        "successor_of" => peer.successor_of = Some(PublicKey::from_hex(value).ok()?),
        "tx_bytes" => peer.sent_bytes = value.parse().ok()?,
        _ => {
            if let Some(cause) = dropped(key) {
                let packets: u64 = value.parse().ok()?;
                peer.dropped
                    .extend((packets != 0).then_some((cause, packets)));
            }
        }
    }
    Some(())
}

/// The cause that a key counts, if it counts one that is known.
fn dropped(key: &str) -> Option<DropCause> {
    let name = key.strip_prefix(DROPPED)?;
    DropCause::ALL.into_iter().find(|it| it.name() == name)
}

/// Zero seconds say that there was no handshake yet.
fn handshake_time(seconds: u64) -> Option<UnixTime> {
    (seconds != 0).then_some(UnixTime {
        seconds,
        nanoseconds: 0,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn describes_a_device_as_wg_expects() {
        let peer = PeerState {
            endpoint: Some("192.0.2.1:51871".parse().unwrap()),
            allowed_ips: ["10.0.0.0/8".parse().unwrap()].into(),
            accepted_ips: ["10.1.0.0/16".parse().unwrap()].into(),
            received_bytes: 5,
            dropped: [(DropCause::NotAuthentic, 3)].into(),
            ..PeerState::default()
        };
        let device = DeviceState {
            listen_port: 7,
            peers: [(PublicKey::from([0xab; 32]), peer)].into(),
            ..DeviceState::default()
        };

        let expected = format!(
            "listen_port=7\npublic_key={}\nprotocol_version=1\nendpoint=192.0.2.1:51871\n\
             last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=5\n\
             persistent_keepalive_interval=0\ndropped_not_authentic=3\n\
             allowed_ip=10.0.0.0/8\naccepted_ip=10.1.0.0/16\n\
             errno=0\n\n",
            "ab".repeat(32)
        );
        assert_eq!(render(&device), expected);
    }

    #[test]
    fn tells_refusals_from_nonsense() {
        assert_eq!(parse("errno=-22\n\n"), Err(ReplyError::Refused(22)));
        assert_eq!(parse_result("errno=98\n\n"), Err(ReplyError::Refused(98)));
        assert_eq!(parse_result("errno=0\n\n"), Ok(()));
        assert_eq!(parse(""), Err(ReplyError::Truncated));
        assert_eq!(parse("listen_port=7\n"), Err(ReplyError::Truncated));
        assert_eq!(
            parse("listen_port=x\n"),
            Err(ReplyError::Malformed { line: 1 })
        );
        assert_eq!(parse("new_key=x\nerrno=0"), Ok(DeviceState::default()));
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(device in device()) {
            prop_assert_eq!(parse(&render(&device)), Ok(device));
        }

        #[test]
        fn takes_any_text_without_a_panic(text in "(public_key|errno|rx_bytes|=|[0-9]|\n|\\PC){0,40}") {
            let _ = parse(&text);
            let _ = parse_result(&text);
        }
    }

    fn device() -> impl Strategy<Value = DeviceState> {
        let peers =
            prop::collection::btree_map(any::<[u8; 32]>().prop_map(Into::into), peer(), 0..4);
        let key = any::<Option<[u8; 32]>>().prop_map(|it| it.map(PrivateKey::from));
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
        let preshared_key = any::<Option<[u8; 32]>>().prop_map(|it| it.map(PresharedKey::from));
        let endpoint = prop::option::of(any::<(IpAddr, u16)>().prop_map(Into::into));
        let prefix = (any::<IpAddr>(), 0..=32_u8)
            .prop_map(|(ip, length)| IpNet::new(ip, length).unwrap().trunc());
        let cause = prop::sample::select(DropCause::ALL.to_vec());
        let prefixes = || prop::collection::btree_set(prefix.clone(), 0..4);
        let time = prop::option::of((1..u64::MAX, 0..1_000_000_000_u32).prop_map(
            |(seconds, nanoseconds)| UnixTime {
                seconds,
                nanoseconds,
            },
        ));
        let alternate = prop_oneof![
            Just(None),
            Just(Some(PresharedKey::none())),
            any::<[u8; 32]>().prop_map(|it| Some(it.into())),
        ];
        (
            (preshared_key, alternate, any::<bool>()),
            endpoint,
            any::<u16>(),
            (prefixes(), prefixes()),
            time,
            any::<(u64, u64)>(),
            any::<Option<[u8; 32]>>().prop_map(|it| it.map(PublicKey::from)),
            prop::collection::btree_map(cause, 1..u64::MAX, 0..4),
        )
            .prop_map(|it| PeerState {
                preshared_key: it.0.0,
                alternate_preshared_key: it.0.1,
                preshared_key_in_use: it.0.2,
                endpoint: it.1,
                persistent_keepalive_seconds: it.2,
                allowed_ips: it.3.0,
                accepted_ips: it.3.1,
                last_handshake: it.4,
                received_bytes: it.5.0,
                sent_bytes: it.5.1,
                successor_of: it.6,
                dropped: it.7,
            })
    }
}
