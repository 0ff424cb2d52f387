//! A door: reads and changes links, addresses and routes of the process's network namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use rtnetlink::{Error, Handle, LinkUnspec, RouteMessageBuilder};

use crate::network::{Action, Address, Link, Observed, ROUTE_PROTOCOL, Route, TUNNEL_MTU_BYTES};

/// A connection to the kernel's routing tables.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens the connection; a task of the current runtime serves it until this is dropped.
    pub fn open() -> anyhow::Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub async fn observe(&self) -> anyhow::Result<Observed> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .context("cannot list links")?;
        let addresses = self.addresses().await?;
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let mut routes = self.routes(v4).await?;
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        routes.extend(self.routes(v6).await?);

        let mut observed = Observed {
            links: links.iter().filter_map(link).collect::<BTreeMap<_, _>>(),
            addresses: addresses.iter().filter_map(address).collect(),
            ..Observed::default()
        };
        for (prefix, message) in routes.iter().filter_map(|it| Some((main_prefix(it)?, it))) {
            let ours = message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL);
            if ours && message.header.kind == RouteType::Unreachable {
                observed.barriers.insert(prefix);
            } else if ours {
                observed.ours.insert(prefix, route(message));
            } else {
                observed.foreign.insert(prefix);
            }
        }
        Ok(observed)
    }

    /// Removes our routes and addresses, and returns how many there were.
    pub async fn clean_up(&self) -> anyhow::Result<usize> {
        let Observed { ours, barriers, .. } = self.observe().await?;
        for prefix in ours.keys() {
            self.execute(Action::DeleteRoute(*prefix)).await?;
        }
        for prefix in &barriers {
            self.execute(Action::DeleteBarrier(*prefix)).await?;
        }
        let mut addresses = self.addresses().await?;
        addresses.retain(|it| it.attributes.contains(&OUR_ADDRESS));
        let count = ours.len() + barriers.len() + addresses.len();
        for address in addresses {
            let request = self.handle.address().del(address);
            request
                .execute()
                .await
                .context("cannot remove our address")?;
        }
        Ok(count)
    }

    /// All of one family.
    async fn routes(&self, family: RouteMessage) -> anyhow::Result<Vec<RouteMessage>> {
        let request = self.handle.route().get(family);
        let routes = request.execute().try_collect().await;
        routes.context("cannot list routes")
    }

    async fn addresses(&self) -> anyhow::Result<Vec<AddressMessage>> {
        let request = self.handle.address().get();
        let addresses = request.execute().try_collect().await;
        addresses.context("cannot list addresses")
    }

    pub async fn execute(&self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::AddAddress { link, address } => {
                let address_handle = self.handle.address();
                let mut request = address_handle
                    .add(link, address, IpNet::from(address).prefix_len())
                    .replace();
                request.message_mut().attributes.push(OUR_ADDRESS);
                request
                    .execute()
                    .await
                    .with_context(|| format!("cannot add the address {address}"))
            }
            Action::DeleteBarrier(prefix) => {
                let request = self.handle.route().del(barrier(prefix));
                ignore_absence(request.execute().await)
                    .with_context(|| format!("cannot delete the barrier for {prefix}"))
            }
            Action::DeleteRoute(prefix) => {
                // Of any scope: else the kernel finds no route that has another one.
                let message = tunnel_builder(prefix).scope(RouteScope::NoWhere).build();
                ignore_absence(self.handle.route().del(message).execute().await)
                    .with_context(|| format!("cannot delete the route {prefix}"))
            }
            Action::PutBarrier(prefix) => {
                let request = self.handle.route().add(barrier(prefix)).replace();
                request
                    .execute()
                    .await
                    .with_context(|| format!("cannot set the barrier for {prefix}"))
            }
            Action::PutRoute(prefix, route) => {
                let message = full_route(prefix, route);
                let request = self.handle.route().add(message).replace();
                request
                    .execute()
                    .await
                    .with_context(|| format!("cannot set the route {prefix}"))
            }
            Action::SetUp { link } => {
                let message = LinkUnspec::new_with_index(link)
                    .mtu(TUNNEL_MTU_BYTES)
                    .up()
                    .build();
                let request = self.handle.link().set(message);
                request
                    .execute()
                    .await
                    .context("cannot bring the tunnel device up")
            }
        }
    }
}

/// Marks our addresses, as our routes are marked.
const OUR_ADDRESS: AddressAttribute =
    AddressAttribute::Protocol(AddressProtocol::Other(ROUTE_PROTOCOL));

fn link(message: &LinkMessage) -> Option<(String, Link)> {
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
fn address(message: &AddressMessage) -> Option<Address> {
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

/// The destination of a route of the main table; the default route has none and is never ours.
fn main_prefix(message: &RouteMessage) -> Option<IpNet> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let length = header.destination_prefix_length;
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

fn full_route(prefix: IpNet, route: Route) -> RouteMessage {
    let mut builder = tunnel_builder(prefix).output_interface(route.link);
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

/// What the kernel gives an IPv6 route that names none. It must be named, or a barrier could be taken
/// for the route.
const IPV6_METRIC: u32 = 1_024;

fn barrier(prefix: IpNet) -> RouteMessage {
    builder(prefix)
        .kind(RouteType::Unreachable)
        .priority(BARRIER_METRIC)
        .build()
}

fn tunnel_builder(prefix: IpNet) -> RouteMessageBuilder<IpAddr> {
    let builder = builder(prefix);
    match prefix {
        IpNet::V4(_) => builder,
        IpNet::V6(_) => builder.priority(IPV6_METRIC),
    }
}

/// What identifies one of our routes.
fn builder(prefix: IpNet) -> RouteMessageBuilder<IpAddr> {
    let mut builder =
        RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
    let header = &mut builder.get_mut().header;
    header.address_family = match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    header.destination_prefix_length = prefix.prefix_len();
    let destination = RouteAttribute::Destination(prefix.network().into());
    attribute(&mut builder, destination);
    builder
}

fn attribute(builder: &mut RouteMessageBuilder<IpAddr>, attribute: RouteAttribute) {
    builder.get_mut().attributes.push(attribute);
}

/// A route that is gone already, for instance with its device, is as good as deleted.
fn ignore_absence(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(error)) if error.raw_code() == -libc::ESRCH => Ok(()),
        result => result,
    }
}
