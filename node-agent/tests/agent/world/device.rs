//! Devices in processes of their own, as a supervisor starts them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;

use wireguard::device::{Opened, Uapi};
use wireguard::uapi::{Interface, SOCKET_DIRECTORY};

/// In a process that serves a device for a test: which one.
const DEVICE_VARIABLE: &str = "CAUSEWAY_TEST_DEVICE";

/// A device that stands for a node of another cluster, until it is dropped.
pub(crate) struct FarDevice {
    pub(crate) interface: Interface,
    pub(super) name: String,
    pub(super) process: Child,
}

impl Drop for FarDevice {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
        let socket = Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.name));
        let _removed = fs::remove_file(socket);
    }
}

pub(crate) fn spawn_device(namespace: &str, interface: &str) -> Child {
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "serves_a_device_for_another_test"])
        .env(DEVICE_VARIABLE, interface)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
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
    let uapi = Uapi::In(Path::new(SOCKET_DIRECTORY));
    let opened = Opened::open(&interface, uapi, None, end).unwrap();
    let _device = opened.serve().unwrap();
    ended.recv().unwrap();
}
