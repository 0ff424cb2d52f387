//! A door: what the kernel tells of a network interface.

use netlink_packet_core::{NLM_F_ACK, Nla as _};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::netlink;
use crate::uapi::KernelError;

/// An interface.
pub(super) struct Link {
    pub(super) index: u32,
    /// Its largest packet, in bytes.
    pub(super) mtu: usize,
    /// Absent if it is none that a process carries packets for.
    pub(super) tun: Option<TunKind>,
}

/// What crosses the descriptor of an interface made with `/dev/net/tun`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TunKind {
    /// IP packets, not Ethernet frames.
    pub(super) carries_packets: bool,
    /// Four bytes in front say what each is (no `IFF_NO_PI`).
    pub(super) has_information: bool,
    /// What a network card would be told is in front of each (`IFF_VNET_HDR`).
    pub(super) has_headers: bool,
}

/// The kernel's numbers of what it tells of such an interface.
const TYPE: u16 = 3;
const INFORMATION: u16 = 4;
const HEADERS: u16 = 5;

/// `IFF_TUN`; the other type is `IFF_TAP`.
const TYPE_TUN: u8 = 1;

pub(super) fn by_name(name: &str) -> Result<Link, KernelError> {
    let mut question = LinkMessage::default();
    let name = LinkAttribute::IfName(name.to_owned());
    question.attributes.push(name);
    ask(question)
}

pub(super) fn by_index(index: u32) -> Result<Link, KernelError> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    ask(question)
}

fn ask(question: LinkMessage) -> Result<Link, KernelError> {
    let socket = netlink::open(NETLINK_ROUTE)?;
    let question = RouteNetlinkMessage::GetLink(question);
    let mut found = None;
    netlink::exchange(&socket, question, NLM_F_ACK, |answer| {
        if let RouteNetlinkMessage::NewLink(link) = answer {
            found = read(&link);
        }
        Ok(())
    })?;
    found.ok_or(KernelError::Malformed)
}

fn read(message: &LinkMessage) -> Option<Link> {
    let mut mtu = None;
    let mut tun = None;
    for attribute in &message.attributes {
        if let LinkAttribute::Mtu(bytes) = attribute {
            mtu = usize::try_from(*bytes).ok();
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            tun = infos.iter().find_map(read_tun);
        }
    }
    let index = message.header.index;
    mtu.map(|mtu| Link { index, mtu, tun })
}

fn read_tun(info: &LinkInfo) -> Option<TunKind> {
    if let LinkInfo::Data(InfoData::Tun(told)) = info {
        Some(kind(told))
    } else {
        None
    }
}

fn kind(told: &[InfoTun]) -> TunKind {
    let mut kind = TunKind::default();
    for it in told {
        let mut value = vec![0; it.value_len()];
        it.emit_value(&mut value);
        match (it.kind(), value.first()) {
            (TYPE, Some(value)) => kind.carries_packets = *value == TYPE_TUN,
            (INFORMATION, Some(value)) => kind.has_information = *value != 0,
            (HEADERS, Some(value)) => kind.has_headers = *value != 0,
            _ => (),
        }
    }
    kind
}
