//! What the tests stand on: authorities, API servers, an etcd, and a context file that knows the API
//! server of `eu`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::free_address;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use serde_json::Value;
use tempfile::TempDir;

/// The environment variable with an API server's arguments, one in a line.
pub(crate) const ARGUMENTS: &str = "MESHCTL_TEST_APISERVER";

/// How long something may take before it counts as never happening.
const HANG: Duration = Duration::from_secs(60);

pub(crate) struct World {
    directory: TempDir,
}

/// A CA in two files.
pub(crate) struct Authority {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A client's certificate in two files.
pub(crate) struct Client {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Whether a certificate is valid or has expired.
#[derive(Clone, Copy)]
pub(crate) enum Life {
    Good,
    Over,
}

/// A running API server with its own directory.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    id: u8,
    directory: PathBuf,
    ca: PathBuf,
    pub(crate) port: u16,
    admin: SocketAddr,
    process: Child,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    pub(crate) fn authority(&self, name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{name} CA"));
        let cert = params.self_signed(&key).unwrap().pem();
        let files = self.pair(&format!("{name}-ca"), &cert, &key);
        Authority {
            cert: files.cert,
            key: files.key,
        }
    }

    pub(crate) fn client(&self, file: &str, ca: &Authority, user: &str, life: Life) -> Client {
        self.sign(file, ca, user, &[], life)
    }

    /// Starts the API server of a cluster, and waits until it answers.
    pub(crate) fn start(&self, name: &'static str, id: u8, ca: &Authority, life: Life) -> Server {
        let directory = self.directory.path().join(name);
        for sub in ["objects", "clustermesh"] {
            fs::create_dir_all(directory.join(sub)).unwrap();
        }
        let tls = self.sign(&format!("{name}-server"), ca, name, &["127.0.0.1"], life);
        let (port, admin) = (free_address().port(), free_address());
        let mut arguments = format!("--cluster-name={name}\n--cluster-id={id}\n--log=off\n");
        writeln!(arguments, "--listen=127.0.0.1:{port}\n--admin={admin}").unwrap();
        for (flag, path) in [
            ("objects", &directory.join("objects")),
            ("clustermesh-config", &directory.join("clustermesh")),
            ("tls-cert", &tls.cert),
            ("tls-key", &tls.key),
            ("client-ca", &ca.cert),
        ] {
            writeln!(arguments, "--{flag}={}", path.display()).unwrap();
        }
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "apiserver", "--ignored", "--nocapture"])
            .env(ARGUMENTS, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server {
            name,
            id,
            directory,
            ca: ca.cert.clone(),
            port,
            admin,
            process,
        };
        eventually("the API server", || {
            self.admin(&server, "/v1/status").contains("\"ready\":true")
        });
        if name == "eu" {
            let context = format!("cluster: eu\napiservers: [\"http://{admin}\"]\n");
            fs::write(self.context(), context).unwrap();
        } else if name == "us" {
            let eu = fs::read_to_string(self.context()).unwrap();
            fs::write(
                self.context(),
                eu.replace("\"]", &format!("\", \"http://{admin}\"]")),
            )
            .unwrap();
        }
        server
    }

