//! Users and roles in real stores: the embedded etcd and Debian's, with client certificates.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use clustermesh_apiserver::users::Desired;
use clustermesh_apiserver::users::settle::settle;
use kvstore::administrator::Administrator;
use kvstore::auth::Keys;
use kvstore::server::{self, Server, ServerTls};
use kvstore::store::Store;
use lab::free_address;
use topology::id::ClusterName;
use topology::record::AGENTS;

use support::{Apiserver, Etcd, Files, eventually, patient, replace};

/// Common names of certificates.
const NAMES: [&str; 8] = [
    "server",
    "root",
    "admin-eu",
    "local-eu",
    "remote",
    "remote-beta",
    "remote-gamma",
    "stranger",
];

#[tokio::test(flavor = "multi_thread")]
async fn sets_up_the_embedded_etcd() {
    kvstore::tls::install_provider();
    let files = Files::new();
    let path = |name: &str| files.path(name);
    let server = Server::bind(server::Options {
        tls: Some(ServerTls {
            cert: path("server.crt"),
            key: path("server.key"),
            client_ca: path("ca.crt"),
        }),
        ..server::Options::new(SocketAddr::from(([127, 0, 0, 1], 0)), "test")
    })
    .await
    .unwrap();
    let (address, local) = (server.address(), Store::Local(server.local()));
    let serving = tokio::spawn(server.serve(std::future::pending()));
    sets_up_a_store(&files, address, &local).await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_up_an_etcd() {
    kvstore::tls::install_provider();
    let files = Files::new();
    let etcd = Etcd::start(&files);
    let store = files.store(etcd.address, "admin-eu");
    eventually("etcd answers", async || {
        Administrator::connect(&store, &patient()).await.is_ok()
    })
    .await;
    sets_up_a_store(&files, etcd.address, &store).await;
}

async fn sets_up_a_store(files: &Files, address: SocketAddr, store: &Store) {
    let admin = Administrator::connect(store, &patient()).await.unwrap();
    let foreign = kvstore::auth::Command::UserAdd {
        user: "stranger".to_owned(),
        password: None,
    };
    admin.command(foreign).await.unwrap();
    let none = BTreeSet::new();

    let both = desired(&["beta", "gamma"]);
    assert_ne!(settle(&admin, &both, &none).await.unwrap(), 0);
    assert_eq!(settle(&admin, &both, &none).await.unwrap(), 0);

    assert!(admin.is_enabled().await.unwrap());
    let users = [
        "admin-eu",
        "local-eu",
        "remote",
        "remote-beta",
        "remote-gamma",
        "root",
        "stranger",
    ];
    assert_eq!(admin.users().await.unwrap(), users);
    check_matrix(files, address).await;
    upgrades_an_older_store(&admin).await;
    check_agents(files, address).await;

    assert_ne!(
        settle(&admin, &desired(&["gamma"]), &none).await.unwrap(),
        0
    );
    let left = admin.users().await.unwrap();
    assert!(!left.contains(&"remote-beta".to_owned()) && left.len() == users.len() - 1);
    assert_eq!(
        admin.roles().await.unwrap(),
        ["local", "remote", "remote-gamma"]
    );
    check(files, address, "remote-beta", "cilium/state/a", "").await;
    check(files, address, "remote-gamma", "cilium/state/a", "r").await;
}

async fn check_matrix(files: &Files, address: SocketAddr) {
    let peers = ["remote", "remote-beta", "remote-gamma"];
    for (key, readers) in [
        (
            "cilium/state/nodes/v1/eu/a",
            &["local-eu", peers[0], peers[1], peers[2]][..],
        ),
        (
            "cilium/cluster-config/eu",
            &["local-eu", peers[0], peers[1], peers[2]],
        ),
        ("cilium/cluster-config/us", &["local-eu"]),
        ("cilium/cache/nodes/v1/us/a", &["local-eu"]),
        (
            "causeway/delta/services/v1/eu/a/b",
            &["local-eu", peers[0], peers[1], peers[2]],
        ),
        (
            "causeway/capabilities/eu",
            &["local-eu", peers[0], peers[1], peers[2]],
        ),
        ("causeway/pulse/us", &["local-eu"]),
        (
            "causeway/export/beta/cilium/state/a",
            &["local-eu", "remote-beta"],
        ),
        (
            "causeway/export/gamma/cilium/state/a",
            &["local-eu", "remote-gamma"],
        ),
        ("secret", &[]),
    ] {
        for user in NAMES {
            let expected = match user {
                "root" | "admin-eu" => "rw",
                _ if readers.contains(&user) => "r",
                _ => "",
            };
            check(files, address, user, key, expected).await;
        }
    }
}

/// As a store was set up before agents wrote anything.
async fn upgrades_an_older_store(admin: &Administrator) {
    let older = kvstore::auth::Command::RoleRevokePermission {
        role: "local".to_owned(),
        keys: Keys::prefix(AGENTS),
    };
    admin.command(older).await.unwrap();
    let (both, none) = (desired(&["beta", "gamma"]), BTreeSet::new());
    assert_eq!(settle(admin, &both, &none).await.unwrap(), 1);
    assert_eq!(settle(admin, &both, &none).await.unwrap(), 0);
}

/// Agents write below one prefix, and nowhere else.
async fn check_agents(files: &Files, address: SocketAddr) {
    for (key, expected) in [
        ("causeway/agents/reach/v1/eu/a", "rw"),
        ("causeway/agents/tunnel/v1/eu/a", "rw"),
        ("causeway/agents", "r"),
        ("causeway/agents0", "r"),
        ("causeway/state/peers/v1/us", "r"),
        ("cilium/state/nodes/v1/eu/a", "r"),
    ] {
        check(files, address, "local-eu", key, expected).await;
    }
    for peer in ["remote", "remote-beta", "stranger"] {
        check(files, address, peer, "causeway/agents/reach/v1/eu/a", "").await;
    }
}

async fn check(files: &Files, address: SocketAddr, user: &str, key: &str, expected: &str) {
    assert_eq!(
        rights(files, address, user, key).await,
        expected,
        "{user}: {key}"
    );
}

/// What the user may do with the key.
async fn rights(files: &Files, address: SocketAddr, user: &str, key: &str) -> String {
    let store = files.store(address, user);
    let mut client = store.connect(&patient()).await.unwrap();
    let mut found = String::new();
    if client.get(key, None).await.is_ok() {
        found.push('r');
    }
    if client.put(key, "", None).await.is_ok() {
        found.push('w');
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_peers_and_the_file_embedded() {
    kvstore::tls::install_provider();
    let files = Files::new();
    let address = free_address();
    let listen = address.to_string();
    let path = |name: &str| files.path(name).display().to_string();
    let (cert, key, ca) = (path("server.crt"), path("server.key"), path("ca.crt"));
    let arguments = ["--listen", &listen, "--tls-cert", &cert, "--tls-key", &key];
    let arguments = [&arguments[..], &["--client-ca", &ca]].concat();
    follows_the_peers_and_the_file(&files, address, &arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_peers_and_the_file_etcd() {
    kvstore::tls::install_provider();
    let files = Files::new();
    let etcd = Etcd::start(&files);
    let config = files.path("etcd.yaml");
    fs::write(&config, files.config(etcd.address, "admin-eu")).unwrap();
    let config = config.display().to_string();
    let arguments = ["--etcd-config", config.as_str()];
    let log = follows_the_peers_and_the_file(&files, etcd.address, &arguments).await;
    assert!(log.contains("users and roles are set up"), "{log}");

    // Started again it finds everything in place.
    let process = Apiserver::start(&files, &arguments);
    eventually("nothing is left to do", async || {
        let log = process.log();
        assert!(!log.contains("users and roles are set up"), "{log}");
        log.contains("users and roles are as they should be")
    })
    .await;
}

async fn follows_the_peers_and_the_file(
    files: &Files,
    address: SocketAddr,
    arguments: &[&str],
) -> String {
    let users_file = files.path("users.yaml");
    let peer = files.path("clustermesh/beta");
    fs::write(&users_file, "users: []").unwrap();
    let process = Apiserver::start(files, arguments);
    let store = files.store(address, "root");
    let expect = async |expected: &[&str]| {
        eventually(&format!("{expected:?}"), async || {
            let Ok(admin) = Administrator::connect(&store, &patient()).await else {
                return false;
            };
            let found = admin.users().await.unwrap_or_default();
            let found = found.iter().filter(|it| it.starts_with("remote"));
            found.eq(expected)
        })
        .await;
    };

    expect(&["remote"]).await;
    replace(&peer, "endpoints: ['http://127.0.0.1:9']");
    expect(&["remote", "remote-beta"]).await;
    replace(&users_file, "users: [{name: remote-gamma, role: remote}]");
    expect(&["remote", "remote-beta", "remote-gamma"]).await;
    let key = "causeway/export/gamma/a";
    // A user is there before it has its roles.
    eventually("the rights of remote-gamma", async || {
        rights(files, address, "remote-gamma", key).await == "r"
    })
    .await;
    check(files, address, "stranger", key, "").await;

    // What is broken changes nothing.
    replace(&users_file, "users: [{name: remote-delta");
    fs::remove_file(&peer).unwrap();
    expect(&["remote", "remote-gamma"]).await;
    eventually("the problem", async || {
        process.log().contains("users.yaml:1:")
    })
    .await;
    expect(&["remote", "remote-gamma"]).await;
    replace(&users_file, "users: []");
    expect(&["remote"]).await;
    check(files, address, "remote-gamma", key, "").await;
    process.log()
}

fn desired(peers: &[&str]) -> Desired {
    let peers: Vec<ClusterName> = peers.iter().map(|it| it.parse().unwrap()).collect();
    Desired::new(&"eu".parse().unwrap(), &peers, &[], true)
}
