//! The ground that the agent stands on, made for one test and taken away on every path.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use wireguard::uapi::{Interface, SOCKET_DIRECTORY, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::store::StoreThread;

mod device;
mod far_agent;
mod ground;
mod machine;
mod namespace;

pub(crate) use device::{FarDevice, serve_device, spawn_device};

pub(crate) use far_agent::FarAgent;
pub(crate) use ground::{cgroup2_root, run};
pub(crate) use machine::Machine;
pub(crate) use namespace::{enter, exchange, inside};

use ground::Ground;

/// Far beyond what anything here takes, which is at most a change of keys with its 30 s of overlap: a
/// hang, not a measurement.
const HANG: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct World {
    pub(crate) store: StoreThread,
    agent: Option<Child>,
    device: Option<Child>,
    device_key: PrivateKey,
    interface: String,
    /// What the agent is told beyond what it always is.
    pub(crate) agent_arguments: Vec<String>,
    directory: TempDir,
    ground: Ground,
    _alone: MutexGuard<'static, ()>,
}

/// The whole process moves into a world's cgroup, so there is one world at a time.
static ALONE: Mutex<()> = Mutex::new(());

impl World {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes namespaces and loads eBPF programs: run it as root"
        );
        let alone = alone();
        let ground = Ground::new();
        let directory = TempDir::with_prefix("cw-agent").unwrap();
        let config = "endpoints: ['http://127.0.0.1:2379']\n";
        fs::write(directory.path().join("etcd.yaml"), config).unwrap();
        Self {
            store: StoreThread::start(&ground.namespace),
            agent: None,
            device: None,
            device_key: PrivateKey::generate(),
            interface: format!("cwt{}", id()),
            agent_arguments: Vec::new(),
            directory,
            ground,
            _alone: alone,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.ground.namespace
    }

    pub(crate) fn bpffs(&self) -> &Path {
        self.ground.bpffs.path()
    }

    /// Where the agent keeps its files.
    pub(crate) fn state(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn device_key(&self) -> PublicKey {
        self.device_key.public_key()
    }

    /// Runs `work` on a thread in the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.namespace(), work)
    }

    /// Starts the agent, and returns once it is ready.
    pub(crate) fn start_agent(&mut self) {
        self.start_agent_unready();
        self.wait_until("the agent is ready", || {
            self.try_admin("/ready")
                .is_some_and(|it| it.contains(r#""ready":true"#))
        });
    }

    /// Starts the agent, and returns once it answers.
    pub(crate) fn start_agent_unready(&mut self) {
        let child = self.agent_command(&[]).spawn().unwrap();
        self.agent = Some(child);
        self.wait_until("the agent answers", || self.try_admin("/ready").is_some());
    }

    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub(crate) fn terminate_agent(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().unwrap();
        kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
        agent.wait().unwrap()
    }

    /// Runs another agent to its end, and returns what it wrote to stderr.
    pub(crate) fn run_agent(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let output = self
            .agent_command(arguments)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn agent_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace()))
            .arg(env!("CARGO_BIN_EXE_node-agent"))
            .args([
                "--node-name",
                "node-1",
                "--cluster-name",
                "eu",
                "--cluster-id",
                "1",
            ])
            .args(["--interface", "under0", "--wireguard", &self.interface])
            .arg("--etcd-config")
            .arg(self.directory.path().join("etcd.yaml"))
            .arg("--cgroup")
            .arg(&self.ground.cgroup)
            .arg("--state-dir")
            .arg(self.directory.path())
            .arg("--wireguard-key")
            .arg(self.directory.path().join("wireguard.key"))
            .arg("--bpffs")
            .arg(self.bpffs())
            .args(&self.agent_arguments)
            .args(arguments);
        command
    }

    /// Starts a device that knows its key.
    pub(crate) fn start_device(&mut self) {
        self.start_device_without_key();
        self.give_key();
    }

    /// Starts a device in a process of its own, as a supervisor does, and returns once it answers.
    pub(crate) fn start_device_without_key(&mut self) {
        self.device = Some(spawn_device(self.namespace(), &self.interface));
        let interface = Interface::open(&self.interface);
        self.wait_until("the device answers", || interface.get().is_ok());
    }

    /// Starts a device of another make, which knows its key and one peer for each prefix.
    pub(crate) fn start_plain_device(&mut self) {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace()))
            .args(["wireguard-go", "-f", &self.interface])
            .stdout(Stdio::null());
        self.device = Some(command.spawn().unwrap());
        let interface = Interface::open(&self.interface);
        self.wait_until("the device answers", || interface.get().is_ok());
        self.give_key();
    }

    /// A device at the far end of the first underlay, with an address on each side of it; the inner one
    /// is in the pod's namespace.
    pub(crate) fn start_far_device(&self, outer: &str, inner: &str) -> FarDevice {
        let far = self.far();
        // What comes out of the tunnel is elsewhere, so that a capture of the underlay does not see it.
        let inside = self.pod();
        let ip = |namespace: &str, line: &str| {
            let words = line.split(' ');
            run(Command::new("ip").args(["-netns", namespace]).args(words))
        };
        ip(&far, &format!("address add {outer} dev far0"));
        let interface = format!("cwf{}", id());
        let device = FarDevice {
            process: spawn_device(&far, &interface),
            interface: Interface::open(&interface),
            name: interface,
        };
        self.wait_until("the far device answers", || device.interface.get().is_ok());
        ip(&far, &format!("link set {} netns {inside}", device.name));
        ip(&inside, &format!("address add {inner} dev {}", device.name));
        ip(&inside, &format!("link set {} up", device.name));
        ip(
            &inside,
            &format!("route add 10.1.1.0/24 dev {}", device.name),
        );
        device
    }

    pub(crate) fn give_key(&self) {
        let update = Update {
            private_key: Some(Setting::To(self.device_key.clone())),
            listen_port: Some(51871),
            ..Update::default()
        };
        Interface::open(&self.interface).set(&update).unwrap();
    }

    /// Kills the device: its interface goes, and all routes through it.
    pub(crate) fn kill_device(&mut self) {
        let mut device = self.device.take().unwrap();
        device.kill().unwrap();
        device.wait().unwrap();
    }

    /// Makes the route to a peer's pod that an operator should not have made.
    pub(crate) fn lead_around(&self, pod: &str) {
        self.ip(&format!("route replace {pod}/32 via 192.0.2.1 dev under0"));
    }

    pub(crate) fn rebuild_underlay(&self) {
        self.ip("link delete under0");
        self.ground.build_underlay();
        self.lead_around("10.2.1.7");
    }

    pub(crate) fn device_peers(&self) -> usize {
        let state = Interface::open(&self.interface).get().unwrap();
        state
            .peers
            .values()
            .filter(|it| it.allowed_ips.len() == 2)
            .count()
    }

    /// The key that the device has.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        let state = Interface::open(&self.interface).get();
        state.ok()?.public_key()
    }

    /// The peer of the device whose tunnel takes what goes to `prefix`.
    pub(crate) fn carrier(&self, prefix: &str) -> Option<PublicKey> {
        carrier(&Interface::open(&self.interface), prefix)
    }

    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    pub(crate) fn build_pod(&self) {
        self.ground.build_pod();
    }

    pub(crate) fn pod(&self) -> String {
        self.ground.pod()
    }

    pub(crate) fn far(&self) -> String {
        self.ground.far()
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        self.ground.ip(arguments)
    }

    /// The body of the agent's answer to `GET path`.
    pub(crate) fn admin(&self, path: &str) -> String {
        self.try_admin(path).unwrap()
    }

    /// The body of the agent's answer to `POST path`.
    pub(crate) fn post(&self, path: &str) -> String {
        self.exchange("POST", path).unwrap()
    }

    fn try_admin(&self, path: &str) -> Option<String> {
        self.exchange("GET", path)
    }

    fn exchange(&self, method: &str, path: &str) -> Option<String> {
        exchange(self.namespace(), method, path)
    }

    /// How many packets were dropped for `reason`, as the agent's metrics say it.
    pub(crate) fn drops(&self, direction: &str, reason: &str) -> u64 {
        let name =
            format!(r#"cilium_drop_count_total{{direction="{direction}",reason="{reason}"}} "#);
        let body = self.admin("/metrics");
        let line = body.lines().find_map(|it| it.strip_prefix(&*name));
        line.map_or(0, |it| it.parse().unwrap())
    }

    /// The same once the metrics have been refreshed, which they are every second.
    pub(crate) fn drops_soon(&self, direction: &str, reason: &str) -> u64 {
        thread::sleep(Duration::from_millis(1_500));
        self.drops(direction, reason)
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        assert!(
            comes_true(condition),
            "in vain: {what}; the agent says {:?}",
            self.try_admin("/v1/status")
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for mut process in [self.agent.take(), self.device.take()]
            .into_iter()
            .flatten()
        {
            let _ended = process.kill();
            let _reaped = process.wait();
        }
        let socket = Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.interface));
        let _removed = fs::remove_file(socket);
    }
}

/// Whether a condition holds before it is clear that it never will.
pub(crate) fn comes_true(condition: impl Fn() -> bool) -> bool {
    for _ in 0..HANG.as_millis() / PAUSE.as_millis() {
        if condition() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

/// Keeps every other test that starts agents away.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The peer of a device whose tunnel takes what goes to `prefix`.
pub(crate) fn carrier(interface: &Interface, prefix: &str) -> Option<PublicKey> {
    let prefix = prefix.parse().unwrap();
    let state = interface.get().ok()?;
    let mut peers = state.peers.iter();
    let carrier = peers.find(|(_, it)| it.allowed_ips.contains(&prefix));
    carrier.map(|(key, _)| *key)
}
