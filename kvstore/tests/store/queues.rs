//! Locks and elections: the server's own services, and the same things done by Debian's etcdctl.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use etcd_client::{
    CampaignResponse, Client, LeaderKey, LockOptions, ProclaimOptions, PutOptions, ResignOptions,
    Txn, TxnOp,
};
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::support::{Embedded, HANG, Kind, Running, etcdctl, eventually};

/// Long enough for something to go wrong.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn locks_as_etcd_does() {
    for kind in [Kind::Embedded, Kind::Etcd] {
        let server = Running::start(kind).await;
        let mut client = server.client().await;
        let first = client.lease_grant(60, None).await.unwrap().id();
        let second = client.lease_grant(60, None).await.unwrap().id();
        let with = |lease| Some(LockOptions::new().with_lease(lease));

        let held = client.lock("name", with(first)).await.unwrap();
        assert_eq!(held.key(), format!("name/{first:x}").as_bytes());
        let again = client.lock("name", with(first)).await.unwrap();
        assert_eq!(again.key(), held.key(), "the same lease is the same holder");

        let mut waiting = {
            let mut client = server.client().await;
            tokio::spawn(async move { client.lock("name", with(second)).await })
        };
        assert!(timeout(MOMENT, &mut waiting).await.is_err(), "{kind:?}");
        client.unlock(held.key()).await.unwrap();
        let held = timeout(HANG, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(held.key(), format!("name/{second:x}").as_bytes());

        let abandoned = timeout(MOMENT, client.lock("name", with(first))).await;
        assert!(abandoned.is_err());
        eventually("the one that gave up is out of the queue", async || {
            let key = format!("name/{first:x}");
            client.get(key, None).await.unwrap().count() == 0
        })
        .await;

        let missing = client.lock("other", with(12_345)).await.unwrap_err();
        if kind == Kind::Embedded {
            let text = missing.to_string();
            assert!(text.contains("requested lease not found"), "{text}");
        }
        let unnamed = client.lock("own lease", None).await.unwrap();
        assert!(unnamed.key().starts_with(b"own lease/"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn excludes_clients_that_lock_by_themselves() {
    let server = Embedded::start().await;
    let mut client = Client::connect([server.address.to_string()], None)
        .await
        .unwrap();
    let held = client.lock("shared", None).await.unwrap();
    let (mut etcdctl, mut lines) = run(server.address, &["lock", "shared"]);
    assert!(timeout(MOMENT, lines.next_line()).await.is_err());

    client.unlock(held.key()).await.unwrap();
    let key = next(&mut lines).await;
    assert!(key.starts_with("shared/"), "{key}");
    let mut waiting = {
        let mut client = client.clone();
        tokio::spawn(async move { client.lock("shared", None).await })
    };
    assert!(timeout(MOMENT, &mut waiting).await.is_err());

    // Its lease ends in a minute, and so does not come into it.
    etcdctl.kill().await.unwrap();
    client.unlock(key).await.unwrap();
    timeout(HANG, waiting).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn elects_as_etcd_does() {
    for kind in [Kind::Embedded, Kind::Etcd] {
        let server = Running::start(kind).await;
        let mut client = server.client().await;
        let nobody = client.leader("name").await.unwrap_err().to_string();
        assert!(nobody.contains("election: no leader"), "{kind:?}: {nobody}");
        let first = client.lease_grant(60, None).await.unwrap().id();
        let second = client.lease_grant(60, None).await.unwrap().id();

        let leader = client.campaign("name", "one", first).await.unwrap();
        let mut observed = client.observe("name").await.unwrap();
        let seen = timeout(HANG, observed.message()).await.unwrap().unwrap();
        assert_eq!(seen.unwrap().kv().unwrap().value(), b"one");
        let mut waiting = {
            let mut client = server.client().await;
            tokio::spawn(async move { client.campaign("name", "two", second).await })
        };
        assert!(timeout(MOMENT, &mut waiting).await.is_err());

        let own = key(&leader);
        let proclaim = |key| Some(ProclaimOptions::new().with_leader(key));
        client.proclaim("uno", proclaim(own.clone())).await.unwrap();
        let current = client.leader("name").await.unwrap();
        assert_eq!(current.kv().unwrap().value(), b"uno");
        let seen = timeout(HANG, observed.message()).await.unwrap().unwrap();
        assert_eq!(seen.unwrap().kv().unwrap().value(), b"uno");

        let resign = ResignOptions::new().with_leader(own.clone());
        client.resign(Some(resign)).await.unwrap();
        let leader = timeout(HANG, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(leader.leader().unwrap().lease(), second);
        let seen = timeout(HANG, observed.message()).await.unwrap().unwrap();
        assert_eq!(seen.unwrap().kv().unwrap().value(), b"two");
        let late = client.proclaim("three", proclaim(own)).await.unwrap_err();
        assert!(late.to_string().contains("election: not leader"), "{late}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_see_all_that_is_proclaimed() {
    for kind in [Kind::Embedded, Kind::Etcd] {
        let server = Running::start(kind).await;
        let mut client = server.client().await;
        let lease = client.lease_grant(60, None).await.unwrap().id();
        let leader = client.campaign("name", "first", lease).await.unwrap();
        let mut observed = client.observe("name").await.unwrap();
        let first = timeout(HANG, observed.message()).await.unwrap().unwrap();
        assert_eq!(first.unwrap().kv().unwrap().value(), b"first");

        // At once, so that most are replaced before anybody can look.
        let proclamations = (0..200).map(|number: u32| {
            let (mut client, leader) = (client.clone(), key(&leader));
            let options = ProclaimOptions::new().with_leader(leader);
            async move {
                let value = number.to_string();
                let done = client.proclaim(value.clone(), Some(options)).await.unwrap();
                (done.header().unwrap().revision(), value.into_bytes())
            }
        });
        let mut proclaimed = join_all(proclamations).await;
        proclaimed.sort();

        let mut seen = Vec::new();
        while seen.len() < proclaimed.len() {
            let response = timeout(HANG, observed.message()).await.unwrap().unwrap();
            let response = response.expect("the stream goes on");
            let kv = response.kv().unwrap();
            seen.push((kv.mod_revision(), kv.value().to_vec()));
        }
        assert_eq!(seen, proclaimed, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_see_leaders_that_are_gone_before_they_look() {
    let server = Running::start(Kind::Embedded).await;
    let mut client = server.client().await;
    let mut observed = client.observe("name").await.unwrap();
    let mut key_of = async |value: &str| {
        let lease = client.lease_grant(60, None).await.unwrap().id();
        let key = format!("name/{lease:x}");
        (PutOptions::new().with_lease(lease), key, value.to_owned())
    };
    let (first, second) = (key_of("first").await, key_of("second").await);
    let (last, other) = (key_of("last").await, key_of("other").await);
    let put = |it: &(PutOptions, String, String)| {
        TxnOp::put(it.1.as_str(), it.2.as_str(), Some(it.0.clone()))
    };
    let delete = |it: &(PutOptions, String, String)| TxnOp::delete(it.1.as_str(), None);
    let steps = [
        vec![put(&first)],
        vec![put(&second)],
        vec![delete(&first), put(&other)],
        vec![delete(&second), put(&last)],
        vec![delete(&other)],
    ];
    for step in steps {
        client.txn(Txn::new().and_then(step)).await.unwrap();
    }

    for expected in ["first", "second", "other", "last"] {
        let response = timeout(HANG, observed.message()).await.unwrap().unwrap();
        let response = response.expect("the stream goes on");
        assert_eq!(response.kv().unwrap().value_str().unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elects_together_with_clients_that_do_it_by_themselves() {
    let server = Embedded::start().await;
    let mut client = Client::connect([server.address.to_string()], None)
        .await
        .unwrap();
    let (mut candidate, mut lines) = run(server.address, &["elect", "name", "p1"]);
    assert!(next(&mut lines).await.starts_with("name/"));
    assert_eq!(next(&mut lines).await, "p1");
    let (mut observer, mut observed) = run(server.address, &["elect", "--listen", "name"]);
    assert!(next(&mut observed).await.starts_with("name/"));
    assert_eq!(next(&mut observed).await, "p1");

    let leader = client.leader("name").await.unwrap();
    let kv = leader.kv().unwrap();
    assert_eq!(kv.value(), b"p1");
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let mut waiting = {
        let mut client = client.clone();
        tokio::spawn(async move { client.campaign("name", "ours", lease).await })
    };
    assert!(timeout(MOMENT, &mut waiting).await.is_err());

    candidate.kill().await.unwrap();
    client.delete(kv.key(), None).await.unwrap();
    timeout(HANG, waiting).await.unwrap().unwrap().unwrap();
    assert!(next(&mut observed).await.starts_with("name/"));
    assert_eq!(next(&mut observed).await, "ours");
    observer.kill().await.unwrap();
}

fn key(response: &CampaignResponse) -> LeaderKey {
    response.leader().unwrap().clone()
}

fn run(address: SocketAddr, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = tokio::process::Command::from(etcdctl(address))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(HANG, lines.next_line()).await.unwrap().unwrap();
    line.expect("etcdctl goes on")
}
