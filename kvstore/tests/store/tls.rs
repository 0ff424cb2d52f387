//! Mutual TLS: who may come in, and what the files may look like.

use std::path::{Path, PathBuf};

use kvstore::config::EtcdConfig;
use kvstore::server::{Server, ServerTls};
use kvstore::store::Store;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{self, Embedded, loopback, options, patient};

#[tokio::test]
async fn lets_in_only_clients_of_the_ca() {
    kvstore::tls::install_provider();
    let files = Files::new();
    files.ca("ca");
    files.issue("ca", "server", &["127.0.0.1", "store.example"]);
    files.issue("ca", "client", &[]);
    files.ca("stranger-ca");
    files.issue("stranger-ca", "stranger", &[]);
    let server = Embedded::start_with(kvstore::server::Options {
        tls: Some(files.server_tls()),
        ..options(loopback(0))
    })
    .await;
    let port = server.address.port();

    let client = format!(
        "cert-file: {0}/client.crt\nkey-file: {0}/client.key",
        files.shown()
    );
    let stranger = format!(
        "cert-file: {0}/stranger.crt\nkey-file: {0}/stranger.key",
        files.shown()
    );
    let by_name = "cilium-host-aliases: [{hostname: store.example, ips: [127.0.0.1]}]";
    let other_name = "cilium-host-aliases: [{hostname: other.example, ips: [127.0.0.1]}]";

    assert_eq!(
        files.round_trip("127.0.0.1", port, "ca", &client).await,
        Ok(())
    );
    assert_eq!(
        files
            .round_trip("store.example", port, "ca", &format!("{client}\n{by_name}"))
            .await,
        Ok(())
    );

    let refused = files
        .round_trip("127.0.0.1", port, "ca", "")
        .await
        .unwrap_err();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    let refused = files
        .round_trip("127.0.0.1", port, "ca", &stranger)
        .await
        .unwrap_err();
    assert!(refused.contains("UnknownCA"), "{refused}");
    let refused = files
        .round_trip("127.0.0.1", port, "stranger-ca", &client)
        .await
        .unwrap_err();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    let refused = files
        .round_trip(
            "other.example",
            port,
            "ca",
            &format!("{client}\n{other_name}"),
        )
        .await
        .unwrap_err();
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_etcdctl_over_mutual_tls() {
    kvstore::tls::install_provider();
    let files = Files::new();
    files.ca("ca");
    files.issue("ca", "server", &["127.0.0.1"]);
    files.issue("ca", "client", &[]);
    let server = Embedded::start_with(kvstore::server::Options {
        tls: Some(files.server_tls()),
        ..options(loopback(0))
    })
    .await;
    let etcdctl = |endpoint: String, arguments: &str| {
        let output = support::etcdctl(endpoint)
            .arg(format!("--cacert={}/ca.crt", files.shown()))
            .arg(format!("--cert={}/client.crt", files.shown()))
            .arg(format!("--key={}/client.key", files.shown()))
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };

    assert_eq!(
        etcdctl(format!("https://{}", server.address), "put key value"),
        "OK\n"
    );
    assert_eq!(
        etcdctl(server.address.to_string(), "get key"),
        "key\nvalue\n"
    );
    assert!(etcdctl(server.address.to_string(), "endpoint status").contains("3.4.23"));
}

#[tokio::test]
async fn names_the_file_that_is_wrong() {
    kvstore::tls::install_provider();
    let files = Files::new();
    files.ca("ca");
    files.issue("ca", "server", &["127.0.0.1"]);

    let mut tls = files.server_tls();
    tls.key = "/nowhere/server.key".into();
    let error = bind_error(tls).await;
    assert!(
        error.starts_with("/nowhere/server.key: ") && error.contains("must exist"),
        "{error}"
    );

    let mut tls = files.server_tls();
    std::fs::write(&tls.cert, "not a certificate").unwrap();
    tls.key = files.path("ca.key");
    let error = bind_error(tls).await;
    assert!(
        error.contains("server.crt: ") && error.contains("PEM"),
        "{error}"
    );
}

async fn bind_error(tls: ServerTls) -> String {
    let options = kvstore::server::Options {
        tls: Some(tls),
        ..options(loopback(0))
    };
    Server::bind(options).await.unwrap_err().to_string()
}

/// A directory with a few authorities and what they signed.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn ca(&self, name: &str) {
        let issuer = issuer(name, KeyPair::generate().unwrap());
        std::fs::write(self.path(&format!("{name}.crt")), issuer.pem()).unwrap();
        std::fs::write(
            self.path(&format!("{name}.key")),
            issuer.key().serialize_pem(),
        )
        .unwrap();
    }

    /// Credentials in files with `name`, which is their common name too.
    pub(crate) fn issue(&self, ca: &str, name: &str, subjects: &[&str]) {
        let ca_key = std::fs::read_to_string(self.path(&format!("{ca}.key"))).unwrap();
        let issuer = issuer(ca, KeyPair::from_pem(&ca_key).unwrap());
        let subjects: Vec<String> = subjects.iter().map(|it| (*it).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(subjects).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn server_tls(&self) -> ServerTls {
        ServerTls {
            cert: self.path("server.crt"),
            key: self.path("server.key"),
            client_ca: self.path("ca.crt"),
        }
    }

    /// Connects and writes a key.
    async fn round_trip(&self, host: &str, port: u16, ca: &str, rest: &str) -> Result<(), String> {
        let text = format!(
            "endpoints: ['https://{host}:{port}']\ntrusted-ca-file: {}\n{rest}",
            self.path(&format!("{ca}.crt")).display()
        );
        let config = EtcdConfig::parse(&text, Path::new("test")).unwrap();
        let client = Store::Etcd(config).connect(&patient()).await;
        let mut client = client.map_err(|it| it.to_string())?;
        // With TLS 1.3 a client learns only now that it is refused.
        client
            .put("key", "value", None)
            .await
            .map_err(|it| format!("{it:?}"))?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn shown(&self) -> String {
        self.directory.path().display().to_string()
    }
}

fn issuer(name: &str, key: KeyPair) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, key).unwrap()
}
