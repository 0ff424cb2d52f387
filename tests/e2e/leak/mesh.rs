//! Starts the real daemons of one region, and does to them what operators and accidents do.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Authority, Lab, ManifestDirectory, Place, Process, Program, Region, binaries, manifests,
};

use crate::HANG;

/// The name of every node's tunnel interface.
const DEVICE: &str = "cilium_wg0";

/// Where a region is makes no difference here.
const LOCATION: (f64, f64) = (50.0, 8.0);

/// A region's processes; dropping it kills them.
pub(crate) struct Mesh<'a> {
    lab: &'a Lab,
    pub(crate) region: Region,
    directory: PathBuf,
    objects: ManifestDirectory,
    /// Those of the first node first, as the agents.
    pub(crate) devices: Vec<Process>,
    pub(crate) agents: Vec<Process>,
    _apiserver: Process,
}

impl<'a> Mesh<'a> {
    /// Starts the region's API server and devices, and no agent yet.
    pub(crate) fn start(lab: &'a Lab, region: &Region, authority: &Authority) -> Result<Self> {
        let directory = lab.directory().join(&region.name);
        write_credentials(lab, region, authority, &directory)?;
        let objects = ManifestDirectory::create(directory.join("objects"))?;
        objects.write("namespace", &manifests::namespace("shop"))?;
        for pod in &region.pods {
            let manifest = manifests::pod(region, pod, "shop");
            objects.write(&format!("pod-{}", pod.name), &manifest)?;
        }
        let mut mesh = Self {
            lab,
            region: region.clone(),
            _apiserver: lab.spawn(&region.control(), apiserver(region, &directory)?)?,
            directory,
            objects,
            devices: Vec::new(),
            agents: Vec::new(),
        };
        for node in region.node_numbers() {
            mesh.announce(node, &[])?;
            let device = Program::new("wireguard-device", binaries::find("wireguard-device")?);
            let state = mesh.state(node);
            let device = device.arguments(["--state-dir", &*state, "-f", DEVICE]);
            mesh.devices.push(lab.spawn(&region.node(node), device)?);
        }
        Ok(mesh)
    }

    /// Starts every agent, and returns once each guards the prefixes of `peer`.
    pub(crate) fn start_agents(&mut self, peer: &Region) -> Result<()> {
        for node in self.region.node_numbers() {
            let agent = self.agent(node)?;
            let agent = self.lab.spawn(&self.region.node(node), agent)?;
            self.agents.push(agent);
        }
        peer.node_numbers()
            .try_for_each(|it| self.wait_for_guard(peer, it, true))
    }

    /// Writes the manifest of a node.
    pub(crate) fn announce(&self, node: u8, annotations: &[(&str, &str)]) -> Result<()> {
        let manifest = manifests::node(&self.region, node, annotations, LOCATION);
        self.objects.write(&format!("node-{node}"), &manifest)
    }

    /// Takes a node out of the mesh.
    pub(crate) fn withdraw(&self, node: u8) -> Result<()> {
        self.objects.remove(&format!("node-{node}"))
    }

