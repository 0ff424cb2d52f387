//! One region under test: its directories, its certificates, its process, and its store.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::HANG;

pub(crate) const APISERVER: &str = env!("CARGO_BIN_EXE_clustermesh-apiserver");

/// A certificate authority, with the server's certificate and those of two users.
pub(crate) struct Authority {
    /// PEM, by file name.
    files: Vec<(String, String)>,
}

/// The server on loopback, an administrator, and a peer: certificates by their common names.
const NAMES: [&str; 3] = ["server", "root", "remote"];

impl Authority {
    pub(crate) fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);

        let mut files = vec![("ca.crt".to_owned(), ca.pem())];
        for name in NAMES {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            files.push((format!("{name}.crt"), certificate.pem()));
            files.push((format!("{name}.key"), key.serialize_pem()));
        }
        Self { files }
    }
}

pub(crate) struct Region {
    name: &'static str,
    id: u8,
    directory: TempDir,
    listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    etcd: Option<SocketAddr>,
    process: Option<Child>,
}

impl Region {
    pub(crate) fn new(authority: &Authority, name: &'static str, id: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for subdirectory in ["objects", "clustermesh"] {
            fs::create_dir(directory.path().join(subdirectory)).unwrap();
        }
        for (file, text) in &authority.files {
            fs::write(directory.path().join(file), text).unwrap();
        }
        Self {
            name,
            id,
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

    /// Writes the file that tells `other` how to reach this region.
    pub(crate) fn configure_in(&self, other: &Self) {
        let directory = other.directory().display();
        let mut text = format!("endpoints:\n- https://{}\n", self.listen);
        for (field, file) in [
            ("trusted-ca", "ca.crt"),
            ("cert", "remote.crt"),
            ("key", "remote.key"),
        ] {
            writeln!(text, "{field}-file: {directory}/{file}").unwrap();
        }
        replace(
            &other.directory().join("clustermesh").join(self.name),
            &text,
        );
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
            ])
            .args(["--admin", &self.admin.to_string()])
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
        let mut command = self.etcdctl_command(&["watch", "--prefix", prefix]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        // The watch is open as soon as it shows a write of its own.
        let mark = format!("{prefix}watched");
        let mut watch = Watch {
            process,
            lines,
            seen: Vec::new(),
        };
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

    fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self
            .etcdctl_command(arguments)
            .stderr(Stdio::null())
            .output();
        let output = output.expect("etcdctl is installed by the setup script");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn etcdctl_command(&self, arguments: &[&str]) -> Command {
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
                .arg(path("root.crt"))
                .arg("--key")
                .arg(path("root.key")),
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

/// A running `etcdctl watch`.
pub(crate) struct Watch {
    process: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Watch {
    /// All lines so far: `PUT` or `DELETE`, the key, the value.
    fn seen(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// The keys that were deleted since the watch began.
    pub(crate) fn deletes(&mut self) -> Vec<String> {
        let pairs = self.seen().windows(2);
        let deletes = pairs.filter(|it| it[0] == "DELETE");
        deletes.map(|it| it[1].clone()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

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

/// An address that nobody uses at the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
