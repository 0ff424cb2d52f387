//! A second agent, that of a node of cluster `us` at the far end of the underlay, with a store of its own.

use std::process::id;

use wireguard::uapi::Interface;

use super::{Machine, World};
use crate::store::StoreThread;

/// A device that runs, and the agent, which starts when it is told to.
pub(crate) struct FarAgent {
    pub(crate) store: StoreThread,
    machine: Machine,
}

impl FarAgent {
    pub(crate) fn new(world: &World) -> Self {
        let namespace = world.far();
        let cgroup = world.ground.cgroup.join("far");
        let interface = format!("cwq{}", id());
        let mut far = Self {
            store: StoreThread::start(&namespace),
            machine: Machine::new(&namespace, interface, cgroup, "127.0.0.1:2379"),
        };
        far.machine.start_device();
        let interface = far.interface();
        world.wait_until("the far device answers", || interface.get().is_ok());
        far
    }

    pub(crate) fn interface(&self) -> Interface {
        self.machine.interface()
    }

    pub(crate) fn name_of_interface(&self) -> &str {
        &self.machine.interface
    }

    pub(crate) fn start(&mut self, arguments: &[String]) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.machine
            .start_agent(["us", "2", "node-1"], "far0", &arguments);
    }

    pub(crate) fn kill(&mut self) {
        self.machine.kill_agent();
    }
}
