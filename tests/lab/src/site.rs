//! Decides how the daemons of a region are started: which files each reads, and with which arguments.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::binaries;
use crate::certificates::Authority;
use crate::lab::Lab;
use crate::plan::{Plan, Pod, Region};
use crate::process::Program;
use crate::wait::wait_for;

/// A region's daemons, and the directory with all that they read.
#[derive(Clone, Debug)]
pub struct Site {
    region: Region,
    directory: PathBuf,
}

impl Site {
    /// The tunnel interface of every node.
    pub const TUNNEL: &str = "cilium_wg0";

    /// A site in the lab's own directory.
    pub fn new(lab: &Lab, region: &Region) -> Self {
        Self {
            region: region.clone(),
            directory: lab.directory().join(&region.name),
        }
    }

    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Where the file or directory `name` of the site is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory of the manifests that the API server publishes.
    pub fn objects(&self) -> PathBuf {
        self.path("objects")
    }

    /// The file of a node's private WireGuard key.
    pub fn private_key(&self, node: u8) -> PathBuf {
        self.path(&format!("node-{node}.wireguard.key"))
    }

    /// Writes the certificates of everyone here, and how to reach the own etcd and those of the plan's
    /// other regions.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write_credentials(&self, plan: &Plan, authority: &Authority) -> Result<()> {
        let (name, directory) = (&self.region.name, &self.directory);
        let address = self.region.control_address();
        let server = authority.server(name, address.into())?;
        server.write(directory, "server")?;
        authority.write(&self.path("ca.crt"))?;
        let local = format!("local-{name}");
        for client in [&*local, &*format!("admin-{name}"), "remote"] {
            authority.client(client)?.write(directory, client)?;
        }
        write(
            &self.path("etcd.yaml"),
            &etcd_config(address, directory, &local),
        )?;
        let peers = self.path("clustermesh");
        fs::create_dir_all(&peers).with_context(|| format!("cannot create {}", peers.display()))?;
        for peer in plan.regions.iter().filter(|it| it.name != *name) {
            let config = etcd_config(peer.control_address(), directory, "remote");
            write(&peers.join(&peer.name), &config)?;
        }
        Ok(())
    }

    /// The API server, which runs on the control host.
    ///
    /// # Errors
    ///
    /// If it has not been built, as with all programs here.
    pub fn apiserver(&self) -> Result<Program> {
        let address = self.region.control_address();
        Ok(program("clustermesh-apiserver")?
            .arguments(["--cluster-name", &*self.region.name])
            .arguments(["--cluster-id", &*self.region.number.to_string()])
            .arguments(["--objects", &*text(self.objects())])
            .arguments(["--listen", &*format!("{address}:2379")])
            .arguments(["--tls-cert", &*text(self.path("server.crt"))])
            .arguments(["--tls-key", &*text(self.path("server.key"))])
            .arguments(["--client-ca", &*text(self.path("ca.crt"))])
            .arguments(["--clustermesh-config", &*text(self.path("clustermesh"))])
            .arguments(["--admin", &*format!("{address}:9962")]))
    }

    /// The WireGuard device of a node.
    ///
    /// # Errors
    ///
    /// As with [`apiserver`](Self::apiserver).
    pub fn device(&self, node: u8) -> Result<Program> {
        let state = text(self.state(node));
        let device = program("wireguard-device")?;
        Ok(device.arguments(["--state-dir", &*state, "-f", Self::TUNNEL]))
    }

    /// The agent of a node.
    ///
    /// # Errors
    ///
    /// As with [`apiserver`](Self::apiserver).
    pub fn agent(&self, lab: &Lab, node: u8) -> Result<Program> {
        let (region, place) = (&self.region, self.region.node(node));
        Ok(program("node-agent")?
            .arguments(["--node-name", &*region.node_name(node)])
            .arguments(["--cluster-name", &*region.name])
            .arguments(["--cluster-id", &*region.number.to_string()])
            .arguments(["--etcd-config", &*text(self.path("etcd.yaml"))])
            .arguments(["--interface", "eth0", "--wireguard", Self::TUNNEL])
            .arguments(["--wireguard-key", &*text(self.private_key(node))])
            .arguments(["--state-dir", &*text(self.state(node))])
            .arguments(["--cgroup", &*text(lab.cgroup(&place))])
            .arguments(["--bpffs", &*text(lab.bpffs(&place))])
            .arguments(["--admin", &*format!("{}:9962", region.node_address(node))]))
    }

    /// The server of a pod.
    ///
    /// # Errors
    ///
    /// As with [`apiserver`](Self::apiserver).
    pub fn shop(&self, pod: &Pod) -> Result<Program> {
        Ok(program("lab-pod")?
            .arguments(["--region", &*self.region.name, "--pod", &*pod.name])
            .arguments(["--node", &*self.region.node_name(pod.node)]))
    }

    /// Waits for the daemon at `address` to say that it is ready, asked from the control host.
    ///
    /// # Errors
    ///
    /// If it does not within `timeout`.
    pub fn wait_until_ready(&self, lab: &Lab, address: Ipv4Addr, timeout: Duration) -> Result<()> {
        let url = format!("http://{address}:9962/ready");
        wait_for(&format!("{url} to answer"), timeout, || {
            let curl = Program::new("curl", "curl").arguments(["-sf", "--max-time", "1", &*url]);
            let finished = lab.run(&self.region.control(), curl, timeout)?;
            Ok(finished.status.success().then_some(()))
        })
    }

    /// What a node's processes keep from one life to the next.
    fn state(&self, node: u8) -> PathBuf {
        self.path(&format!("node-{node}"))
    }
}

fn program(name: &str) -> Result<Program> {
    Ok(Program::new(name, binaries::find(name)?))
}

/// An etcd client's configuration, in the schema of etcd and Cilium.
fn etcd_config(address: Ipv4Addr, directory: &Path, client: &str) -> String {
    let directory = directory.display();
    format!(
        "\
endpoints:
- https://{address}:2379
trusted-ca-file: {directory}/ca.crt
cert-file: {directory}/{client}.crt
key-file: {directory}/{client}.key
"
    )
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
