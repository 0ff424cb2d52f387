//! One region under test: its directories, its process, and its store.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use lab::free_address;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::HANG;
use super::authority::Authority;
use super::etcd::Etcd;
use super::watch::Watch;

pub(crate) const APISERVER: &str = env!("CARGO_BIN_EXE_clustermesh-apiserver");

pub(crate) struct Region {
    name: &'static str,
    id: u16,
    /// Clusters that its mesh may have.
    mesh_size: u16,
    lease_ttl: &'static str,
    directory: TempDir,
    listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    etcd: Option<SocketAddr>,
    process: Option<Child>,
}

impl Region {
    pub(crate) fn new(authority: &Authority, name: &'static str, id: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for subdirectory in ["objects", "clustermesh"] {
            fs::create_dir(directory.path().join(subdirectory)).unwrap();
        }
        for (file, text) in authority.files() {
            fs::write(directory.path().join(file), text).unwrap();
        }
        Self {
            name,
            id,
            mesh_size: 255,
            lease_ttl: "15m",
            directory,
            listen: free_address(),
            admin: free_address(),
            etcd: None,
            process: None,
        }
    }

    pub(crate) fn peered_with(self, peers: &[&Self]) -> Self {
        peers.iter().for_each(|it| it.configure_in(&self));
        self
    }

    pub(crate) fn stored_in(mut self, etcd: &Etcd) -> Self {
        self.etcd = Some(etcd.address);
        let text = format!("endpoints: ['http://{}']\n", etcd.address);
        fs::write(self.directory().join("etcd.yaml"), text).unwrap();
        self
    }

    pub(crate) fn in_mesh_of(mut self, clusters: u16) -> Self {
        self.mesh_size = clusters;
        self
    }

    pub(crate) fn leasing_for(mut self, ttl: &'static str) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// Writes the file that tells `other` how to reach this region.
    pub(crate) fn configure_in(&self, other: &Self) {
        self.configure_in_as(other, "remote");
    }

    /// Like [`configure_in`](Self::configure_in), with the certificate of `user`.
    pub(crate) fn configure_in_as(&self, other: &Self, user: &str) {
        let directory = other.directory().display();
        let mut text = format!("endpoints:\n- https://{}\n", self.listen);
        for (field, file) in [
            ("trusted-ca", "ca.crt"),
            ("cert", &format!("{user}.crt")),
            ("key", &format!("{user}.key")),
        ] {
            writeln!(text, "{field}-file: {directory}/{file}").unwrap();
        }
        replace(
            &other.directory().join("clustermesh").join(self.name),
            &text,
        );
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces a manifest as a control plane would: at once.
    pub(crate) fn write(&self, file: &str, text: &str) {
        replace(&self.directory().join("objects").join(file), text);
    }

    /// Starts the process and waits until it publishes.
    pub(crate) fn start(&mut self) {
        let path = |name: &str| self.directory().join(name);
        let mut command = Command::new(APISERVER);
        command
            .args([
                "--cluster-name",
                self.name,
                "--cluster-id",
                &self.id.to_string(),
                "--max-connected-clusters",
                &self.mesh_size.to_string(),
            ])
            .args(["--admin", &self.admin.to_string()])
            .args(["--lease-ttl", self.lease_ttl])
            .args(["--log", "error"])
            .arg("--objects")
            .arg(path("objects"))
            .arg("--clustermesh-config")
            .arg(path("clustermesh"));
        match self.etcd {
            Some(_) => command.arg("--etcd-config").arg(path("etcd.yaml")),
            None => command
                .args(["--listen", &self.listen.to_string()])
                .arg("--tls-cert")
                .arg(path("server.crt"))
                .arg("--tls-key")
                .arg(path("server.key"))
                .arg("--client-ca")
                .arg(path("ca.crt")),
        };
        self.process = Some(command.spawn().unwrap());
        let canary = format!("causeway/synced/{}", self.name);
        eventually("its first publication", || self.value(&canary).is_some());
    }

    /// Ends the process in an orderly way.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        let status = process.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }

    /// Ends the process at once.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let text = self.etcdctl(&["get", key, "--print-value-only"]);
        Some(text.trim_end().to_owned()).filter(|it| !it.is_empty())
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let text = self.etcdctl(&["get", "--prefix", prefix, "--keys-only"]);
        let lines = text.lines().filter(|it| !it.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// The leases of the region's store.
    pub(crate) fn leases(&self) -> BTreeSet<String> {
        let text = self.etcdctl(&["lease", "list"]);
        let ids = text.lines().filter(|it| !it.starts_with("found"));
        ids.map(str::to_owned).collect()
    }

    /// What this region's store shows of the service's backends in another.
    pub(crate) fn backends_of(&self, cluster: &str) -> String {
        let key = format!("cilium/cache/services/v1/{cluster}/shop/shop");
        self.value(&key).unwrap_or_default()
    }

    pub(crate) fn expect_peer(&self, cluster: &str, connected: bool) {
        let key = format!("causeway/state/peers/v1/{cluster}");
        let expected = format!(r#"{{"connected":{connected},"#);
        eventually(&expected, || {
            self.value(&key).is_some_and(|it| it.starts_with(&expected))
        });
    }

    /// Watches a prefix of the store from now on.
    pub(crate) fn watch(&self, prefix: &str) -> Watch {
        let mut watch = Watch::start(self.etcdctl_command("root", &["watch", "--prefix", prefix]));
        // The watch is open as soon as it shows a write of its own.
        let mark = format!("{prefix}watched");
        eventually("the watch", || {
            self.etcdctl(&["put", &mark, "x"]);
            watch.seen().contains(&mark)
        });
        watch
    }

    /// How a client that may do everything reaches the embedded store.
    pub(crate) fn store_config(&self) -> String {
        let directory = self.directory().display();
        format!(
            "endpoints: ['https://{}']\ntrusted-ca-file: {directory}/ca.crt\n\
             cert-file: {directory}/root.crt\nkey-file: {directory}/root.key\n",
            self.listen
        )
    }

    /// What the store answers, as soon as it does: a slow store is none without the key.
    fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut answer = String::new();
        eventually("an answer of the store", || {
            let said = self.ask_as("root", arguments);
            said.map(|it| answer = it).is_ok()
        });
        answer
    }

    /// What `etcdctl` says to the user, or why the store refused.
    pub(crate) fn ask_as(&self, user: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.etcdctl_command(user, arguments).output();
        let output = output.expect("etcdctl is installed by the setup script");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    fn etcdctl_command(&self, user: &str, arguments: &[&str]) -> Command {
        let path = |name: &str| self.directory().join(name);
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .arg("--dial-timeout=1s")
            .arg("--command-timeout=2s");
        match self.etcd {
            Some(address) => command.arg(format!("--endpoints=http://{address}")),
            None => command
                .arg(format!("--endpoints=https://{}", self.listen))
                .arg("--cacert")
                .arg(path("ca.crt"))
                .arg("--cert")
                .arg(path(&format!("{user}.crt")))
                .arg("--key")
                .arg(path(&format!("{user}.key"))),
        };
        command.args(arguments);
        command
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// What the admin endpoint answers, without the header.
pub(crate) fn admin(address: SocketAddr, path: &str) -> String {
    let Ok(mut connection) = TcpStream::connect(address) else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    body.unwrap_or_default()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn replace(file: &Path, text: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let temporary: PathBuf = file.with_file_name(format!(".{name}"));
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, file).unwrap();
}
