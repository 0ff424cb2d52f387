//! Another node of the own cluster, whole: an agent and a device of its own, in the pod's namespace. The
//! far namespace is the wire between both, where everything that goes over it is seen.

use std::process::{Command, Stdio, id};

use crate::far_node;
use crate::world::{Machine, World, cgroup2_root, run};

/// Both nodes' addresses on the underlay, this one's last.
pub(crate) const V4: [&str; 2] = ["192.0.2.11", "192.0.2.13"];
pub(crate) const V6: [&str; 2] = ["2001:db8::11", "2001:db8::13"];

pub(crate) struct NearNode(Machine);

impl NearNode {
    /// Its ground, with nothing running on it yet.
    pub(crate) fn new(world: &World) -> Self {
        let interface = format!("cwn{}", id());
        let cgroup = cgroup2_root().join(format!("cw-near-{}", id()));
        let endpoint = format!("{}:2379", V4[0]);
        let node = Self(Machine::new(&world.pod(), interface, cgroup, &endpoint));
        node.build_underlay(world);
        node
    }

    fn build_underlay(&self, world: &World) {
        for line in [
            "link add br0 type bridge",
            "link set br0 up",
            "link set far0 master br0",
            &format!(
                "link add near0 type veth peer name under0 netns {}",
                self.namespace()
            ),
            "link set near0 master br0 up",
        ] {
            far_node::ip(world, line);
        }
        for line in [
            "link set lo up",
            &format!("address add {}/24 dev under0", V4[1]),
            &format!("address add {}/64 dev under0 nodad", V6[1]),
            "link set under0 up",
        ] {
            self.ip(line);
        }
        world.ip(&format!("address add {}/64 dev under0 nodad", V6[0]));
        for namespace in [world.namespace(), self.namespace()] {
            check_sources(namespace);
        }
    }

    pub(crate) fn start_device(&mut self) {
        self.0.start_device();
    }

    pub(crate) fn kill_device(&mut self) {
        self.0.kill_device();
    }

    pub(crate) fn start_agent(&mut self, arguments: &[&str]) {
        self.0
            .start_agent(["eu", "1", "node-3"], "under0", arguments);
    }

    pub(crate) fn kill_agent(&mut self) {
        self.0.kill_agent();
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        let words = arguments.split(' ');
        run(Command::new("ip")
            .args(["-netns", self.namespace()])
            .args(words))
    }

    /// The body of its agent's answer, if it answers.
    pub(crate) fn admin(&self, path: &str) -> Option<String> {
        self.0.admin(path)
    }
}

/// Has the kernel drop what comes from where it would not send to, as strictly as it can.
fn check_sources(namespace: &str) {
    let keys = ["all", "default", "under0"].map(|it| format!("net.ipv4.conf.{it}.rp_filter=1"));
    let output = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg("sysctl")
        .args(keys)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}
