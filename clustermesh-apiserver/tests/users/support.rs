//! Certificates, real servers and the real process.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kvstore::config::EtcdConfig;
use kvstore::store::{Link, Store};
use lab::free_address;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::NAMES;

/// Generous: exceeding it means that something hangs.
const HANG: Duration = Duration::from_secs(60);

/// On a busy machine even a handshake can take long.
pub(crate) fn patient() -> Link {
    Link {
        connect_timeout: HANG,
        ..Link::default()
    }
}

/// A directory with an authority and what it signed.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for directory in ["objects", "clustermesh"] {
            fs::create_dir(files.path(directory)).unwrap();
        }
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(
            files.path("ca.crt"),
            params.self_signed(&ca_key).unwrap().pem(),
        )
        .unwrap();
        let issuer = Issuer::new(params, ca_key);
        for name in NAMES {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(files.path(&format!("{name}.crt")), certificate.pem()).unwrap();
            fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn config(&self, address: SocketAddr, user: &str) -> String {
        let directory = self.0.path().display();
        format!(
            "endpoints: ['https://{address}']\ntrusted-ca-file: {directory}/ca.crt\n\
             cert-file: {directory}/{user}.crt\nkey-file: {directory}/{user}.key\n"
        )
    }

    pub(crate) fn store(&self, address: SocketAddr, user: &str) -> Store {
        let text = self.config(address, user);
        Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap())
    }
}

/// Debian's etcd with mutual TLS.
pub(crate) struct Etcd {
    pub(crate) address: SocketAddr,
    process: Child,
    _data: TempDir,
}

impl Etcd {
    pub(crate) fn start(files: &Files) -> Self {
        let (address, peers) = (free_address(), free_address());
        let data = tempfile::tempdir().unwrap();
        let process = Command::new("/usr/bin/etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--log-level", "error", "--unsafe-no-fsync"])
            .args(["--client-cert-auth", "--cert-file"])
            .arg(files.path("server.crt"))
            .arg("--key-file")
            .arg(files.path("server.key"))
            .arg("--trusted-ca-file")
            .arg(files.path("ca.crt"))
            .arg(format!("--listen-client-urls=https://{address}"))
            .arg(format!("--advertise-client-urls=https://{address}"))
            .arg(format!("--listen-peer-urls=http://{peers}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
            .arg(format!("--initial-cluster=default=http://{peers}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's etcd-server package is needed");
        Self {
            address,
            process,
            _data: data,
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The real process, for cluster `eu`.
pub(crate) struct Apiserver {
    process: Child,
    log: PathBuf,
}

impl Apiserver {
    pub(crate) fn start(files: &Files, arguments: &[&str]) -> Self {
        let log = files.path("log");
        let process = Command::new(env!("CARGO_BIN_EXE_clustermesh-apiserver"))
            .args(["--cluster-name", "eu", "--cluster-id", "1"])
            .args(["--log", "info", "--admin", "127.0.0.1:0"])
            .arg("--objects")
            .arg(files.path("objects"))
            .arg("--clustermesh-config")
            .arg(files.path("clustermesh"))
            .arg("--users-file")
            .arg(files.path("users.yaml"))
            .args(arguments)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// At once, as ConfigMaps are replaced.
pub(crate) fn replace(file: &Path, text: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let before = file.with_file_name(format!(".{name}"));
    fs::write(&before, text).unwrap();
    fs::rename(before, file).unwrap();
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HANG, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
