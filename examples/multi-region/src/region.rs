//! Sets one region up: its certificates, manifests and configuration files, and every process.

mod files;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::manifests::{self, Service};
use lab::{
    Authority, Finished, Kubelet, Lab, ManifestDirectory, Place, Plan, Pod, Process, Program,
    Region, binaries,
};
use topology::report::AgentStatus;

pub(crate) use self::files::CITIES;
use self::files::{context, etcd_config, location, places, zone};

/// The name that the whole world uses for the service.
pub(crate) const GLOBAL_NAME: &str = "shop.global.example";

/// How often the DNS authorities probe each region's edge.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How long a probe waits for an edge that says nothing at all.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a pod's server listens.
const POD_PORT: u16 = 8080;

/// A command that asks something takes less than this, or hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// The plan of the example: two shop pods and a client in each region.
pub(crate) fn plan() -> Plan {
    let mut plan = Plan::three_regions();
    for region in &mut plan.regions {
        let pod = |name: &str, node, suffix, app: &str| Pod {
            name: name.to_owned(),
            node,
            suffix,
            app: app.to_owned(),
        };
        region.pods = vec![
            pod("shop-1", 1, 10, "shop"),
            pod("shop-2", 2, 10, "shop"),
            pod("client", 1, 20, "client"),
        ];
    }
    plan
}

pub(crate) fn service() -> Service {
    Service {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
        suffix: 10,
        port: 80,
        target_port: POD_PORT,
        app: "shop".to_owned(),
    }
}

/// A region with everything that runs in it; dropping it ends the processes.
pub(crate) struct Running {
    region: Region,
    /// Configuration, keys and manifests.
    directory: PathBuf,
    kubelet: Option<Kubelet>,
    pub(crate) apiserver: Process,
    pub(crate) agents: Vec<Process>,
    pub(crate) shops: Vec<Process>,
    /// What only has to stay alive.
    others: Vec<Process>,
}

/// Writes what the region's processes read, before any of them starts.
pub(crate) fn prepare(lab: &Lab, region: &Region, authority: &Authority) -> Result<()> {
    let directory = directory(lab, region);
    let name = &region.name;
    let address = region.control_address();
    authority
        .server(name, address.into())?
        .write(&directory, "server")?;
    authority.write(&directory.join("ca.crt"))?;
    for client in [
        format!("local-{name}"),
        format!("admin-{name}"),
        "remote".to_owned(),
    ] {
        authority.client(&client)?.write(&directory, &client)?;
    }

    write(
        &directory.join("etcd.yaml"),
        &etcd_config(address, &directory, &format!("local-{name}")),
    )?;
    let peers = directory.join("clustermesh");
    for peer in lab.plan().regions.iter().filter(|it| it.name != *name) {
        let config = etcd_config(peer.control_address(), &directory, "remote");
        write(&peers.join(&peer.name), &config)?;
    }
    write(&directory.join("global.example.zone"), &zone(lab.plan()))?;
    write(&directory.join("places.yaml"), &places(lab.plan()))?;
    write(&directory.join("context.yaml"), &context(region))?;
    write_manifests(lab, region, &directory)
}

fn write_manifests(lab: &Lab, region: &Region, directory: &Path) -> Result<()> {
    let objects = ManifestDirectory::create(directory.join("objects"))?;
    objects.write("namespace-shop", &manifests::namespace("shop"))?;
    objects.write("service-shop", &manifests::service(region, &service()))?;
    for node in region.node_numbers() {
        let keys = |command: &str, input: Option<&Path>| {
            let shell = Program::new("wg-key", "sh")
                .argument("-c")
                .argument(match input {
                    None => format!("umask 077; wg {command}"),
                    Some(path) => format!("wg {command} < {}", path.display()),
                });
            let finished = lab.run(&region.node(node), shell, COMMAND_TIMEOUT)?;
            succeeded("wg", finished)
        };
        let private = directory.join(format!("node-{node}.wireguard.key"));
        write_secret(&private, &keys("genkey", None)?)?;
        let public = keys("pubkey", Some(&private))?;
        let key = [("network.cilium.io/wg-pub-key", public.trim())];
        let manifest = manifests::node(region, node, &key, location(&region.name));
        objects.write(&format!("node-{node}"), &manifest)?;
    }
    for pod in &region.pods {
        let manifest = manifests::pod(region, pod, "shop");
        objects.write(&format!("pod-{}", pod.name), &manifest)?;
    }
    Ok(())
}

