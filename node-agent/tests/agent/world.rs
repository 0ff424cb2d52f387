//! The ground that the agent stands on, made for one test and taken away on every path.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use wireguard::device::Device;
use wireguard::uapi::{Interface, SOCKET_DIRECTORY, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::store::StoreThread;

/// Far beyond what anything here takes: a hang, not a measurement.
const HANG: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct World {
    pub(crate) store: StoreThread,
    agent: Option<Child>,
    device: Option<Child>,
    device_key: PrivateKey,
    interface: String,
    directory: TempDir,
    ground: Ground,
    _alone: MutexGuard<'static, ()>,
}

/// The whole process moves into a world's cgroup, so there is one world at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// In a process that serves a device for a test: which one.
const DEVICE_VARIABLE: &str = "CAUSEWAY_TEST_DEVICE";

impl World {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes namespaces and loads eBPF programs: run it as root"
        );
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

    pub(crate) fn device_key(&self) -> PublicKey {
        self.device_key.public_key()
    }

    /// Runs `work` on a thread in the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(namespace);
                work()
            });
            thread.join().unwrap()
        })
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
            .arg("--bpffs")
            .arg(self.bpffs())
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
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace()))
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "serves_a_device_for_another_test"])
            .env(DEVICE_VARIABLE, &self.interface)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.device = Some(child);
        let interface = Interface::open(&self.interface);
        self.wait_until("the device answers", || interface.get().is_ok());
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
            .filter(|it| it.allowed_ips.len() == 1)
            .count()
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

    fn try_admin(&self, path: &str) -> Option<String> {
        self.inside(|| {
            let mut connection = TcpStream::connect("127.0.0.1:9962").ok()?;
            connection.set_read_timeout(Some(HANG)).ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n");
            connection.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).ok()?;
            Some(answer.split_once("\r\n\r\n")?.1.to_owned())
        })
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
        for _ in 0..HANG.as_millis() / PAUSE.as_millis() {
            if condition() {
                return;
            }
            thread::sleep(PAUSE);
        }
        panic!(
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

/// Serves the device that another test wants, until this process is killed.
pub(crate) fn serve_device() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a test configures its processes"
    )]
    let Ok(interface) = std::env::var(DEVICE_VARIABLE) else {
        return;
    };
    let (end, ended) = sync_channel(1);
    let _device = Device::start(&interface, Path::new(SOCKET_DIRECTORY), end).unwrap();
    ended.recv().unwrap();
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(LinkNameSpaceType::Network),
    )
    .unwrap();
}

/// A network namespace with an underlay, a cgroup that the test is in, and a BPF file system.
struct Ground {
    namespace: String,
    cgroup: PathBuf,
    home: PathBuf,
    bpffs: TempDir,
}

impl Ground {
    fn new() -> Self {
        let root = cgroup2_root();
        let path = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = path.lines().find_map(|it| it.strip_prefix("0::/")).unwrap();
        let ground = Self {
            namespace: format!("cw-agent-{}", id()),
            cgroup: root.join(format!("cw-test-{}", id())),
            home: root.join(path),
            bpffs: TempDir::with_prefix("cw-bpffs").unwrap(),
        };
        fs::create_dir(&ground.cgroup).unwrap();
        join(&ground.cgroup);
        mount("bpf", ground.bpffs.path(), "bpf", MountFlags::empty(), None).unwrap();
        ground.build_network();
        ground
    }

    fn build_network(&self) {
        for namespace in [&self.namespace, &self.far(), &self.pod()] {
            run(Command::new("ip").args(["netns", "add", namespace]));
        }
        for line in [
            "link set lo up",
            "address add 10.1.1.2/32 dev lo",
            "address add 10.1.1.3/32 dev lo",
        ] {
            self.ip(line);
        }
        self.build_underlay();
        self.build_link("under1", "far1", "192.0.3.11/24");
        self.ip("neighbor add 192.0.3.1 lladdr 02:00:00:00:00:01 dev under1 nud permanent");
    }

    fn build_underlay(&self) {
        self.build_link("under0", "far0", "192.0.2.11/24");
        self.ip("neighbor add 192.0.2.1 lladdr 02:00:00:00:00:01 dev under0 nud permanent");
        self.ip("route replace default via 192.0.2.1");
    }

    fn build_link(&self, near: &str, far: &str, address: &str) {
        let far_namespace = self.far();
        self.ip(&format!(
            "link add {near} type veth peer name {far} netns {far_namespace}"
        ));
        self.ip(&format!("address add {address} dev {near}"));
        self.ip(&format!("link set {near} up"));
        let arguments = ["-netns", &far_namespace, "link", "set", far, "up"];
        run(Command::new("ip").args(arguments));
    }

    /// A pod whose packets the node forwards.
    fn build_pod(&self) {
        let pod = self.pod();
        self.ip(&format!(
            "link add pod0 type veth peer name eth0 netns {pod}"
        ));
        for line in [
            "address add 10.1.1.254/32 dev pod0",
            "link set pod0 up",
            "route add 10.1.1.9/32 dev pod0",
        ] {
            self.ip(line);
        }
        for line in [
            "address add 10.1.1.9/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.1.1.254",
        ] {
            let words = line.split(' ');
            run(Command::new("ip").args(["-netns", &pod]).args(words));
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                enter(&self.namespace);
                fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            });
        });
    }

    /// Where the far ends of the underlays are.
    fn far(&self) -> String {
        format!("{}-far", self.namespace)
    }

    fn pod(&self) -> String {
        format!("{}-pod", self.namespace)
    }

    fn ip(&self, arguments: &str) -> String {
        let words = arguments.split(' ');
        run(Command::new("ip")
            .args(["-netns", &self.namespace])
            .args(words))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _unmounted = unmount(self.bpffs.path(), UnmountFlags::DETACH);
        for namespace in [&self.namespace, &self.far(), &self.pod()] {
            let _deleted = Command::new("ip")
                .args(["netns", "delete", namespace])
                .output();
        }
        let _left = fs::write(self.home.join("cgroup.procs"), id().to_string());
        let _removed = fs::remove_dir(&self.cgroup);
    }
}

fn join(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), id().to_string()).unwrap();
}

fn cgroup2_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|it| it.split(' ').collect::<Vec<_>>());
    let line = lines
        .find(|it| it[2] == "cgroup2")
        .expect("cgroup2 must be mounted");
    line[1].into()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
