//! Says what is wanted of the kernel's WireGuard in its own messages, and reads what it says of
//! itself in them.
//!
//! What does not fit one message goes in several. The kernel applies each whole, and one after the
//! other: an update of many peers is not one step.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the attributes are the kernel's, which adds to them; what is new is passed over"
)]

use ipnet::IpNet;
use netlink_packet_core::Emitable as _;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags,
    WireguardAttribute, WireguardCmd, WireguardDeviceFlags, WireguardMessage, WireguardPeer,
    WireguardPeerAttribute, WireguardPeerFlags, WireguardTimeSpec,
};

use crate::uapi::{AllowedIpChange, DeviceState, PeerState, PeerUpdate, Setting, UnixTime, Update};
use crate::{PresharedKey, PrivateKey, PublicKey};

pub(crate) use client::{get, set};

mod client;

/// The allowed IPs of one peer in one message; with the larger of their addresses, 12 KiB.
const ALLOWED_IPS_MAX: usize = 256;

/// All peers of one message: the length of an attribute has 16 bits, and one peer more may follow.
const PEERS_BYTES_MAX: usize = 32 << 10;

const NO_KEY: [u8; 32] = [0; 32];

/// Something that our device does, and the kernel's does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported(pub(crate) &'static str);

/// Asks for all that there is to know.
fn query(interface: &str) -> WireguardMessage {
    WireguardMessage {
        cmd: WireguardCmd::GetDevice,
        attributes: vec![WireguardAttribute::IfName(interface.to_owned())],
    }
}

/// The messages that apply `update`, to be sent in this order.
fn requests(interface: &str, update: &Update) -> Result<Vec<WireguardMessage>, Unsupported> {
    let mut pieces = Vec::new();
    for peer in &update.peers {
        push_peer(&mut pieces, peer)?;
    }
    let mut attributes = device_attributes(interface, update);
    let mut messages = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    loop {
        let mut peers = Vec::new();
        let mut bytes = 0;
        while let Some(piece) = pieces.next_if(|_| bytes < PEERS_BYTES_MAX) {
            bytes += piece.0.as_slice().buffer_len();
            peers.push(piece);
        }
        if !peers.is_empty() {
            attributes.push(WireguardAttribute::Peers(peers));
        }
        messages.push(WireguardMessage {
            cmd: WireguardCmd::SetDevice,
            attributes,
        });
        if pieces.peek().is_none() {
            return Ok(messages);
        }
        attributes = vec![WireguardAttribute::IfName(interface.to_owned())];
    }
}

fn device_attributes(interface: &str, update: &Update) -> Vec<WireguardAttribute> {
    let mut attributes = vec![WireguardAttribute::IfName(interface.to_owned())];
    if update.replace_peers {
        let flags = WireguardDeviceFlags::ReplacePeers;
        attributes.push(WireguardAttribute::Flags(flags));
    }
    if let Some(setting) = &update.private_key {
        attributes.push(WireguardAttribute::PrivateKey(match setting {
            Setting::Clear => NO_KEY,
            Setting::To(key) => key.to_bytes(),
        }));
    }
    attributes.extend(update.listen_port.map(WireguardAttribute::ListenPort));
    attributes.extend(update.fwmark.map(WireguardAttribute::Fwmark));
    attributes
}

/// The update of one peer, in pieces of which each fits a message.
fn push_peer(pieces: &mut Vec<WireguardPeer>, update: &PeerUpdate) -> Result<(), Unsupported> {
    let mut flags = WireguardPeerFlags::empty();
    flags.set(WireguardPeerFlags::RemoveMe, update.remove);
    flags.set(WireguardPeerFlags::UpdateOnly, update.update_only);
    flags.set(
        WireguardPeerFlags::ReplaceAllowedIps,
        update.replace_allowed_ips,
    );
    let mut first = begun(update.public_key, flags);
    if update.remove {
        pieces.push(WireguardPeer(first));
        return Ok(());
    }
    if let Some(Setting::To(_)) = update.successor_of {
        return Err(Unsupported("successor_of"));
    }
    if let Some(Setting::To(_)) = update.alternate_preshared_key {
        return Err(Unsupported("alternate_preshared_key"));
    }
    if let Some(setting) = &update.preshared_key {
        first.push(WireguardPeerAttribute::PresharedKey(match setting {
            Setting::Clear => NO_KEY,
            Setting::To(key) => *key.secret(),
        }));
    }
    first.extend(update.endpoint.map(WireguardPeerAttribute::Endpoint));
    let seconds = update.persistent_keepalive_seconds;
    first.extend(seconds.map(WireguardPeerAttribute::PersistentKeepalive));

    let mut chunks = update.allowed_ips.chunks(ALLOWED_IPS_MAX);
    first.extend(chunks.next().map(allowed_ips).transpose()?);
    pieces.push(WireguardPeer(first));
    for chunk in chunks {
        // The peer is there by now, unless it was not to be made.
        let mut next = begun(update.public_key, WireguardPeerFlags::UpdateOnly);
        next.push(allowed_ips(chunk)?);
        pieces.push(WireguardPeer(next));
    }
    Ok(())
}