    pub(crate) fn meshctl(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .env("CAUSEWAY_CONTEXT", self.context())
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What the admin endpoint answers, without the header.
    pub(crate) fn admin(&self, server: &Server, path: &str) -> String {
        let Ok(mut connection) = TcpStream::connect(server.admin) else {
            return String::new();
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = connection.read_to_string(&mut answer);
        let body = answer.split_once("\r\n\r\n");
        body.map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    pub(crate) fn connect_arguments(&self, one: &Server, other: &Server) -> Vec<String> {
        let mut arguments: Vec<String> = ["clustermesh", "connect", one.name, other.name]
            .map(str::to_owned)
            .into();
        for it in [one, other] {
            let (name, ca) = (it.name, it.ca.display());
            let key = it.ca.with_extension("key");
            arguments.push(format!("--ca-cert={name}={ca}"));
            arguments.push(format!("--ca-key={name}={}", key.display()));
            arguments.push(format!("--endpoint={name}=https://127.0.0.1:{}", it.port));
            arguments.push(format!("--id={name}={}", it.id));
        }
        arguments.extend(self.directory_arguments(one, other));
        arguments
    }

    pub(crate) fn directory_arguments(&self, one: &Server, other: &Server) -> Vec<String> {
        let argument =
            |it: &Server| format!("--directory={}={}", it.name, it.clustermesh().display());
        vec![argument(one), argument(other)]
    }

    fn sign(&self, file: &str, ca: &Authority, user: &str, names: &[&str], life: Life) -> Client {
        let ca_key = KeyPair::from_pem(&fs::read_to_string(&ca.key).unwrap()).unwrap();
        let ca_cert = fs::read_to_string(&ca.cert).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&ca_cert, ca_key).unwrap();
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        if let Life::Over = life {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap().pem();
        self.pair(file, &cert, &key)
    }

    fn pair(&self, name: &str, cert: &str, key: &KeyPair) -> Client {
        let path = |extension| self.directory.path().join(name).with_extension(extension);
        let client = Client {
            cert: path("crt"),
            key: path("key"),
        };
        fs::write(&client.cert, cert).unwrap();
        fs::write(&client.key, key.serialize_pem()).unwrap();
        client
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context.yaml")
    }
}

impl Server {
    pub(crate) fn clustermesh(&self) -> PathBuf {
        self.directory.join("clustermesh")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    /// Tells this cluster how to reach `peer`.
    pub(crate) fn configure(&self, peer: &str, endpoint: &str, ca: &Authority, client: &Client) {
        let mut text = format!("endpoints: [{endpoint:?}]\n");
        for (field, path) in [
            ("trusted-ca", &ca.cert),
            ("cert", &client.cert),
            ("key", &client.key),
        ] {
            writeln!(text, "{field}-file: {}", path.display()).unwrap();
        }
        replace(&self.clustermesh().join(peer), &text);
    }

    /// Tells this cluster how to reach a `peer` that serves plaintext.
    pub(crate) fn configure_plain(&self, peer: &str, endpoint: &str) {
        let text = format!("endpoints: [{endpoint:?}]\n");
        replace(&self.clustermesh().join(peer), &text);
    }

    /// Writes into this cluster's own store, behind its back.
    pub(crate) fn put(&self, key: &str, value: &str, admin: &Client) {
        let endpoint = format!("https://127.0.0.1:{}", self.port);
        let mut command = etcdctl(&endpoint);
        command
            .arg("--cacert")
            .arg(&self.ca)
            .arg("--cert")
            .arg(&admin.cert);
        command
            .arg("--key")
            .arg(&admin.key)
            .args(["put", key, value]);
        assert!(command.output().unwrap().status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The steps towards `peer` in what `troubleshoot -o json` said.
pub(crate) fn steps<'a>(found: &'a Value, peer: &str) -> &'a Vec<Value> {
    let mut answers = found.as_array().unwrap().iter().map(|it| &it["answer"]);
    let answer = answers.find(|it| it["peer"] == peer).unwrap();
    answer["steps"].as_array().unwrap()
}

/// The first step that failed is `step`, it says `said`, and it has a remedy.
#[track_caller]
pub(crate) fn check_failure(found: &Value, peer: &str, step: &str, said: &str) {
    let steps = steps(found, peer);
    let failed = steps.iter().find(|it| it["outcome"] == "failed");
    let failed = failed.unwrap_or_else(|| panic!("{peer} passed: {steps:#?}"));
    assert_eq!(failed["step"], step, "{peer}: {steps:#?}");
    assert!(
        failed["found"].as_str().unwrap().contains(said),
        "{failed:#?}"
    );
    assert_ne!(failed["remedy"], "", "{failed:#?}");
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn etcdctl(endpoint: &str) -> Command {
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={endpoint}"));
    command.args(["--dial-timeout=30s", "--command-timeout=30s"]);
    command
}

fn replace(file: &Path, text: &str) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let temporary = file.with_file_name(format!(".{name}"));
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, file).unwrap();
}
