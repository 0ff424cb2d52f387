//! Listens on every link between hosts.

use std::fmt::Write as _;

use anyhow::Result;
use ipnet::Ipv4Net;
use lab::inspect::{Inspection, Secrets};
use lab::{Capture, Lab, Region};

/// Every link between two hosts of the lab.
pub(crate) struct Wires(Vec<Wire>);

struct Wire {
    name: String,
    secrets: Secrets,
    capture: Capture,
}

/// What was heard on each link.
pub(crate) struct Heard(Vec<(String, Inspection)>);

impl Wires {
    /// Starts to listen: on the link of each router to the internet, where no pod's address belongs
    /// at all, and on that of each host to its router, where only the other regions' do not.
    pub(crate) fn tap(lab: &Lab) -> Result<Self> {
        let regions = &lab.plan().regions;
        let mut wires = Vec::new();
        for region in regions {
            for link in links(region) {
                let peered = regions
                    .iter()
                    .filter(|it| link == "wan0" || it.name != region.name);
                let prefixes = peered.map(Region::pod_range).collect();
                wires.push(Wire::tap(lab, region, &link, prefixes)?);
            }
        }
        Ok(Self(wires))
    }

    /// Starts to listen for the addresses of one prefix, on every link of a region.
    pub(crate) fn tap_for(lab: &Lab, prefix: Ipv4Net, region: &Region) -> Result<Self> {
        let wires = links(region).map(|link| Wire::tap(lab, region, &link, vec![prefix]));
        wires.collect::<Result<_>>().map(Self)
    }

    /// What has been heard until now.
    pub(crate) fn heard(&mut self) -> Result<Heard> {
        let heard = self.0.iter_mut().map(|it| {
            let inspection = it.capture.so_far(&it.secrets)?;
            Ok((it.name.clone(), inspection))
        });
        heard.collect::<Result<_>>().map(Heard)
    }

    /// Ends the listening; what was heard is complete, or this fails.
    pub(crate) fn end(self) -> Result<Heard> {
        let heard = self.0.into_iter().map(|it| {
            let inspection = it.capture.stop()?.inspect(&it.secrets)?;
            Ok((it.name, inspection))
        });
        heard.collect::<Result<_>>().map(Heard)
    }
}

impl Wire {
    fn tap(lab: &Lab, region: &Region, link: &str, prefixes: Vec<Ipv4Net>) -> Result<Self> {
        Ok(Self {
            name: format!("{} {link}", region.name),
            secrets: Secrets {
                marker: Vec::new(),
                prefixes,
            },
            capture: Capture::start(lab, &region.router(), link)?,
        })
    }
}

/// The links of a region's router.
fn links(region: &Region) -> impl Iterator<Item = String> {
    let nodes = region.node_numbers().map(|it| format!("node-{it}"));
    nodes.chain(["control", "wan0"].map(str::to_owned))
}

impl Heard {
    pub(crate) fn packets(&self) -> usize {
        self.sum(|it| it.packets)
    }

    pub(crate) fn wireguard(&self) -> usize {
        self.sum(|it| it.wireguard)
    }

    pub(crate) fn leaks(&self) -> usize {
        self.sum(|it| it.leak_count)
    }

    /// Those on the link of this name.
    pub(crate) fn leaks_on(&self, name: &str) -> usize {
        let found = self.0.iter().find(|(it, _)| it == name);
        found.map_or(0, |(_, it)| it.leak_count)
    }

    /// The first leaks of each link in words.
    pub(crate) fn describe(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (name, it)| {
            for leak in &it.leaks {
                let _infallible = writeln!(text, "{name}: {leak}");
            }
            text
        })
    }

    fn sum(&self, count: impl Fn(&Inspection) -> usize) -> usize {
        self.0.iter().map(|(_, it)| count(it)).sum()
    }
}
