//! Decides where a node may be reached: what it says of itself, and what others read from that.

use std::net::{IpAddr, SocketAddr};

use topology::record::{AddressKind, ENDPOINTS_ANNOTATION, NEXT_PUBLIC_KEY_ANNOTATION, Node};
use wireguard::PublicKey;

use crate::desired::WIREGUARD_PORT;

/// Places at which one node is looked for; a Node that lists more is wrong, or wants us to knock at
/// every door of the world.
pub const ENDPOINTS_MAX: usize = 8;

/// The key that is about to take the place of the node's own.
pub fn next_public_key(node: &Node) -> Option<PublicKey> {
    node.annotations
        .get(NEXT_PUBLIC_KEY_ANNOTATION)?
        .parse()
        .ok()
}

/// The node's addresses on the underlay: internal ones before external ones, v4 before v6.
pub fn underlay(node: &Node) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for kind in [AddressKind::InternalIP, AddressKind::ExternalIP] {
        let of_kind = || node.addresses.iter().filter(|it| it.kind == kind);
        let v4 = of_kind().filter(|it| it.address.is_ipv4());
        let v6 = of_kind().filter(|it| it.address.is_ipv6());
        addresses.extend(v4.chain(v6).map(|it| it.address));
    }
    addresses
}

/// The node's internal addresses: those that nodes of its own network know it by.
pub fn internal(node: &Node) -> impl Iterator<Item = IpAddr> {
    let addresses = node.addresses.iter();
    let internal = addresses.filter(|it| it.kind == AddressKind::InternalIP);
    internal.map(|it| it.address)
}

/// What a node says of where it may be reached: first what its operator says, then its addresses.
pub fn own(configured: &[SocketAddr], underlay: &[IpAddr]) -> Vec<SocketAddr> {
    let addresses = underlay
        .iter()
        .map(|it| SocketAddr::new(*it, WIREGUARD_PORT));
    distinct(configured.iter().copied().chain(addresses))
}

/// Where to look for a node, the likeliest place first: what it lists, or its addresses. Never empty
/// for a node with an address.
pub fn of(node: &Node) -> Vec<SocketAddr> {
    let listed = node
        .annotations
        .get(ENDPOINTS_ANNOTATION)
        .map_or("", String::as_str);
    let listed = listed.split(',').filter_map(|it| it.trim().parse().ok());
    let listed = listed.filter(is_a_place);
    let addresses = underlay(node)
        .into_iter()
        .map(|it| SocketAddr::new(it, WIREGUARD_PORT));
    distinct(listed.chain(addresses))
}

/// Nobody but ourselves is reached by what a broken or hostile Node may name here.
fn is_a_place(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}

fn distinct(places: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut distinct: Vec<SocketAddr> = Vec::new();
    for place in places {
        if distinct.len() < ENDPOINTS_MAX && !distinct.contains(&place) {
            distinct.push(place);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_first_where_a_node_says() {
        let node = node("203.0.113.7:4000, 192.0.2.11:51871,nonsense,127.0.0.1:1,9.9.9.9:0");

        let expected = [
            "203.0.113.7:4000",
            "192.0.2.11:51871",
            "[2001:db8::1]:51871",
        ];
        assert_eq!(of(&node), expected.map(|it| it.parse().unwrap()));
    }

    #[test]
    fn looks_for_a_node_that_says_nothing_at_its_addresses() {
        let expected = ["192.0.2.11:51871", "[2001:db8::1]:51871"];

        assert_eq!(of(&node("")), expected.map(|it| it.parse().unwrap()));
    }

    #[test]
    fn does_not_look_everywhere() {
        let many: Vec<String> = (1..100).map(|it| format!("9.9.9.9:{it}")).collect();

        assert_eq!(of(&node(&many.join(","))).len(), ENDPOINTS_MAX);
    }

    fn node(endpoints: &str) -> Node {
        serde_json::from_str(&format!(
            r#"{{"Name":"node-1","Cluster":"us","ClusterID":2,"IPAddresses":[
            {{"Type":"InternalIP","IP":"2001:db8::1"}},
            {{"Type":"InternalIP","IP":"192.0.2.11"}},
            {{"Type":"CiliumInternalIP","IP":"10.2.1.1"}}],
            "Annotations":{{"{ENDPOINTS_ANNOTATION}":"{endpoints}"}}}}"#
        ))
        .unwrap()
    }
}
