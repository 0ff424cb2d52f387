//! A door: reads and changes links, addresses, routes and rules of the process's network namespace.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;
use rtnetlink::{Error, Handle, IpVersion, LinkUnspec, RouteMessageBuilder};

use crate::network::nodes::Rule;
use crate::network::{Action, Observed, TUNNEL_MTU_BYTES, Table};
use message::OUR_ADDRESS;

mod message;

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
            links: links
                .iter()
                .filter_map(message::link)
                .collect::<BTreeMap<_, _>>(),
            addresses: addresses.iter().filter_map(message::address).collect(),
            ..Observed::default()
        };
        for route in &routes {
            message::take_route(&mut observed, route);
        }
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules = self.rules(version).await?;
            observed
                .rules
                .extend(rules.iter().filter_map(message::rule));
        }
        Ok(observed)
    }

    /// Removes our routes, rules and addresses, and returns how many there were.
    pub async fn clean_up(&self) -> anyhow::Result<usize> {
        let observed = self.observe().await?;
        let Observed { main, nodes, .. } = &observed;
        let rules = observed.rules.iter().rev();
        let mut actions: Vec<Action> = rules.map(|it| Action::DeleteRule(*it)).collect();
        for (table, ours) in [(Table::Main, main), (Table::Nodes, nodes)] {
            let routes = ours.routes.keys();
            actions.extend(routes.map(|it| Action::DeleteRoute(table, *it)));
            let barriers = ours.barriers.iter();
            actions.extend(barriers.map(|it| Action::DeleteBarrier(table, *it)));
        }
        let mut addresses = self.addresses().await?;
        addresses.retain(|it| it.attributes.contains(&OUR_ADDRESS));
        let count = actions.len() + addresses.len();
        for action in actions {
            self.execute(action).await?;
        }
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

    async fn rules(&self, version: IpVersion) -> anyhow::Result<Vec<RuleMessage>> {
        let rules = self.handle.rule().get(version).execute().try_collect();
        rules.await.context("cannot list rules")
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
                let message = request.message_mut();
                message.attributes.push(OUR_ADDRESS);
                // Nobody else is on the link; until the kernel is sure, no route may have the address.
                message.header.flags |= AddressHeaderFlags::Nodad;
                request
                    .execute()
                    .await
                    .with_context(|| format!("cannot add the address {address}"))
            }
            Action::AddRule(rule) => self.add_rule(rule).await,
            Action::DeleteBarrier(table, prefix) => {
                let request = self.handle.route().del(message::barrier(table, prefix));
                ignore_absence(request.execute().await)
                    .with_context(|| format!("cannot delete the barrier for {prefix}"))
            }
            Action::DeleteRoute(table, prefix) => {
                let message = message::any_route(table, prefix);
                ignore_absence(self.handle.route().del(message).execute().await)
                    .with_context(|| format!("cannot delete the route {prefix}"))
            }
            Action::DeleteRule(rule) => {
                let message = message::rule_message(rule);
                ignore_absence(self.handle.rule().del(message).execute().await)
                    .with_context(|| format!("cannot delete the rule {}", rule.priority()))
            }
            Action::PutBarrier(table, prefix) => {
                let message = message::barrier(table, prefix);
                let request = self.handle.route().add(message).replace();
                request
                    .execute()
                    .await
                    .with_context(|| format!("cannot set the barrier for {prefix}"))
            }
            Action::PutRoute(table, prefix, route) => {
                let message = message::full_route(table, prefix, route);
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

    async fn add_rule(&self, rule: Rule) -> anyhow::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message::rule_message(rule);
        let added = request.execute().await;
        added.with_context(|| format!("cannot add the rule {}", rule.priority()))
    }
}

/// The settings that keep the kernel from passing on what comes from a link.
pub fn not_forwarding(link: &str, has_v6: bool) -> Vec<String> {
    let v4 = format!("net/ipv4/conf/{link}/forwarding");
    let v6 = has_v6.then(|| "net/ipv6/conf/all/forwarding".to_owned());
    let mut settings = Vec::from_iter([v4].into_iter().chain(v6));
    // What cannot be read is not there.
    settings.retain(|it| fs::read(format!("/proc/sys/{it}")).is_ok_and(|it| it == b"0\n"));
    settings
}

/// What is gone already, for instance with its device, is as good as deleted.
fn ignore_absence(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(error)) if ABSENT.contains(&error.raw_code()) => Ok(()),
        result => result,
    }
}

/// How the kernel says that there is no such route, or rule.
const ABSENT: [i32; 2] = [-libc::ESRCH, -libc::ENOENT];
