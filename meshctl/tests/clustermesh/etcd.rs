//! Debian's etcd, which can act as any cluster.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use lab::free_address;
use tempfile::TempDir;

use super::world::{etcdctl, eventually};

/// Debian's etcd.
pub(crate) struct Etcd {
    pub(crate) address: SocketAddr,
    process: Child,
    _data: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let (address, peers) = (free_address(), free_address());
        let data = tempfile::tempdir().unwrap();
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"))
            .arg(format!("--listen-peer-urls=http://{peers}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
            .arg(format!("--initial-cluster=default=http://{peers}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed by the setup script");
        let etcd = Self {
            address,
            process,
            _data: data,
        };
        eventually("etcd", || TcpStream::connect(address).is_ok());
        etcd
    }

    /// Acts as three broken clusters: without a cluster-config, without canaries (`mute`), and with
    /// a record that is not what its key says.
    pub(crate) fn pretend(&self, peer: &str, id: Option<u8>) {
        let Some(id) = id else {
            return;
        };
        self.config(peer, id);
        if peer != "mute" {
            self.canaries(peer);
            let node = format!(r#"{{"Name":"b","Cluster":"{peer}","ClusterID":{id}}}"#);
            self.put(&format!("cilium/state/nodes/v1/{peer}/a"), &node);
        }
    }

    /// Acts as a cluster with one node.
    pub(crate) fn publish(&self, peer: &str, id: u8) {
        let node = format!(r#"{{"Name":"a","Cluster":"{peer}","ClusterID":{id}}}"#);
        self.put(&format!("cilium/state/nodes/v1/{peer}/a"), &node);
        self.config(peer, id);
        self.canaries(peer);
    }

    fn config(&self, peer: &str, id: u8) {
        let config = format!(
            r#"{{"id":{id},"capabilities":{{"syncedCanaries":true,"maxConnectedClusters":255,"serviceExportsEnabled":false,"endpointSlicesExportMode":"services-and-endpointslices"}}}}"#
        );
        self.put(&format!("cilium/cluster-config/{peer}"), &config);
    }

    fn canaries(&self, peer: &str) {
        for kind in [
            "endpointslices",
            "identities",
            "ip",
            "nodes",
            "serviceexports",
            "services",
        ] {
            let key = format!("cilium/synced/{peer}/cilium/state/{kind}/v1");
            self.put(&key, "2026-11-20T15:37:23Z");
        }
    }

    fn put(&self, key: &str, value: &str) {
        let mut command = etcdctl(&format!("http://{}", self.address));
        assert!(
            command
                .args(["put", key, value])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
