//! Namespaces, links, a cgroup and a BPF file system, made for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::thread;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::enter;

/// A network namespace with an underlay, a cgroup that the test is in, and a BPF file system.
pub(super) struct Ground {
    pub(super) namespace: String,
    pub(super) cgroup: PathBuf,
    home: PathBuf,
    pub(super) bpffs: TempDir,
}

impl Ground {
    pub(super) fn new() -> Self {
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

    pub(super) fn build_underlay(&self) {
        self.build_link("under0", "far0", "192.0.2.11/24");
        for neighbor in ["192.0.2.1", "192.0.2.12"] {
            self.ip(&format!(
                "neighbor add {neighbor} lladdr 02:00:00:00:00:01 dev under0 nud permanent"
            ));
        }
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
    pub(super) fn build_pod(&self) {
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
    pub(super) fn far(&self) -> String {
        format!("{}-far", self.namespace)
    }

    pub(super) fn pod(&self) -> String {
        format!("{}-pod", self.namespace)
    }

    pub(super) fn ip(&self, arguments: &str) -> String {
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

pub(crate) fn cgroup2_root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|it| it.split(' ').collect::<Vec<_>>());
    let line = lines
        .find(|it| it[2] == "cgroup2")
        .expect("cgroup2 must be mounted");
    line[1].into()
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
