//! What etcd's advisories of 2026 were about: each hole, and that the embedded server has none.

use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, Compare, CompareOp, GetOptions, Permission, PutOptions, Txn,
    TxnOp, UserAddOptions, WatchOptions,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::access::{BY_PASSWORD, CONFIG, Cluster, STATE, check};
use crate::support::{HANG, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_33343_judges_nested_transactions() {
    let cluster = Cluster::start(Kind::Embedded).await;
    for user in ["remote", BY_PASSWORD, "nobody"] {
        let mut client = cluster.client(user).await;
        for operation in [
            TxnOp::get("secret", None),
            TxnOp::put(STATE, "2", None),
            TxnOp::delete(STATE, None),
            TxnOp::txn(Txn::new().when([Compare::value("secret", CompareOp::Equal, "guess")])),
        ] {
            for nested in [
                Txn::new().and_then([operation.clone()]),
                Txn::new().or_else([operation.clone()]),
                Txn::new().and_then([TxnOp::txn(Txn::new().or_else([operation.clone()]))]),
            ] {
                let txn = Txn::new().and_then([TxnOp::txn(nested.clone())]);
                check(client.txn(txn).await, false, &format!("{user}: {nested:?}"));
            }
        }
        let permitted = Txn::new().and_then([TxnOp::get(STATE, None)]);
        let txn = Txn::new().and_then([TxnOp::txn(permitted)]);
        check(client.txn(txn).await, user != "nobody", user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_33413_asks_every_caller_who_it_is() {
    let cluster = Cluster::start(Kind::Embedded).await;
    for user in ["remote", "nobody"] {
        let mut client = cluster.client(user).await;
        check(client.lease_grant(60, None).await, false, user);
        check(client.lease_keep_alive(1).await.map(|_| ()), false, user);
        check(client.leases().await, false, user);
        check(client.lease_time_to_live(1, None).await, false, user);
        check(client.lease_revoke(1).await, false, user);
        check(client.compact(1, None).await, false, user);
        check(client.defragment().await, false, user);
        check(client.hash().await, false, user);
        check(client.auth_disable().await, false, user);
        check(client.user_list().await, false, user);
        check(client.role_get("local").await, false, user);
        let known = user == "remote";
        check(client.status().await, known, user);
        check(client.member_list().await, known, user);
        let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None);
        check(alarms.await, known, user);
        check(client.user_get("remote").await, known, user);
        check(client.role_get("remote").await, known, user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_44283_shows_no_previous_value_and_attaches_to_no_foreign_lease() {
    let cluster = Cluster::start(Kind::Embedded).await;
    let mut root = cluster.local().await;
    root.put("w/a", "secret", None).await.unwrap();
    let lease = root.lease_grant(60, None).await.unwrap().id();
    let leased = PutOptions::new().with_lease(lease);
    root.put("other", "1", Some(leased.clone())).await.unwrap();
    let mut writer = writer(&cluster).await;

    let previous = PutOptions::new().with_prev_key();
    for (options, permitted) in [
        (PutOptions::new(), true),
        (previous, false),
        (leased.clone(), false),
    ] {
        let put = writer.put("w/a", "2", Some(options.clone())).await;
        check(put, permitted, &format!("alone: {options:?}"));
        let operation = TxnOp::put("w/a", "2", Some(options.clone()));
        let txn = Txn::new().and_then([operation.clone()]);
        check(writer.txn(txn.clone()).await, permitted, "transaction");
        let nested = Txn::new().or_else([TxnOp::txn(txn)]);
        check(writer.txn(nested).await, permitted, "nested");
    }

    let own = writer.lease_grant(60, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(own);
    let put = writer.put("w/b", "1", Some(options)).await;
    check(put, true, "an own lease");
    check(writer.lease_revoke(lease).await, false, "foreign lease");
    check(writer.lease_revoke(own).await, true, "own lease");
    let left = root.get("w/b", None).await.unwrap();
    assert!(left.kvs().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_73499_judges_watches_without_an_upper_bound() {
    let cluster = Cluster::start(Kind::Embedded).await;
    for user in ["remote", BY_PASSWORD] {
        for (key, options, permitted) in [
            (CONFIG, WatchOptions::new(), true),
            (CONFIG, WatchOptions::new().with_from_key(), false),
            (STATE, WatchOptions::new().with_range("\0"), false),
            ("", WatchOptions::new().with_all_keys(), false),
            ("\0", WatchOptions::new().with_range("\0"), false),
        ] {
            let mut client = cluster.client(user).await;
            let mut watch = client.watch(key, Some(options)).await.unwrap();
            let first = timeout(HANG, watch.message()).await.unwrap();
            let first = first.unwrap().unwrap();
            assert!(first.created());
            assert_eq!(first.canceled(), !permitted, "{user}: {key:?}");
            let denied = "PermissionDenied desc = etcdserver: permission denied";
            let reason = first.cancel_reason();
            assert_eq!(reason.contains(denied), !permitted, "{reason}");
        }
        let options = GetOptions::new().with_from_key();
        let read = cluster.client(user).await.get(CONFIG, Some(options)).await;
        check(read, false, user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_73500_drops_who_never_finishes_the_handshake() {
    let cluster = Cluster::start(Kind::Embedded).await;
    let mut silent = TcpStream::connect(cluster.address).await.unwrap();
    // One that is in time is not held up by it.
    let mut client = cluster.client("remote").await;
    check(client.get(CONFIG, None).await, true, "in time");

    let mut byte = [0];
    let read = timeout(HANG, silent.read(&mut byte)).await;
    let read = read.expect("the server holds on to a silent client");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");

    let idle = Duration::from_secs(1);
    tokio::time::sleep(idle).await;
    check(client.get(CONFIG, None).await, true, "idle after it");
}

/// Somebody who may write under `w/` and read nothing.
async fn writer(cluster: &Cluster) -> Client {
    let mut root = cluster.local().await;
    root.role_add("writer").await.unwrap();
    let permission = Permission::write("w/").with_prefix();
    let granted = root.role_grant_permission("writer", permission).await;
    granted.unwrap();
    let options = UserAddOptions::new().with_no_pwd();
    root.user_add("nobody", "", Some(options)).await.unwrap();
    root.user_grant_role("nobody", "writer").await.unwrap();
    cluster.client("nobody").await
}
