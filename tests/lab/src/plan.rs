//! Decides the addresses of a lab: which hosts and pods each region has, and where they are.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::path::Conditions;
use crate::place::Place;

/// Everything a lab is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub regions: Vec<Region>,
    /// How the internet treats packets between two regions, in both directions. Pairs that are not
    /// named have a perfect link.
    pub paths: Vec<(String, String, Conditions)>,
}

/// A region: a router towards the internet, a control host and nodes with pods.
#[derive(Clone, Debug)]
pub struct Region {
    pub name: String,
    /// From 1 to 9; part of the region's pod and service addresses.
    pub number: u8,
    /// The region's part of the internet, a /24.
    pub underlay: Ipv4Net,
    /// How many nodes, counted from 1.
    pub nodes: u8,
    pub pods: Vec<Pod>,
}

/// A pod: an address on a node, for processes that are started later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    /// The node it runs on, counted from 1.
    pub node: u8,
    /// The last byte of its address, from 2 to 254; 1 is the node itself.
    pub suffix: u8,
    /// The value of its label `app`.
    pub app: String,
}

impl Plan {
    /// The three regions of the example, with the delays between their cities and without pods.
    pub fn three_regions() -> Self {
        let region = |name: &str, number, underlay| Region {
            name: name.to_owned(),
            number,
            underlay: Ipv4Net::new_assert(underlay, 24),
            nodes: 2,
            pods: Vec::new(),
        };
        let path = |from: &str, to: &str, milliseconds| {
            let delay = Duration::from_millis(milliseconds);
            (from.to_owned(), to.to_owned(), Conditions::delayed(delay))
        };
        Self {
            regions: vec![
                region("eu", 1, Ipv4Addr::new(192, 0, 2, 0)),
                region("us", 2, Ipv4Addr::new(198, 51, 100, 0)),
                region("ap", 3, Ipv4Addr::new(203, 0, 113, 0)),
            ],
            paths: vec![
                path("eu", "us", 45),
                path("eu", "ap", 80),
                path("us", "ap", 110),
            ],
        }
    }

    /// The region called `name`.
    ///
    /// # Panics
    ///
    /// If the plan has no such region.
    pub fn region(&self, name: &str) -> &Region {
        let found = self.regions.iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("the plan has no region `{name}`"))
    }
}

impl Region {
    pub fn router(&self) -> Place {
        Place::host(format!("{}-router", self.name))
    }

    /// The host of the control plane: API server and DNS authority.
    pub fn control(&self) -> Place {
        Place::host(format!("{}-control", self.name))
    }

    pub fn node(&self, node: u8) -> Place {
        Place::host(self.node_name(node))
    }

    pub fn pod(&self, pod: &Pod) -> Place {
        Place::pod(self.node_name(pod.node), &pod.name)
    }

    /// The pod called `name`.
    ///
    /// # Panics
    ///
    /// If the region has no such pod.
    pub fn pod_named(&self, name: &str) -> &Pod {
        let found = self.pods.iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("region `{}` has no pod `{name}`", self.name))
    }

    pub fn node_name(&self, node: u8) -> String {
        format!("{}-node-{node}", self.name)
    }

    /// Every node's number, in order.
    pub fn node_numbers(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.nodes
    }

    pub fn router_address(&self) -> Ipv4Addr {
        self.underlay_address(1)
    }

    pub fn control_address(&self) -> Ipv4Addr {
        self.underlay_address(10)
    }

    pub fn node_address(&self, node: u8) -> Ipv4Addr {
        self.underlay_address(10 + node)
    }

    /// The prefix of a node's pods, `10.R.N.0/24`.
    pub fn pod_cidr(&self, node: u8) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, self.number, node, 0), 24)
    }

    /// The prefix of all pods of the region, `10.R.0.0/16`.
    pub fn pod_range(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, self.number, 0, 0), 16)
    }

    /// The node's own address among its pods, their gateway.
    pub fn pod_gateway(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, node, 1)
    }

    pub fn pod_address(&self, pod: &Pod) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, pod.node, pod.suffix)
    }

    /// The prefix of the region's services, `10.11R.0.0/16`.
    pub fn service_range(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 110 + self.number, 0, 0), 16)
    }

    /// A service address, `10.11R.0.SUFFIX`.
    pub fn service_address(&self, suffix: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 110 + self.number, 0, suffix)
    }

    fn underlay_address(&self, suffix: u8) -> Ipv4Addr {
        let [first, second, third, _] = self.underlay.network().octets();
        Ipv4Addr::new(first, second, third, suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_part_of_a_region_its_address() {
        let plan = Plan::three_regions();
        let us = plan.region("us");

        assert_eq!(us.control_address().to_string(), "198.51.100.10");
        assert_eq!(us.node_address(2).to_string(), "198.51.100.12");
        assert_eq!(us.pod_cidr(2).to_string(), "10.2.2.0/24");
        assert_eq!(us.pod_gateway(2).to_string(), "10.2.2.1");
        assert_eq!(us.service_address(10).to_string(), "10.112.0.10");
        assert_eq!(us.node(1).namespace(), "cw-us-node-1");
    }
}
