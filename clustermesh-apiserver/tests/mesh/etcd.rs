//! Debian's etcd in a process of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::free_address;
use tempfile::TempDir;

use super::region::eventually;

/// Debian's etcd.
pub(crate) struct Etcd {
    pub(crate) address: SocketAddr,
    peers: SocketAddr,
    process: Child,
    data: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let (address, peers) = (free_address(), free_address());
        let data = tempfile::tempdir().unwrap();
        let process = spawn_etcd(address, peers, data.path());
        let etcd = Self {
            address,
            peers,
            process,
            data,
        };
        etcd.wait();
        etcd
    }

    /// Ends the process at once, and starts it again on what it has written.
    pub(crate) fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn_etcd(self.address, self.peers, self.data.path());
        self.wait();
    }

    fn wait(&self) {
        eventually("etcd", || TcpStream::connect(self.address).is_ok());
    }
}

fn spawn_etcd(address: SocketAddr, peers: SocketAddr, data: &Path) -> Child {
    Command::new("etcd")
        .arg("--data-dir")
        .arg(data)
        .arg(format!("--listen-client-urls=http://{address}"))
        .arg(format!("--advertise-client-urls=http://{address}"))
        .arg(format!("--listen-peer-urls=http://{peers}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
        .arg(format!("--initial-cluster=default=http://{peers}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd is installed by the setup script")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
