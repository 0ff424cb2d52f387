//! Wires one region: router, hosts and pods, with the routes that a data centre would have.
//!
//! The region's own hosts know its pod prefixes; the link to the internet never does.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::namespace;
use crate::place::Place;
use crate::plan::{Plan, Pod, Region};

/// The metric of the lab's own routes to pods, so that any route of an agent goes first.
const LAST_RESORT: u32 = 1_000;

/// The MTU of a pod's route to the world: what fits through a WireGuard tunnel.
const POD_MTU: u32 = 1_420;

/// Every place of the region that has a namespace, hosts before their pods.
pub(crate) fn places(region: &Region) -> Vec<Place> {
    let hosts = [region.router(), region.control()];
    let nodes = region.node_numbers().map(|it| region.node(it));
    let pods = region.pods.iter().map(|it| region.pod(it));
    hosts.into_iter().chain(nodes).chain(pods).collect()
}

/// Creates the region's namespaces and the links and routes inside it.
pub(crate) fn build(region: &Region) -> Result<()> {
    for place in places(region) {
        namespace::create(&place)?;
    }
    let router = region.router();
    let address = region.router_address();
    namespace::ip(
        &router,
        &format!("link add lan0 type bridge\naddr add {address}/24 dev lan0\nlink set lan0 up\n"),
    )?;
    connect(
        region,
        &region.control(),
        "control",
        region.control_address(),
    )?;
    for node in region.node_numbers() {
        connect(
            region,
            &region.node(node),
            &format!("node-{node}"),
            region.node_address(node),
        )?;
    }
    namespace::ip(&router, &routes_to_pods(region, None))?;
    namespace::ip(&region.control(), &routes_to_pods(region, None))?;
    for node in region.node_numbers() {
        // Without the second line, packets for missing pods would go round through the router.
        let own = format!(
            "addr add {}/32 dev lo\nroute add unreachable {} metric {LAST_RESORT}\n",
            region.pod_gateway(node),
            region.pod_cidr(node)
        );
        let others = routes_to_pods(region, Some(node));
        namespace::ip(&region.node(node), &(own + &others))?;
    }
    region
        .pods
        .iter()
        .try_for_each(|pod| connect_pod(region, pod))
}

/// Routes the other regions' hosts over the router's link to the internet.
pub(crate) fn join(region: &Region, plan: &Plan) -> Result<()> {
    let others = plan.regions.iter().filter(|it| it.name != region.name);
    let lines = others.fold(String::from("link set wan0 up\n"), |mut lines, other| {
        let _infallible = writeln!(lines, "route add {} dev wan0", other.underlay);
        lines
    });
    namespace::ip(&region.router(), &lines)
}

/// Plugs a host into the router's bridge.
fn connect(region: &Region, host: &Place, port: &str, address: Ipv4Addr) -> Result<()> {
    let namespace = host.namespace();
    namespace::ip(
        &region.router(),
        &format!(
            "link add {port} type veth peer name eth0 netns {namespace}\n\
             link set {port} master lan0 up\n"
        ),
    )?;
    let router = region.router_address();
    namespace::ip(
        host,
        &format!(
            "addr add {address}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {router}\n"
        ),
    )
}

/// Routes to the pods of every node but `own`.
fn routes_to_pods(region: &Region, own: Option<u8>) -> String {
    let others = region.node_numbers().filter(|it| Some(*it) != own);
    others.fold(String::new(), |mut lines, node| {
        let (prefix, via) = (region.pod_cidr(node), region.node_address(node));
        let _infallible = writeln!(lines, "route add {prefix} via {via} metric {LAST_RESORT}");
        lines
    })
}

fn connect_pod(region: &Region, pod: &Pod) -> Result<()> {
    let (node, place) = (region.node(pod.node), region.pod(pod));
    let (address, gateway) = (region.pod_address(pod), region.pod_gateway(pod.node));
    let (link, namespace) = (format!("lxc{}", pod.suffix), place.namespace());
    namespace::ip(
        &node,
        &format!(
            "link add {link} type veth peer name eth0 netns {namespace}\n\
             link set {link} up\n\
             route add {address}/32 dev {link} src {gateway}\n"
        ),
    )?;
    namespace::ip(
        &place,
        &format!(
            "addr add {address}/32 dev eth0\n\
             link set eth0 up\n\
             route add {gateway} dev eth0 scope link\n\
             route add default via {gateway} mtu {POD_MTU}\n"
        ),
    )
}
