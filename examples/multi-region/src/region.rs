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
    Region, Site, binaries,
};
use topology::report::AgentStatus;

pub(crate) use self::files::CITIES;
use self::files::{context, location, places, zone};

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
    site: Site,
    kubelet: Option<Kubelet>,
    pub(crate) apiserver: Process,
    pub(crate) agents: Vec<Process>,
    pub(crate) shops: Vec<Process>,
    /// What only has to stay alive.
    others: Vec<Process>,
}

/// Writes what the region's processes read, before any of them starts.
pub(crate) fn prepare(lab: &Lab, region: &Region, authority: &Authority) -> Result<()> {
    let site = Site::new(lab, region);
    site.write_credentials(lab.plan(), authority)?;
    for (name, text) in [
        ("global.example.zone", zone(lab.plan())),
        ("places.yaml", places(lab.plan())),
        ("context.yaml", context(region)),
    ] {
        let path = site.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    write_manifests(lab, &site)
}

fn write_manifests(lab: &Lab, site: &Site) -> Result<()> {
    let region = site.region();
    let objects = ManifestDirectory::create(site.objects())?;
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
            finished.succeeded("wg")
        };
        let private = site.private_key(node);
        write_secret(&private, &keys("genkey", None)?)?;
        let public = keys("pubkey", Some(&private))?;
        let key = [("network.cilium.io/wg-pub-key", public.trim())];
        let manifest = manifests::node(region, node, &[], &key, location(&region.name));
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
        let site = Site::new(lab, region);
        let objects = ManifestDirectory::create(site.objects())?;
        let mut others = Vec::new();
        for node in region.node_numbers() {
            others.push(start_wireguard(lab, &site, node)?);
        }
        let pods = region.pods.iter().filter(|it| it.app == "shop");
        let shops = pods
            .map(|pod| lab.spawn(&region.pod(pod), site.shop(pod)?))
            .collect::<Result<_>>()?;
        let kubelet = Kubelet::start(region, service(), objects)?;
        let control = region.control();
        let apiserver = lab.spawn(&control, site.apiserver()?)?;
        others.push(lab.spawn(&control, dns_authority(&site)?)?);
        others.push(lab.spawn(&region.node(1), edge(region)?)?);
        let agents = region.node_numbers();
        let agents = agents
            .map(|node| lab.spawn(&region.node(node), site.agent(lab, node)?))
            .collect::<Result<_>>()?;

        Ok(Self {
            site,
            kubelet: Some(kubelet),
            apiserver,
            agents,
            shops,
            others,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.region().name
    }

    pub(crate) fn region(&self) -> &Region {
        self.site.region()
    }

    pub(crate) fn context_file(&self) -> PathBuf {
        self.site.path("context.yaml")
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
        let (site, region) = (&self.site, self.site.region());
        let wait = |address| site.wait_until_ready(lab, address, COMMAND_TIMEOUT);
        for (number, agent) in region.node_numbers().zip(&mut self.agents) {
            agent.restart()?;
            wait(region.node_address(number))?;
        }
        self.apiserver.restart()?;
        wait(region.control_address())?;
        Ok(self.agents.len() + 1)
    }

    /// Runs `meshctl` on the control host, as the region's operator would.
    pub(crate) fn meshctl(&self, lab: &Lab, arguments: &[&str]) -> Result<Finished> {
        let context = self.context_file().display().to_string();
        let program = Program::new("meshctl", binaries::find("meshctl")?)
            .arguments(["--context", &*context])
            .arguments(arguments.iter().copied());
        lab.run(&self.region().control(), program, COMMAND_TIMEOUT)
    }

    /// What the agent of one of the region's nodes says of itself.
    pub(crate) fn agent_status(&self, lab: &Lab, node: u8) -> Result<AgentStatus> {
        agent_status(lab, self.region(), node)
    }

    /// Runs a public tool in the client's pod and returns what it printed.
    pub(crate) fn in_client(&self, lab: &Lab, tool: &str, arguments: &[&str]) -> Result<String> {
        let program = Program::new(tool, tool).arguments(arguments.iter().copied());
        let finished = lab.run(&self.client_place(), program, COMMAND_TIMEOUT)?;
        finished.succeeded(tool)
    }

    /// The region's pod that asks.
    pub(crate) fn client_place(&self) -> Place {
        let region = self.region();
        region.pod(region.pod_named("client"))
    }

    /// Where a client finds the shop, in its own region.
    pub(crate) fn shop_url(&self) -> String {
        format!(
            "http://{}/",
            self.region().service_address(service().suffix)
        )
    }

    /// The address with which the region is named in the DNS.
    pub(crate) fn edge_address(&self) -> Ipv4Addr {
        edge_address(self.region())
    }
}

/// What a node's agent says of itself, asked from the region's control host.
pub(crate) fn agent_status(lab: &Lab, region: &Region, node: u8) -> Result<AgentStatus> {
    let url = format!("http://{}:9962/v1/status", region.node_address(node));
    let curl = Program::new("curl", "curl").arguments(["-sS", "--max-time", "1", &*url]);
    let finished = lab.run(&region.control(), curl, COMMAND_TIMEOUT)?;
    let answer = finished.succeeded("curl")?;
    serde_json::from_str(&answer).with_context(|| format!("{url} answered {answer:?}"))
}

pub(crate) fn edge_address(region: &Region) -> Ipv4Addr {
    region.node_address(1)
}

fn start_wireguard(lab: &Lab, site: &Site, node: u8) -> Result<Process> {
    let place = site.region().node(node);
    let process = lab.spawn(&place, site.device(node)?)?;
    let configured = lab::wait_for("the WireGuard device", COMMAND_TIMEOUT, || {
        let wg = Program::new("wg", "wg")
            .arguments(["set", Site::TUNNEL, "listen-port", "51871", "private-key"])
            .argument(site.private_key(node).display().to_string());
        let finished = lab.run(&place, wg, COMMAND_TIMEOUT)?;
        Ok(finished.status.success().then_some(()))
    });
    configured.map(|()| process)
}

fn dns_authority(site: &Site) -> Result<Program> {
    let file = |name: &str| site.path(name).display().to_string();
    let address = site.region().control_address();
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
