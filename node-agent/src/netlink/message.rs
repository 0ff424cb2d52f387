//! Translates between what the network should be and the kernel's messages.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::packet_route::{AddressFamily, IpProtocol};

use crate::desired::WIREGUARD_PORT;
use crate::network::nodes::{self, Family, Rule};
use crate::network::{self, Address, Link, Observed, ROUTE_PROTOCOL, Route, Table};

/// Marks our addresses, as our routes are marked.
pub(super) const OUR_ADDRESS: AddressAttribute =
    AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL));

pub(super) fn link(message: &LinkMessage) -> Option<(String, Link)> {
    let mut name = None;
    let mut mtu_bytes = 0;
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(it) = attribute {
            name = Some(it.clone());
        } else if let LinkAttribute::Mtu(it) = attribute {
            mtu_bytes = *it;
        }
    }
    let link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu_bytes,
    };
    Some((name?, link))
}

/// The local address: on point-to-point links the other attribute names the far end.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut far = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            local = Some(*address);
        } else if let AddressAttribute::Address(address) = attribute {
            far = Some(*address);
        }
    }
    // IPv6 has both only where there is a far end.
    let address = local.or(far)?;
    Some(Address {
        link: message.header.index,
        address,
        prefix_bits: message.header.prefix_len,
    })
}

/// Takes in a route, if it is of a table that matters.
pub(super) fn take_route(observed: &mut Observed, message: &RouteMessage) {
    let table = message.header.table;
    let Some(prefix) = destination(message) else {
        return;
    };
    let is_ours = message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL);
    let ours = match (table, is_ours) {
        (RouteHeader::RT_TABLE_MAIN, true) => &mut observed.main,
        (nodes::TABLE, true) => &mut observed.nodes,
        (RouteHeader::RT_TABLE_MAIN, false) => {
            let metric = metric(message);
            let best = observed.foreign.entry(prefix).or_insert(metric);
            *best = metric.min(*best);
            return;
        }
        _ => return,
    };
    if message.header.kind == RouteType::Unreachable {
        ours.barriers.insert(prefix);
    } else {
        ours.routes.insert(prefix, route(message));
    }
}

/// The default route has none and is never ours.
fn destination(message: &RouteMessage) -> Option<IpNet> {
    let length = message.header.destination_prefix_length;
    message.attributes.iter().find_map(|it| {
        let RouteAttribute::Destination(destination) = it else {
            return None;
        };
        if let RouteAddress::Inet(address) = destination {
            Ipv4Net::new(*address, length).ok().map(IpNet::V4)
        } else if let RouteAddress::Inet6(address) = destination {
            Ipv6Net::new(*address, length).ok().map(IpNet::V6)
        } else {
            None
        }
    })
}

/// The lowest one is not named.
fn metric(message: &RouteMessage) -> u32 {
    let mut attributes = message.attributes.iter();
    let named = attributes.find_map(|it| {
        let RouteAttribute::Priority(metric) = it else {
            return None;
        };
        Some(*metric)
    });
    named.unwrap_or_default()
}

fn route(message: &RouteMessage) -> Route {
    let mut route = Route {
        link: 0,
        gateway: None,
        source: None,
        mtu_bytes: None,
    };
    for attribute in &message.attributes {
        if let RouteAttribute::Oif(link) = attribute {
            route.link = *link;
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(address)) = attribute {
            route.gateway = Some(*address);
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet(address)) = attribute {
            route.source = Some((*address).into());
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet6(address)) = attribute {
            route.source = Some((*address).into());
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            route.mtu_bytes = metrics.iter().find_map(|it| {
                let RouteMetric::Mtu(bytes) = it else {
                    return None;
                };
                Some(*bytes)
            });
        }
    }
    route
}

