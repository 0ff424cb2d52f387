//! Certificates that change while the server runs.

use std::path::Path;

use kvstore::config::EtcdConfig;
use kvstore::server::{Options, Server};
use kvstore::store::Store;

use crate::support::{eventually, loopback, options, patient};
use crate::tls::Files;

#[tokio::test]
async fn uses_new_files_without_a_restart_and_keeps_the_old_if_they_are_broken() {
    kvstore::tls::install_provider();
    let files = Files::new();
    files.ca("ca");
    files.issue("ca", "server", &["127.0.0.1"]);
    files.issue("ca", "client", &[]);
    files.ca("new-ca");
    files.issue("new-ca", "new-server", &["127.0.0.1"]);
    files.issue("new-ca", "new-client", &[]);
    let server = Server::bind(Options {
        tls: Some(files.server_tls()),
        ..options(loopback(0))
    })
    .await
    .unwrap();
    let (address, vitals) = (server.address(), server.vitals());
    let serving = tokio::spawn(server.serve(std::future::pending()));
    let works = async |ca: &str, client: &str| {
        let text = format!(
            "endpoints: ['https://{address}']\ntrusted-ca-file: {0}/{ca}.crt\n\
             cert-file: {0}/{client}.crt\nkey-file: {0}/{client}.key",
            files.shown()
        );
        let config = EtcdConfig::parse(&text, Path::new("test")).unwrap();
        match Store::Etcd(config).connect(&patient()).await {
            Ok(mut client) => client.get("key", None).await.is_ok(),
            Err(_) => false,
        }
    };
    assert!(works("ca", "client").await);
    let expiry = vitals.certificate_expiry_seconds().unwrap();
    assert!(1_700_000_000 < expiry, "{expiry}");

    std::fs::write(files.path("server.crt"), "broken").unwrap();
    eventually("the broken file is noticed", async || {
        vitals.certificate_reload_failures() == 1
    })
    .await;
    assert!(works("ca", "client").await, "the former files stay in use");
    assert_eq!(vitals.certificate_expiry_seconds(), Some(expiry));
    let problem = vitals.certificate_problem().unwrap();
    assert!(problem.contains("must be PEM files"), "{problem}");
    let former = vitals.certificate().unwrap();

    for (from, to) in [
        ("new-server.crt", "server.crt"),
        ("new-server.key", "server.key"),
        ("new-ca.crt", "ca.crt"),
    ] {
        std::fs::copy(files.path(from), files.path(to)).unwrap();
    }
    eventually("the new files are in use", async || {
        works("new-ca", "new-client").await
    })
    .await;
    assert!(!works("ca", "client").await, "the former CA counts no more");
    assert_eq!(vitals.certificate_reload_failures(), 1, "told once");
    assert_eq!(vitals.certificate_problem(), None);
    assert_ne!(vitals.certificate(), Some(former));
    serving.abort();
}
