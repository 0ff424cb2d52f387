//! Starts the real daemons of one region, and does to them what operators and accidents do.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use lab::{Authority, Lab, ManifestDirectory, Place, Process, Program, Region, Site, manifests};

use crate::HANG;

/// Where a region is makes no difference here.
const LOCATION: (f64, f64) = (50.0, 8.0);

/// A region's processes; dropping it kills them.
pub(crate) struct Mesh<'a> {
    lab: &'a Lab,
    pub(crate) region: Region,
    site: Site,
    objects: ManifestDirectory,
    /// Those of the first node first, as the agents.
    pub(crate) devices: Vec<Process>,
    pub(crate) agents: Vec<Process>,
    _apiserver: Process,
}

impl<'a> Mesh<'a> {
    /// Starts the region's API server and devices, and no agent yet.
    pub(crate) fn start(lab: &'a Lab, region: &Region, authority: &Authority) -> Result<Self> {
        let site = Site::new(lab, region);
        site.write_credentials(lab.plan(), authority)?;
        let objects = ManifestDirectory::create(site.objects())?;
        objects.write("namespace", &manifests::namespace("shop"))?;
        for pod in &region.pods {
            let manifest = manifests::pod(region, pod, "shop");
            objects.write(&format!("pod-{}", pod.name), &manifest)?;
        }
        let mut mesh = Self {
            lab,
            region: region.clone(),
            _apiserver: lab.spawn(&region.control(), site.apiserver()?)?,
            site,
            objects,
            devices: Vec::new(),
            agents: Vec::new(),
        };
        for node in region.node_numbers() {
            mesh.announce(node, &[])?;
            let device = lab.spawn(&region.node(node), mesh.site.device(node)?)?;
            mesh.devices.push(device);
        }
        Ok(mesh)
    }

    /// Starts every agent, and returns once each guards the prefixes of `peer`.
    pub(crate) fn start_agents(&mut self, peer: &Region) -> Result<()> {
        for node in self.region.node_numbers() {
            let agent = self.site.agent(self.lab, node)?;
            let agent = self.lab.spawn(&self.region.node(node), agent)?;
            self.agents.push(agent);
        }
        peer.node_numbers()
            .try_for_each(|it| self.wait_for_guard(peer.pod_cidr(it), true))
    }

    /// Has every agent of the region encrypt what goes between `whom`, from its next start on, which is
    /// now; returns once each guards the pods of its neighbors, or does not any more.
    pub(crate) fn encrypt(&mut self, whom: &str, guards_neighbors: bool) -> Result<()> {
        for (node, agent) in self.region.node_numbers().zip(&mut self.agents) {
            agent.stop()?;
            let program = self.site.agent(self.lab, node)?;
            let program = program.arguments(["--encrypt", whom]);
            *agent = self.lab.spawn(&self.region.node(node), program)?;
        }
        for node in self.region.node_numbers() {
            self.wait_until_ready(node)?;
            let neighbors = self.region.node_numbers().filter(|it| *it != node);
            for neighbor in neighbors {
                let prefix = self.region.pod_cidr(neighbor);
                self.wait_for_guard_of(node, prefix, guards_neighbors)?;
            }
        }
        Ok(())
    }

    /// Ends a node's agent and device without a chance to clean up: its interface goes, and all routes
    /// through it.
    pub(crate) fn kill(&mut self, node: u8) -> Result<()> {
        let index = usize::from(node) - 1;
        self.agents[index].kill()?;
        self.devices[index].kill()
    }

    /// Starts a node's device and agent again, and waits for the agent.
    pub(crate) fn revive(&mut self, node: u8) -> Result<()> {
        let index = usize::from(node) - 1;
        self.devices[index].start_again()?;
        self.agents[index].start_again()?;
        self.wait_until_ready(node)
    }

    /// Writes the manifest of a node.
    pub(crate) fn announce(&self, node: u8, annotations: &[(&str, &str)]) -> Result<()> {
        self.announce_with(node, &[], annotations)
    }

    /// The same, with pod prefixes beside the node's own.
    pub(crate) fn announce_with(
        &self,
        node: u8,
        more_prefixes: &[Ipv4Net],
        annotations: &[(&str, &str)],
    ) -> Result<()> {
        let manifest = manifests::node(&self.region, node, more_prefixes, annotations, LOCATION);
        self.objects.write(&format!("node-{node}"), &manifest)
    }