pub(super) fn full_route(table: Table, prefix: IpNet, route: Route) -> RouteMessage {
    let mut builder = tunnel_builder(table, prefix).output_interface(route.link);
    let gateway = route.gateway.map(RouteAddress::Inet);
    match gateway {
        Some(gateway) => attribute(&mut builder, RouteAttribute::Gateway(gateway)),
        None => builder = builder.scope(RouteScope::Link),
    }
    if let Some(source) = route.source {
        attribute(&mut builder, RouteAttribute::PrefSource(source.into()));
    }
    let mut message = builder.build();
    if let Some(bytes) = route.mtu_bytes {
        let headers_bytes = match prefix {
            IpNet::V4(_) => IPV4_TCP_HEADERS_BYTES,
            IpNet::V6(_) => IPV6_TCP_HEADERS_BYTES,
        };
        let segment_bytes = bytes.saturating_sub(headers_bytes);
        message.attributes.push(RouteAttribute::Metrics(vec![
            RouteMetric::Mtu(bytes),
            RouteMetric::Advmss(segment_bytes),
        ]));
    }
    message
}

/// IP and TCP headers without options.
const IPV4_TCP_HEADERS_BYTES: u32 = 40;
const IPV6_TCP_HEADERS_BYTES: u32 = 60;

/// The last route that the kernel would take.
const BARRIER_METRIC: u32 = u32::MAX;

pub(super) fn barrier(table: Table, prefix: IpNet) -> RouteMessage {
    builder(table, prefix)
        .kind(RouteType::Unreachable)
        .priority(BARRIER_METRIC)
        .build()
}

/// Of any scope: else the kernel finds no route that has another one.
pub(super) fn any_route(table: Table, prefix: IpNet) -> RouteMessage {
    tunnel_builder(table, prefix)
        .scope(RouteScope::NoWhere)
        .build()
}

fn tunnel_builder(table: Table, prefix: IpNet) -> RouteMessageBuilder<IpAddr> {
    let builder = builder(table, prefix);
    match network::metric(&prefix) {
        0 => builder,
        metric => builder.priority(metric),
    }
}

/// What identifies one of our routes.
fn builder(table: Table, prefix: IpNet) -> RouteMessageBuilder<IpAddr> {
    let mut builder =
        RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    let header = &mut builder.get_mut().header;
    header.address_family = match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    header.table = match table {
        Table::Main => RouteHeader::RT_TABLE_MAIN,
        Table::Nodes => nodes::TABLE,
    };
    header.destination_prefix_length = prefix.prefix_len();
    let destination = RouteAttribute::Destination(prefix.network().into());
    attribute(&mut builder, destination);
    builder
}

fn attribute(builder: &mut RouteMessageBuilder<IpAddr>, attribute: RouteAttribute) {
    builder.get_mut().attributes.push(attribute);
}

/// One of our rules, as the kernel has it; `None` for anything else.
pub(super) fn rule(message: &RuleMessage) -> Option<Rule> {
    let mut rules = nodes::rules().into_iter();
    rules.find(|it| {
        let expected = rule_message(*it);
        // The kernel adds flags, and attributes with what it takes for granted.
        let has = |it: &RuleAttribute| message.attributes.contains(it);
        message.header.family == expected.header.family
            && message.header.action == expected.header.action
            && message.header.table == expected.header.table
            && expected.attributes.iter().all(has)
    })
}

pub(super) fn rule_message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family() {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority()),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    match rule {
        Rule::End(_) => message.header.action = RuleAction::Nop,
        Rule::Protocol(_, protocol) => {
            message.header.action = RuleAction::ToTable;
            message.header.table = nodes::TABLE;
            let protocol = IpProtocol::from(protocol);
            message.attributes.push(RuleAttribute::IpProtocol(protocol));
        }
        Rule::Tunnels(family) => {
            message.header.action = RuleAction::Goto;
            message.attributes.extend([
                RuleAttribute::Goto(Rule::End(family).priority()),
                RuleAttribute::IpProtocol(IpProtocol::Udp),
                RuleAttribute::SourcePortRange(RulePortRange {
                    start: WIREGUARD_PORT,
                    end: WIREGUARD_PORT,
                }),
            ]);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_rules_and_no_others() {
        for expected in nodes::rules() {
            assert_eq!(rule(&rule_message(expected)), Some(expected));

            let mut other = rule_message(expected);
            other.attributes.remove(1);
            assert_eq!(rule(&other), None, "{expected:?} of somebody else");
            let mut other = rule_message(expected);
            other.attributes[0] = RuleAttribute::Priority(7);
            assert_eq!(rule(&other), None, "{expected:?} elsewhere");
        }
    }
}