impl Running {
    /// Starts every process of the region, in the order in which a data centre would.
    pub(crate) fn start(lab: &Lab, region: &Region) -> Result<Self> {
        let directory = directory(lab, region);
        let objects = ManifestDirectory::create(directory.join("objects"))?;
        let mut others = Vec::new();
        for node in region.node_numbers() {
            others.push(start_wireguard(lab, region, node, &directory)?);
        }
        let pods = region.pods.iter().filter(|it| it.app == "shop");
        let shops = pods
            .map(|pod| start_shop(lab, region, pod))
            .collect::<Result<_>>()?;
        let kubelet = Kubelet::start(region, service(), objects)?;
        let apiserver = lab.spawn(&region.control(), apiserver(region, &directory)?)?;
        others.push(lab.spawn(&region.control(), dns_authority(region, &directory)?)?);
        others.push(lab.spawn(&region.node(1), edge(region)?)?);
        let agents = region.node_numbers();
        let agents = agents.map(|node| {
            let program = agent(lab, region, node, &directory)?;
            lab.spawn(&region.node(node), program)
        });
        let agents = agents.collect::<Result<_>>()?;

        Ok(Self {
            region: region.clone(),
            directory,
            kubelet: Some(kubelet),
            apiserver,
            agents,
            shops,
            others,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.region.name
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn context_file(&self) -> PathBuf {
        self.directory.join("context.yaml")
    }

    /// Checks that nothing died that should be alive.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.apiserver.check()?;
        self.agents
            .iter_mut()
            .chain(&mut self.others)
            .try_for_each(Process::check)
    }

    /// Ends the region's probes and processes, those that others depend on last.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.kubelet = None;
        let agents = self.agents.iter_mut();
        let all = agents
            .chain(self.others.iter_mut())
            .chain([&mut self.apiserver]);
        for process in all {
            let name = process.name().to_owned();
            let stopped = process.stop()?;
            ensure!(
                stopped.status.success(),
                "{name} ended with {}",
                stopped.status
            );
        }
        Ok(())
    }

    /// Restarts every agent and then the API server, each after the one before it is ready again,
    /// and returns how many processes that were.
    pub(crate) fn restart_daemons(&mut self, lab: &Lab) -> Result<usize> {
        let region = &self.region;
        for (number, agent) in region.node_numbers().zip(&mut self.agents) {
            agent.restart()?;
            wait_until_ready(lab, region, region.node_address(number))?;
        }
        self.apiserver.restart()?;
        wait_until_ready(lab, region, region.control_address())?;
        Ok(self.agents.len() + 1)
    }

    /// Runs `meshctl` on the control host, as the region's operator would.
    pub(crate) fn meshctl(&self, lab: &Lab, arguments: &[&str]) -> Result<Finished> {
        let context = self.context_file().display().to_string();
        let program = Program::new("meshctl", binaries::find("meshctl")?)
            .arguments(["--context", &*context])
            .arguments(arguments.iter().copied());
        lab.run(&self.region.control(), program, COMMAND_TIMEOUT)
    }

    /// What the agent of one of the region's nodes says of itself.
    pub(crate) fn agent_status(&self, lab: &Lab, node: u8) -> Result<AgentStatus> {
        agent_status(lab, &self.region, node)
    }

    /// Runs a public tool in the client's pod and returns what it printed.
    pub(crate) fn in_client(&self, lab: &Lab, tool: &str, arguments: &[&str]) -> Result<String> {
        let program = Program::new(tool, tool).arguments(arguments.iter().copied());
        succeeded(
            tool,
            lab.run(&self.client_place(), program, COMMAND_TIMEOUT)?,
        )
    }

    /// The region's pod that asks.
    pub(crate) fn client_place(&self) -> Place {
        self.region.pod(self.region.pod_named("client"))
    }

    /// Where a client finds the shop, in its own region.
    pub(crate) fn shop_url(&self) -> String {
        format!("http://{}/", self.region.service_address(service().suffix))
    }

    /// The address with which the region is named in the DNS.
    pub(crate) fn edge_address(&self) -> Ipv4Addr {
        edge_address(&self.region)
    }
}

/// What a node's agent says of itself, asked from the region's control host.
pub(crate) fn agent_status(lab: &Lab, region: &Region, node: u8) -> Result<AgentStatus> {
    let url = format!("http://{}:9962/v1/status", region.node_address(node));
    let curl = Program::new("curl", "curl").arguments(["-sS", "--max-time", "1", &*url]);
    let answer = succeeded("curl", lab.run(&region.control(), curl, COMMAND_TIMEOUT)?)?;
    serde_json::from_str(&answer).with_context(|| format!("{url} answered {answer:?}"))
}

/// Waits for the daemon at `address` to say that it is ready.
fn wait_until_ready(lab: &Lab, region: &Region, address: Ipv4Addr) -> Result<()> {
    let url = format!("http://{address}:9962/ready");
    lab::wait_for(&format!("{url} to answer"), COMMAND_TIMEOUT, || {
        let curl = Program::new("curl", "curl").arguments(["-sf", "--max-time", "1", &*url]);
        let finished = lab.run(&region.control(), curl, COMMAND_TIMEOUT)?;
        Ok(finished.status.success().then_some(()))
    })
}

pub(crate) fn edge_address(region: &Region) -> Ipv4Addr {
    region.node_address(1)
}

fn start_wireguard(lab: &Lab, region: &Region, node: u8, directory: &Path) -> Result<Process> {
    let place = region.node(node);
    let state = directory.join(format!("node-{node}")).display().to_string();
    let device = Program::new("wireguard-device", binaries::find("wireguard-device")?).arguments([
        "--state-dir",
        &*state,
        "-f",
        "cilium_wg0",
    ]);
    let process = lab.spawn(&place, device)?;
    let key = directory.join(format!("node-{node}.wireguard.key"));
    let configured = lab::wait_for("the WireGuard device", COMMAND_TIMEOUT, || {
        let wg = Program::new("wg", "wg")
            .arguments(["set", "cilium_wg0", "listen-port", "51871", "private-key"])
            .argument(key.display().to_string());
        let finished = lab.run(&place, wg, COMMAND_TIMEOUT)?;
        Ok(finished.status.success().then_some(()))
    });
    configured.map(|()| process)
}

pub(crate) fn start_shop(lab: &Lab, region: &Region, pod: &Pod) -> Result<Process> {
    let program = Program::new("lab-pod", binaries::find("lab-pod")?)
        .arguments(["--region", &*region.name, "--pod", &*pod.name])
        .arguments(["--node", &*region.node_name(pod.node)]);
    lab.spawn(&region.pod(pod), program)
}

fn apiserver(region: &Region, directory: &Path) -> Result<Program> {
    let file = |name: &str| directory.join(name).display().to_string();
    let (number, address) = (region.number.to_string(), region.control_address());
    Ok(Program::new(
        "clustermesh-apiserver",
        binaries::find("clustermesh-apiserver")?,
    )
    .arguments(["--cluster-name", &*region.name, "--cluster-id", &*number])
    .arguments(["--objects", &*file("objects")])
    .arguments(["--listen", &*format!("{address}:2379")])
    .arguments([
        "--tls-cert",
        &*file("server.crt"),
        "--tls-key",
        &*file("server.key"),
    ])
    .arguments(["--client-ca", &*file("ca.crt")])
    .arguments(["--clustermesh-config", &*file("clustermesh")])
    .arguments(["--admin", &*format!("{address}:9962")]))
}

fn agent(lab: &Lab, region: &Region, node: u8, directory: &Path) -> Result<Program> {
    let path = |it: PathBuf| it.display().to_string();
    let (number, place) = (region.number.to_string(), region.node(node));
    let key = format!("node-{node}.wireguard.key");
    Ok(Program::new("node-agent", binaries::find("node-agent")?)
        .arguments(["--node-name", &*region.node_name(node)])
        .arguments(["--cluster-name", &*region.name, "--cluster-id", &*number])
        .arguments(["--etcd-config", &*path(directory.join("etcd.yaml"))])
        .arguments(["--interface", "eth0", "--wireguard", "cilium_wg0"])
        .arguments(["--wireguard-key", &*path(directory.join(&key))])
        .arguments([
            "--state-dir",
            &*path(directory.join(format!("node-{node}"))),
        ])
        .arguments(["--cgroup", &*path(lab.cgroup(&place))])
        .arguments(["--bpffs", &*path(lab.bpffs(&place))])
        .arguments(["--admin", &*format!("{}:9962", region.node_address(node))]))
}

fn dns_authority(region: &Region, directory: &Path) -> Result<Program> {
    let file = |name: &str| directory.join(name).display().to_string();
    let address = region.control_address();
    Ok(
        Program::new("dns-authority", binaries::find("dns-authority")?)
            .arguments(["--listen", &*format!("{address}:53")])
            .arguments([
                "--zone",
                &*format!("global.example={}", file("global.example.zone")),
            ])
            .arguments(["--geo-overrides", &*file("places.yaml")])
            .arguments(["--etcd-config", &*file("etcd.yaml")])
            .arguments(["--state-dir", &*file("dns")])
            .arguments(["--admin", &*format!("{address}:9963")]),
    )
}

fn edge(region: &Region) -> Result<Program> {
    let shops = region.pods.iter().filter(|it| it.app == "shop");
    let upstreams = shops.map(|pod| format!("{}:{POD_PORT}", region.pod_address(pod)));
    Ok(Program::new("lab-edge", binaries::find("lab-edge")?)
        .arguments(["--listen", &*format!("{}:80", edge_address(region))])
        .arguments(upstreams.flat_map(|it| ["--upstream".to_owned(), it])))
}

fn directory(lab: &Lab, region: &Region) -> PathBuf {
    lab.directory().join(&region.name)
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut it| std::io::Write::write_all(&mut it, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn succeeded(what: &str, finished: Finished) -> Result<String> {
    ensure!(
        finished.status.success(),
        "{what} ended with {}: {}{}",
        finished.status,
        finished.stdout,
        finished.stderr,
    );
    Ok(finished.stdout)
}
