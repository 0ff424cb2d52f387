//! The daemons of one node beside the world's own, with all that they stand on and leave behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;
use wireguard::uapi::{Interface, SOCKET_DIRECTORY};

use super::{exchange, spawn_device};

/// A device and an agent in one namespace, each of which runs when it is started.
pub(crate) struct Machine {
    pub(crate) namespace: String,
    pub(crate) interface: String,
    cgroup: PathBuf,
    bpffs: TempDir,
    state: TempDir,
    agent: Option<Child>,
    device: Option<Child>,
}

impl Machine {
    /// Reaches its store at `endpoint`, and has a control group of its own, which is made.
    pub(crate) fn new(namespace: &str, interface: String, cgroup: PathBuf, endpoint: &str) -> Self {
        let bpffs = TempDir::with_prefix("cw-bpffs").unwrap();
        mount("bpf", bpffs.path(), "bpf", MountFlags::empty(), None).unwrap();
        fs::create_dir(&cgroup).unwrap();
        let state = TempDir::with_prefix("cw-agent").unwrap();
        let config = format!("endpoints: ['http://{endpoint}']\n");
        fs::write(state.path().join("etcd.yaml"), config).unwrap();
        Self {
            namespace: namespace.to_owned(),
            interface,
            cgroup,
            bpffs,
            state,
            agent: None,
            device: None,
        }
    }

    pub(crate) fn interface(&self) -> Interface {
        Interface::open(&self.interface)
    }

    pub(crate) fn start_device(&mut self) {
        self.device = Some(spawn_device(&self.namespace, &self.interface));
    }

    pub(crate) fn kill_device(&mut self) {
        end(&mut self.device);
    }

    /// Starts the agent of CLUSTER, CLUSTER-ID and NODE, over an interface to the underlay.
    pub(crate) fn start_agent(
        &mut self,
        [cluster, cluster_id, node]: [&str; 3],
        underlay: &str,
        arguments: &[&str],
    ) {
        let state = self.state.path();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg(env!("CARGO_BIN_EXE_node-agent"))
            .args(["--node-name", node, "--cluster-name", cluster])
            .args(["--cluster-id", cluster_id, "--interface", underlay])
            .args(["--wireguard", &self.interface])
            .args(arguments);
        for (option, path) in [
            ("--etcd-config", &*state.join("etcd.yaml")),
            ("--cgroup", &*self.cgroup),
            ("--state-dir", state),
            ("--wireguard-key", &*state.join("wireguard.key")),
            ("--bpffs", self.bpffs.path()),
        ] {
            command.arg(option).arg(path);
        }
        self.agent = Some(command.spawn().unwrap());
    }

    pub(crate) fn kill_agent(&mut self) {
        end(&mut self.agent);
    }

    /// The body of the agent's answer to `GET path`, if it answers.
    pub(crate) fn admin(&self, path: &str) -> Option<String> {
        exchange(&self.namespace, "GET", path)
    }

    pub(crate) fn is_ready(&self) -> bool {
        let answer = self.admin("/ready");
        answer.is_some_and(|it| it.contains(r#""ready":true"#))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.agent);
        end(&mut self.device);
        let socket = Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.interface));
        let _removed = fs::remove_file(socket);
        let _unmounted = unmount(self.bpffs.path(), UnmountFlags::DETACH);
        let _removed = fs::remove_dir(&self.cgroup);
    }
}

/// Kills a process, if it runs, and returns once it is gone.
fn end(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ended = process.kill();
        let _reaped = process.wait();
    }
}
