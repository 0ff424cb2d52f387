//! What users may do, with the users and roles that Cilium sets up for cluster `alpha`: the embedded
//! server beside Debian's etcd.

use std::net::SocketAddr;
use std::path::Path;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, Permission, PutOptions, Txn,
    TxnOp, UserAddOptions, WatchOptions,
};
use kvstore::config::EtcdConfig;
use kvstore::follower::{Change, Follower, Options, Update};
use kvstore::store::Store;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Code;

use crate::support::{Embedded, Etcd, HANG, Kind, eventually, loopback, options, patient};
use crate::tls::Files;

#[tokio::test(flavor = "multi_thread")]
async fn lets_a_peer_follow_what_its_role_permits_embedded() {
    lets_a_peer_follow_what_its_role_permits(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_a_peer_follow_what_its_role_permits_etcd() {
    lets_a_peer_follow_what_its_role_permits(Kind::Etcd).await;
}

async fn lets_a_peer_follow_what_its_role_permits(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let mut admin = cluster.client("admin-alpha").await;
    for key in [CONFIG, "cilium/cluster-config/alpha-2", STATE, SYNCED] {
        admin.put(key, "old", None).await.unwrap();
    }
    let (sender, mut updates) = mpsc::channel(16);
    let names = [CONFIG, "cilium/state/", "cilium/synced/alpha/"];
    let names = names.map(str::to_owned).to_vec();
    let options = Options {
        link: patient(),
        ..Options::default()
    };
    let follower = Follower::new(cluster.store("remote"), names, options);
    tokio::spawn(follower.run(sender));
    let mut next = async || timeout(HANG, updates.recv()).await.unwrap().unwrap();

    let Update::Connected { .. } = next().await else {
        panic!()
    };
    let Update::Listed(records) = next().await else {
        panic!()
    };
    let keys: Vec<&str> = records.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, [CONFIG, STATE, SYNCED]);

    let other = "cilium/cluster-config/alpha-2";
    for key in [other, CONFIG, STATE, SYNCED] {
        admin.put(key, "new", None).await.unwrap();
    }
    let mut changed = Vec::new();
    while changed.len() < 3 {
        let Update::Changed(changes) = next().await else {
            panic!()
        };
        changed.extend(changes.into_iter().map(|it| match it {
            Change::Delete { key, .. } => key,
            Change::Put(record) => record.key,
        }));
    }
    changed.sort();
    assert_eq!(changed, [CONFIG, STATE, SYNCED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_a_role_does_not_permit_embedded() {
    refuses_what_a_role_does_not_permit(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_a_role_does_not_permit_etcd() {
    refuses_what_a_role_does_not_permit(Kind::Etcd).await;
}

async fn refuses_what_a_role_does_not_permit(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let mut admin = cluster.client("admin-alpha").await;
    admin.put(STATE, "1", None).await.unwrap();
    let lease = admin.lease_grant(60, None).await.unwrap().id();
    let leased = Some(PutOptions::new().with_lease(lease));
    admin.put("cilium/state/leased", "1", leased).await.unwrap();

    for (user, range, permitted) in [
        (BY_PASSWORD, ("cilium/state/", "cilium/state0"), true),
        (BY_PASSWORD, ("cilium/state/", "\0"), false),
        (BY_PASSWORD, ("cilium/cache/", "cilium/cache0"), false),
        ("remote", ("cilium/state/", "cilium/state0"), true),
        ("remote", ("cilium/state/a", "cilium/state/b"), true),
        ("remote", (CONFIG, ""), true),
        ("remote", (CONFIG, "cilium/cluster-config/alpha\0"), true),
        ("remote", (CONFIG, "cilium/cluster-config/alpha\0\0"), false),
        (
            "remote",
            ("cilium/.heartbeat", "cilium/.heartbeat\u{7f}"),
            true,
        ),
        ("remote", ("cilium/", "cilium0"), false),
        ("remote", ("cilium/state/", "\0"), false),
        ("remote", ("\0", "\0"), false),
        ("remote", ("cilium/cache/", "cilium/cache0"), false),
        ("remote", ("cilium/synced/beta/", ""), false),
        ("local-alpha", ("cilium/cache/", "cilium/cache0"), true),
        ("local-alpha", ("cilium/synced/beta/", ""), true),
        ("local-beta", ("cilium/cache/a", ""), false),
        ("nobody", (CONFIG, ""), false),
        ("admin-alpha", ("\0", "\0"), true),
        ("admin-beta", (CONFIG, ""), false),
    ] {
        let mut client = cluster.client(user).await;
        let options = Some(GetOptions::new().with_range(range.1));
        let read = client.get(range.0, options).await;
        check(read, permitted, &format!("{user} reads {range:?}"));

        let options = WatchOptions::new().with_range(range.1);
        let watch = client.watch(range.0, Some(options)).await;
        let watched = match watch {
            Ok(mut watch) => match timeout(HANG, watch.message()).await.unwrap() {
                Ok(Some(it)) => it.created() && !it.canceled(),
                Ok(None) | Err(_) => false,
            },
            Err(_) => false,
        };
        // etcd 3.4 forgets to look at a watch without an upper bound; the embedded server does not.
        let overlooked = kind == Kind::Etcd && range.1 == "\0";
        assert!(
            watched == permitted || overlooked,
            "{user} watches {range:?}"
        );
    }

    for user in [BY_PASSWORD, "remote", "local-alpha", "nobody"] {
        refuses_writes(kind, user, cluster.client(user).await, lease).await;
    }
    assert_eq!(admin.get(STATE, None).await.unwrap().kvs()[0].value(), b"1");
}

async fn refuses_writes(kind: Kind, user: &str, mut client: Client, lease: i64) {
    let put = client.put(STATE, "2", None).await;
    check(put, false, &format!("{user} puts"));
    let all = Some(DeleteOptions::new().with_range("cilium/state0"));
    let delete = client.delete("cilium/state/", all).await;
    check(delete, false, &format!("{user} deletes"));
    let put = TxnOp::put(STATE, "2", None);
    let mut transactions = vec![
        Txn::new().and_then([put.clone()]),
        Txn::new().or_else([put.clone()]),
        Txn::new().when([Compare::value("secret", CompareOp::Equal, "guess")]),
    ];
    // etcd 3.4 does not look into nested transactions; the embedded server does.
    if kind == Kind::Embedded {
        let nested = Txn::new().or_else([put]);
        transactions.push(Txn::new().and_then([TxnOp::txn(nested)]));
    }
    for txn in transactions {
        let result = client.txn(txn.clone()).await;
        check(result, false, &format!("{user}: {txn:?}"));
    }
    let revoke = client.lease_revoke(lease).await;
    check(revoke, false, &format!("{user} revokes"));
}

pub(crate) const CONFIG: &str = "cilium/cluster-config/alpha";
pub(crate) const STATE: &str = "cilium/state/nodes/v1/alpha/node-1";
const SYNCED: &str = "cilium/synced/alpha/cilium/state/nodes/v1";

#[track_caller]
pub(crate) fn check<T>(result: Result<T, Error>, permitted: bool, what: &str) {
    match result {
        Ok(_) => assert!(permitted, "{what}: permitted"),
        Err(Error::GRpcStatus(status)) => {
            assert!(!permitted, "{what}: {status}");
            assert_eq!(status.code(), Code::PermissionDenied, "{what}");
            assert_eq!(status.message(), "etcdserver: permission denied", "{what}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// The user `remote`, known by its password beside the certificate of nobody.
pub(crate) const BY_PASSWORD: &str = "nobody with remote's password";

const PASSWORD: &str = "not on any wire";

/// A store with the users of cluster `alpha`.
pub(crate) struct Cluster {
    files: Files,
    pub(crate) address: SocketAddr,
    /// Serves until it is dropped.
    server: Server,
}

enum Server {
    Embedded(Embedded),
    Etcd { _server: Etcd },
}

impl Cluster {
    pub(crate) async fn start(kind: Kind) -> Self {
        kvstore::tls::install_provider();
        let files = Files::new();
        files.ca("ca");
        files.issue("ca", "server", &["127.0.0.1"]);
        for user in [
            "root",
            "admin-alpha",
            "admin-beta",
            "local-alpha",
            "local-beta",
            "remote",
            "nobody",
        ] {
            files.issue("ca", user, &[]);
        }
        let (address, server) = match kind {
            Kind::Embedded => {
                let server = Embedded::start_with(kvstore::server::Options {
                    tls: Some(files.server_tls()),
                    ..options(loopback(0))
                })
                .await;
                (server.address, Server::Embedded(server))
            }
            Kind::Etcd => {
                let directory = files.shown();
                let arguments = [
                    format!("--cert-file={directory}/server.crt"),
                    format!("--key-file={directory}/server.key"),
                    format!("--trusted-ca-file={directory}/ca.crt"),
                    "--client-cert-auth".to_owned(),
                ];
                let server = Etcd::start_secure(&arguments).await;
                (server.address, Server::Etcd { _server: server })
            }
        };
        let cluster = Self {
            files,
            address,
            server,
        };
        eventually("the store answers", async || {
            let client = cluster.store("root").connect(&patient()).await;
            match client {
                Ok(mut client) => client.get("ready", None).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        set_up(cluster.client("root").await).await.unwrap();
        cluster
    }

    pub(crate) fn store(&self, user: &str) -> Store {
        let directory = self.files.shown();
        let (user, password) = if user == BY_PASSWORD {
            let password = format!("username: remote\npassword: {PASSWORD}\n");
            ("nobody", password)
        } else {
            (user, String::new())
        };
        let text = format!(
            "endpoints: ['https://{}']\ntrusted-ca-file: {directory}/ca.crt\n\
             cert-file: {directory}/{user}.crt\nkey-file: {directory}/{user}.key\n{password}",
            self.address
        );
        Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap())
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        self.store(user).connect(&patient()).await.unwrap()
    }

    /// The way to the embedded server that its own process has.
    pub(crate) async fn local(&self) -> Client {
        let Server::Embedded(server) = &self.server else {
            panic!("only the embedded server has one");
        };
        let local = Store::Local(server.local.clone());
        local.connect(&patient()).await.unwrap()
    }
}

/// What the two roles may read, as first keys and ends of ranges.
const LOCAL: [(&str, &str); 4] = [
    ("cilium/.heartbeat", "cilium/.heartbeau"),
    ("cilium/cache/", "cilium/cache0"),
    ("cilium/cluster-config/", "cilium/cluster-config0"),
    ("cilium/synced/", "cilium/synced0"),
];
const REMOTE: [(&str, &str); 4] = [
    ("cilium/.heartbeat", "cilium/.heartbeau"),
    ("cilium/state/", "cilium/state0"),
    (CONFIG, ""),
    ("cilium/synced/alpha/", "cilium/synced/alpha0"),
];

/// Brings a store to what Cilium's initialisation leaves.
async fn set_up(mut root: Client) -> Result<(), Error> {
    for (role, ranges) in [("local", LOCAL), ("remote", REMOTE)] {
        root.role_add(role).await?;
        for (key, end) in ranges {
            let permission = Permission::read(key).with_range_end(end);
            root.role_grant_permission(role, permission).await?;
        }
    }
    for (user, role) in [
        ("root", "root"),
        ("admin-alpha", "root"),
        ("local-alpha", "local"),
        ("remote", "remote"),
    ] {
        // Only one of them has a password; all have a certificate.
        let options = UserAddOptions::new();
        if user == "remote" {
            root.user_add(user, PASSWORD, Some(options)).await?;
        } else {
            root.user_add(user, "", Some(options.with_no_pwd())).await?;
        }
        root.user_grant_role(user, role).await?;
    }
    root.auth_enable().await?;
    Ok(())
}