    /// Waits until every node here guards, or does not guard any more, the pods of a node of `peer`.
    pub(crate) fn wait_for_guard(&self, peer: &Region, node: u8, stands: bool) -> Result<()> {
        let route = format!("unreachable {}", peer.pod_cidr(node));
        for own in self.region.node_numbers() {
            let place = self.region.node(own);
            let what = format!("{place} to have `{route}`: {stands}");
            lab::wait_for(&what, HANG, || {
                let routes = run(self.lab, &place, "ip", &["route"])?;
                Ok((routes.contains(&route) == stands).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Waits for the agent of a node to know the mesh and to have told the kernel.
    pub(crate) fn wait_until_ready(&self, node: u8) -> Result<()> {
        let url = self.admin(node, "ready");
        lab::wait_for(&format!("{url} to answer"), HANG, || {
            let curl = ["-sf", "--max-time", "1", &*url];
            Ok(run(self.lab, &self.region.control(), "curl", &curl).ok())
        })?;
        Ok(())
    }

    /// Has a node begin to change its key, and waits until it has another.
    pub(crate) fn rotate(&self, node: u8) -> Result<()> {
        let old = self.public_key(node)?;
        let url = self.admin(node, "v1/encrypt/rotate");
        let curl = ["-sSf", "-X", "POST", &*url];
        run(self.lab, &self.region.control(), "curl", &curl)?;
        lab::wait_for("the device to have another key", HANG, || {
            Ok((self.public_key(node)? != old).then_some(()))
        })
    }

    /// Waits until a node sends what is for the pods of `peer` through `gateway`, one of its own
    /// region, or without any.
    pub(crate) fn wait_for_carrier(
        &self,
        node: u8,
        gateway: Option<u8>,
        peer: &Region,
    ) -> Result<()> {
        let place = self.region.node(node);
        let prefix = peer.pod_cidr(1).to_string();
        lab::wait_for("the tunnel to be the gateway's", HANG, || {
            let peers = run(self.lab, &place, "wg", &["show", DEVICE, "allowed-ips"])?;
            let carrier = peers.lines().find(|it| it.contains(&prefix));
            let Some(carrier) = carrier else {
                return Ok(None);
            };
            let others = self.region.node_numbers().filter(|it| *it != node);
            let mut through = None;
            for other in others {
                if carrier.starts_with(self.public_key(other)?.trim()) {
                    through = Some(other);
                }
            }
            Ok((through == gateway).then_some(()))
        })
    }

    /// Checks that nothing died that should be alive.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut all = self.agents.iter_mut().chain(&mut self.devices);
        all.try_for_each(Process::check)
    }

    fn public_key(&self, node: u8) -> Result<String> {
        let place = self.region.node(node);
        run(self.lab, &place, "wg", &["show", DEVICE, "public-key"])
    }

    fn admin(&self, node: u8, path: &str) -> String {
        format!("http://{}:9962/{path}", self.region.node_address(node))
    }

    fn state(&self, node: u8) -> String {
        let directory = self.directory.join(format!("node-{node}"));
        directory.display().to_string()
    }

    fn agent(&self, node: u8) -> Result<Program> {
        let (region, place) = (&self.region, self.region.node(node));
        let text = |it: PathBuf| it.display().to_string();
        let key = self.directory.join(format!("node-{node}.key"));
        let path = binaries::find("node-agent")?;
        Ok(Program::new("node-agent", path)
            .arguments(["--node-name", &*region.node_name(node)])
            .arguments(["--cluster-name", &*region.name])
            .arguments(["--cluster-id", &*region.number.to_string()])
            .arguments(["--etcd-config", &*text(self.directory.join("etcd.yaml"))])
            .arguments(["--interface", "eth0", "--wireguard", DEVICE])
            .arguments(["--wireguard-key", &*text(key)])
            .arguments(["--state-dir", &*self.state(node)])
            .arguments(["--cgroup", &*text(self.lab.cgroup(&place))])
            .arguments(["--bpffs", &*text(self.lab.bpffs(&place))])
            .arguments(["--admin", &*format!("{}:9962", region.node_address(node))]))
    }
}

/// Runs a public tool to its end and returns what it printed.
pub(crate) fn run(lab: &Lab, place: &Place, tool: &str, arguments: &[&str]) -> Result<String> {
    let program = Program::new(tool, tool).arguments(arguments.iter().copied());
    let finished = lab.run(place, program, HANG)?;
    ensure!(
        finished.status.success(),
        "{tool} on {place} ended with {}: {}",
        finished.status,
        finished.stderr
    );
    Ok(finished.stdout)
}

fn apiserver(region: &Region, directory: &Path) -> Result<Program> {
    let file = |name: &str| directory.join(name).display().to_string();
    let address = region.control_address();
    let path = binaries::find("clustermesh-apiserver")?;
    Ok(Program::new("clustermesh-apiserver", path)
        .arguments(["--cluster-name", &*region.name])
        .arguments(["--cluster-id", &*region.number.to_string()])
        .arguments(["--objects", &*file("objects")])
        .arguments(["--listen", &*format!("{address}:2379")])
        .arguments(["--tls-cert", &*file("server.crt")])
        .arguments(["--tls-key", &*file("server.key")])
        .arguments(["--client-ca", &*file("ca.crt")])
        .arguments(["--clustermesh-config", &*file("clustermesh")])
        .arguments(["--admin", &*format!("{address}:9962")]))
}

fn write_credentials(
    lab: &Lab,
    region: &Region,
    authority: &Authority,
    directory: &Path,
) -> Result<()> {
    let local = format!("local-{}", region.name);
    let server = authority.server(&region.name, region.control_address().into())?;
    server.write(directory, "server")?;
    authority.write(&directory.join("ca.crt"))?;
    for client in [&*local, "remote"] {
        authority.client(client)?.write(directory, client)?;
    }
    let own = etcd_config(region.control_address(), directory, &local);
    write(&directory.join("etcd.yaml"), &own)?;
    let peers = directory.join("clustermesh");
    fs::create_dir_all(&peers)?;
    for peer in lab
        .plan()
        .regions
        .iter()
        .filter(|it| it.name != region.name)
    {
        let config = etcd_config(peer.control_address(), directory, "remote");
        write(&peers.join(&peer.name), &config)?;
    }
    Ok(())
}

/// An etcd client's configuration, in the schema of etcd and Cilium.
fn etcd_config(address: Ipv4Addr, directory: &Path, client: &str) -> String {
    let directory = directory.display();
    format!(
        "endpoints: ['https://{address}:2379']\ntrusted-ca-file: {directory}/ca.crt\n\
         cert-file: {directory}/{client}.crt\nkey-file: {directory}/{client}.key\n"
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