    /// Makes these nodes, and no other, the gateways of the region.
    pub(crate) fn appoint(&self, gateways: &[u8]) -> Result<()> {
        for node in self.region.node_numbers() {
            let annotation = [("causeway.io/gateway", "true")];
            let is_gateway = gateways.contains(&node);
            self.announce(node, if is_gateway { &annotation } else { &[] })?;
        }
        Ok(())
    }

    /// Takes a node out of the mesh.
    pub(crate) fn withdraw(&self, node: u8) -> Result<()> {
        self.objects.remove(&format!("node-{node}"))
    }

    /// Waits until every node here guards a prefix, or does not any more.
    pub(crate) fn wait_for_guard(&self, prefix: Ipv4Net, stands: bool) -> Result<()> {
        self.region
            .node_numbers()
            .try_for_each(|it| self.wait_for_guard_of(it, prefix, stands))
    }

    fn wait_for_guard_of(&self, node: u8, prefix: Ipv4Net, stands: bool) -> Result<()> {
        let route = format!("unreachable {prefix} ");
        let place = self.region.node(node);
        let what = format!("{place} to have `{route}`: {stands}");
        lab::wait_for(&what, HANG, || {
            let routes = run(self.lab, &place, "ip", &["route"])?;
            Ok((routes.contains(&route) == stands).then_some(()))
        })
    }

    /// Waits for the agent of a node to know the mesh and to have told the kernel.
    pub(crate) fn wait_until_ready(&self, node: u8) -> Result<()> {
        let address = self.region.node_address(node);
        self.site.wait_until_ready(self.lab, address, HANG)
    }

    /// Has a node begin to change its key, and waits until it has another.
    pub(crate) fn rotate(&self, node: u8) -> Result<()> {
        let old = self.public_key(node)?;
        let address = self.region.node_address(node);
        let url = format!("http://{address}:9962/v1/encrypt/rotate");
        let curl = ["-sSf", "-X", "POST", &*url];
        run(self.lab, &self.region.control(), "curl", &curl)?;
        lab::wait_for("the device to have another key", HANG, || {
            Ok((self.public_key(node)? != old).then_some(()))
        })
    }

    /// Waits until the nodes of the own region over which `node` sends what is for the pods of `peer`
    /// are as they should be, and returns them.
    pub(crate) fn wait_for_carriers(
        &self,
        node: u8,
        peer: &Region,
        what: &str,
        should: impl Fn(&BTreeSet<u8>) -> bool,
    ) -> Result<BTreeSet<u8>> {
        let what = format!("{} to send {what}", self.region.node(node));
        lab::wait_for(&what, HANG, || {
            let carriers = self.carriers(node, peer)?;
            Ok(carriers.filter(&should))
        })
    }

    /// `None` as long as there is no way at all. A device that is not there carries nothing.
    fn carriers(&self, node: u8, peer: &Region) -> Result<Option<BTreeSet<u8>>> {
        let prefix = peer.pod_cidr(1).to_string();
        let allowed = ["show", Site::TUNNEL, "allowed-ips"];
        let peers = run(self.lab, &self.region.node(node), "wg", &allowed)?;
        let ways: Vec<&str> = peers.lines().filter(|it| it.contains(&prefix)).collect();
        let mut carriers = BTreeSet::new();
        for other in self.region.node_numbers().filter(|it| *it != node) {
            let Ok(key) = self.public_key(other) else {
                continue;
            };
            if ways.iter().any(|it| it.starts_with(key.trim())) {
                carriers.insert(other);
            }
        }
        Ok((!ways.is_empty()).then_some(carriers))
    }

    /// Checks that nothing died that should be alive.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut all = self.agents.iter_mut().chain(&mut self.devices);
        all.try_for_each(Process::check)
    }

    fn public_key(&self, node: u8) -> Result<String> {
        let place = self.region.node(node);
        run(
            self.lab,
            &place,
            "wg",
            &["show", Site::TUNNEL, "public-key"],
        )
    }
}

/// Runs a public tool to its end and returns what it printed.
pub(crate) fn run(lab: &Lab, place: &Place, tool: &str, arguments: &[&str]) -> Result<String> {
    let program = Program::new(tool, tool).arguments(arguments.iter().copied());
    let finished = lab.run(place, program, HANG)?;
    finished
        .succeeded(tool)
        .with_context(|| format!("on {place}"))
}
