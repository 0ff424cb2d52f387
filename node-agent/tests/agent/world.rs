//! The ground that the agent stands on, made for one test and taken away on every path.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use wireguard::device::{Device, End};
use wireguard::uapi::{Interface, SOCKET_DIRECTORY, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::store::StoreThread;

/// Far beyond what anything here takes: a hang, not a measurement.
const HANG: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct World {
    pub(crate) store: StoreThread,
    agent: Option<Child>,
    device: Option<(Device, Receiver<End>)>,
    device_key: PrivateKey,
    interface: String,
    directory: TempDir,
    ground: Ground,
}

impl World {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes namespaces and loads eBPF programs: run it as root"
        );
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
        let child = self.agent_command(&[]).spawn().unwrap();
        self.agent = Some(child);
        self.wait_until("the agent is ready", || {
            self.try_admin("/ready")
                .is_some_and(|it| it.contains(r#""ready":true"#))
        });
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

    pub(crate) fn start_device(&mut self) {
        let (end, ended) = sync_channel(1);
        let interface = self.interface.clone();
        let device = self
            .inside(move || Device::start(&interface, Path::new(SOCKET_DIRECTORY), end).unwrap());
        self.device = Some((device, ended));
        let update = Update {
            private_key: Some(Setting::To(self.device_key.clone())),
            ..Update::default()
        };
        Interface::open(&self.interface).set(&update).unwrap();
    }

    /// The threads of a device end with their process, so its interface is taken away instead.
    pub(crate) fn stop_device(&mut self) {
        self.ip(&format!("link delete {}", self.interface));
        self.device = None;
    }

    pub(crate) fn rebuild_underlay(&self) {
        self.ip("link delete under0");
        self.ground.build_underlay();
    }

    pub(crate) fn device_peers(&self) -> usize {
        let state = Interface::open(&self.interface).get().unwrap();
        state
            .peers
            .values()
            .filter(|it| it.allowed_ips.len() == 1)
            .count()
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
        if let Some(mut agent) = self.agent.take() {
            let _ended = agent.kill();
            let _reaped = agent.wait();
        }
    }
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
        run(Command::new("ip").args(["netns", "add", &self.namespace]));
        for line in [
            "link set lo up",
            "address add 10.1.1.2/32 dev lo",
            "address add 10.1.1.3/32 dev lo",
        ] {
            self.ip(line);
        }
        self.build_underlay();
    }

    fn build_underlay(&self) {
        for line in [
            "link add under0 type veth peer name far0",
            "address add 192.0.2.11/24 dev under0",
            "link set under0 up",
            "link set far0 up",
            "route add default via 192.0.2.1",
            "neighbor add 192.0.2.1 lladdr 02:00:00:00:00:01 dev under0 nud permanent",
        ] {
            self.ip(line);
        }
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
        let _deleted = Command::new("ip")
            .args(["netns", "delete", &self.namespace])
            .output();
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