fn begun(key: PublicKey, flags: WireguardPeerFlags) -> Vec<WireguardPeerAttribute> {
    let mut attributes = vec![WireguardPeerAttribute::PublicKey(*key.as_bytes())];
    if !flags.is_empty() {
        attributes.push(WireguardPeerAttribute::Flags(flags));
    }
    attributes
}

fn allowed_ips(changes: &[AllowedIpChange]) -> Result<WireguardPeerAttribute, Unsupported> {
    let changes = changes.iter().map(|change| match change {
        AllowedIpChange::Add(prefix) => Ok(allowed_ip(*prefix)),
        AllowedIpChange::Share(_) => Err(Unsupported("shared_allowed_ip")),
        AllowedIpChange::Accept(_) => Err(Unsupported("accepted_ip")),
        AllowedIpChange::Remove(prefix) => {
            let mut allowed = allowed_ip(*prefix);
            let flags = WireguardAllowedIpFlags::RemoveMe;
            allowed.0.push(WireguardAllowedIpAttr::Flags(flags));
            Ok(allowed)
        }
    });
    let changes = changes.collect::<Result<_, _>>()?;
    Ok(WireguardPeerAttribute::AllowedIps(changes))
}

fn allowed_ip(prefix: IpNet) -> WireguardAllowedIp {
    let family = match prefix {
        IpNet::V4(_) => WireguardAddressFamily::Ipv4,
        IpNet::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(prefix.addr()),
        WireguardAllowedIpAttr::Cidr(prefix.prefix_len()),
    ])
}

/// Adds what one message says to what those before it said: a peer of many allowed IPs is in
/// several. `None` if it makes no sense.
fn read(state: &mut DeviceState, message: &WireguardMessage) -> Option<()> {
    for attribute in &message.attributes {
        match attribute {
            WireguardAttribute::PrivateKey(key) if *key != NO_KEY => {
                state.private_key = Some(PrivateKey::from(*key));
            }
            WireguardAttribute::ListenPort(port) => state.listen_port = *port,
            WireguardAttribute::Fwmark(mark) => state.fwmark = *mark,
            WireguardAttribute::Peers(peers) => {
                for peer in peers {
                    read_peer(state, peer)?;
                }
            }
            // What a later kernel may add is passed over.
            _ => (),
        }
    }
    Some(())
}

fn read_peer(state: &mut DeviceState, message: &WireguardPeer) -> Option<()> {
    let key = message.iter().find_map(|it| match it {
        WireguardPeerAttribute::PublicKey(key) => Some(PublicKey::from(*key)),
        _ => None,
    });
    let peer = state.peers.entry(key?).or_default();
    for attribute in message.iter() {
        read_peer_attribute(peer, attribute)?;
    }
    Some(())
}

fn read_peer_attribute(peer: &mut PeerState, attribute: &WireguardPeerAttribute) -> Option<()> {
    match attribute {
        WireguardPeerAttribute::PresharedKey(key) => {
            peer.preshared_key = (*key != NO_KEY).then(|| PresharedKey::from(*key));
        }
        WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(*endpoint),
        WireguardPeerAttribute::PersistentKeepalive(seconds) => {
            peer.persistent_keepalive_seconds = *seconds;
        }
        WireguardPeerAttribute::LastHandshake(time) => {
            let never = *time == WireguardTimeSpec::default();
            peer.last_handshake = if never { None } else { Some(unix_time(*time)?) };
        }
        WireguardPeerAttribute::RxBytes(bytes) => peer.received_bytes = *bytes,
        WireguardPeerAttribute::TxBytes(bytes) => peer.sent_bytes = *bytes,
        WireguardPeerAttribute::AllowedIps(prefixes) => {
            for prefix in prefixes {
                peer.allowed_ips.insert(read_prefix(prefix)?);
            }
        }
        _ => (),
    }
    Some(())
}

fn unix_time(time: WireguardTimeSpec) -> Option<UnixTime> {
    Some(UnixTime {
        seconds: time.seconds.try_into().ok()?,
        nanoseconds: time.nano_seconds.try_into().ok()?,
    })
}

fn read_prefix(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let mut address = None;
    let mut length = None;
    for attribute in allowed.iter() {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(it) => address = Some(*it),
            WireguardAllowedIpAttr::Cidr(it) => length = Some(*it),
            _ => (),
        }
    }
    IpNet::new(address?, length?).ok()
}

#[cfg(test)]
mod tests;
