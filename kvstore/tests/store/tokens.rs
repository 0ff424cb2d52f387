//! Clients that prove who they are with a password go on when their token ends: nothing is missed, and
//! nothing is read twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use kvstore::config::EtcdConfig;
use kvstore::follower::{self, Change, Follower, Update};
use kvstore::store::{Link, Store};
use kvstore::writer::{self, Writer};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Embedded, Etcd, HANG, Kind, patient, store};

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_when_a_token_ends_embedded() {
    let server = Embedded::start().await;
    goes_on_when_a_token_ends(server.address, Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_when_a_token_ends_etcd() {
    let server = Etcd::start_with(&["--auth-token-ttl=3".to_owned()]).await;
    goes_on_when_a_token_ends(server.address, Kind::Etcd).await;
}

async fn goes_on_when_a_token_ends(address: SocketAddr, kind: Kind) {
    enable_authentication(address).await;
    let login = ConnectOptions::new().with_user("root", "pw");
    let login = login.with_auto_token_refresh(true);
    let endpoint = address.to_string();
    let mut root = Client::connect([endpoint], Some(login)).await.unwrap();
    // So seldom that an unused token ends in between.
    let link = Link {
        probe_interval: Duration::from_secs(7),
        probe_timeout: HANG,
        ..patient()
    };
    let mut updates = follow(by_password(address), link);
    assert!(matches!(next(&mut updates).await, Update::Connected { .. }));
    assert_eq!(next(&mut updates).await, Update::Listed(Vec::new()));
    let writer_options = writer::Options {
        owned_prefixes: vec!["own/".into()],
        link,
        ..writer::Options::default()
    };
    let mut writer = Writer::spawn(by_password(address), writer_options);
    let generation = writer.set(own("before")).await;
    timeout(HANG, writer.settled(generation)).await.unwrap();

    if kind == Kind::Embedded {
        // As time would: a new password, even the same, ends every token.
        root.user_change_password("root", "pw").await.unwrap();
    }
    let (mut written, mut seen) = (0, 0);
    let until_lost = async {
        let mut is_lost = false;
        while !is_lost {
            written += 1;
            let value = written.to_string();
            root.put("cilium/number", value, None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            while let Ok(update) = updates.try_recv() {
                is_lost |= check(update, &mut seen);
            }
        }
    };
    timeout(HANG, until_lost).await.expect("the token ends");
    root.put("cilium/number", (written + 1).to_string(), None)
        .await
        .unwrap();
    let generation = writer.set(own("after")).await;
    timeout(HANG, writer.settled(generation)).await.unwrap();
    while seen <= written {
        check(next(&mut updates).await, &mut seen);
    }
    let own = root.get("own/key", None).await.unwrap();
    assert_eq!(own.kvs()[0].value(), b"after");
}

/// Counts on with what was seen, which must be the next number each time; says whether the store was
/// lost.
fn check(update: Update, seen: &mut u32) -> bool {
    match update {
        Update::Changed(changes) => {
            for change in changes {
                *seen += 1;
                let Change::Put(record) = change else {
                    panic!("nothing is deleted")
                };
                assert_eq!(record.value, seen.to_string().into_bytes());
            }
            false
        }
        Update::Lost { silent, .. } => {
            assert!(!silent, "somebody said that the token has ended");
            true
        }
        Update::Connected { .. } => false,
        Update::Listed(_) | Update::Page(_) => panic!("it begins anew"),
    }
}

async fn enable_authentication(address: SocketAddr) {
    let mut client = store(address).connect(&patient()).await.unwrap();
    client.user_add("root", "pw", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
}

fn by_password(address: SocketAddr) -> Store {
    let text = format!("endpoints: ['http://{address}']\nusername: root\npassword: pw");
    Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap())
}

fn follow(store: Store, link: Link) -> mpsc::Receiver<Update> {
    let (sender, updates) = mpsc::channel(16);
    let options = follower::Options {
        link,
        ..follower::Options::default()
    };
    tokio::spawn(Follower::new(store, vec!["cilium/".into()], options).run(sender));
    updates
}

async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
    timeout(HANG, updates.recv()).await.unwrap().unwrap()
}

fn own(value: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("own/key".to_owned(), value.into())])
}
