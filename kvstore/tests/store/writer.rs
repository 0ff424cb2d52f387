//! A writer brings a store to the desired table, whatever happens to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_client::{Client, GetOptions, WatchOptions};
use kvstore::store::Store;
use kvstore::writer::{Options, Writer};
use tokio::time::timeout;
use topology::diff::Change;

use crate::support::{
    Embedded, HANG, Kind, Running, Wire, alert, client, eventually, patient, store,
};

#[tokio::test(flavor = "multi_thread")]
async fn replaces_what_a_former_life_left_behind_embedded() {
    replaces_what_a_former_life_left_behind(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_what_a_former_life_left_behind_etcd() {
    replaces_what_a_former_life_left_behind(Kind::Etcd).await;
}

async fn replaces_what_a_former_life_left_behind(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    client.put("own/stale", "", None).await.unwrap();
    client.put("own/kept", "old", None).await.unwrap();
    client.put("other/key", "", None).await.unwrap();
    let mut watch = client
        .watch("", Some(WatchOptions::new().with_all_keys()))
        .await
        .unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());

    let mut writer = Writer::spawn(store(server.address()), options());
    let mut desired = table("own/kept=new own/new=1");
    desired.insert("own/synced/x".into(), b"done".into());
    let generation = writer.set(desired.clone()).await;
    settled(&writer, generation).await;

    assert_eq!(read(&client, "own/").await, desired);
    assert_eq!(
        read(&client, "other/").await.len(),
        1,
        "what it does not own stays"
    );
    let message = timeout(HANG, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let keys: Vec<_> = message
        .events()
        .iter()
        .map(|it| it.kv().unwrap().key_str().unwrap())
        .collect();
    assert_eq!(keys, ["own/new", "own/kept", "own/stale", "own/synced/x"]);

    let changes = vec![
        Change::Delete("own/kept".into()),
        Change::Put("own/new".into(), (*b"2").into()),
    ];
    let generation = writer.apply(changes).await;
    settled(&writer, generation).await;
    assert_eq!(
        read(&client, "own/").await,
        table("own/new=2 own/synced/x=done")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn spreads_many_keys_over_leases_embedded() {
    spreads_many_keys_over_leases(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spreads_many_keys_over_leases_etcd() {
    spreads_many_keys_over_leases(Kind::Etcd).await;
}

async fn spreads_many_keys_over_leases(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    let mut writer = Writer::spawn(store(server.address()), options());

    let desired: BTreeMap<String, Vec<u8>> = (0..950)
        .map(|it| (format!("own/{it:03}"), vec![b'x'; 4_000]))
        .collect();
    let generation = writer.set(desired.clone()).await;
    settled(&writer, generation).await;

    assert_eq!(read(&client, "own/").await, desired);
    let leases = leases(&mut client).await;
    assert_eq!(leases.len(), 10);
    for lease in leases {
        let view = client
            .lease_time_to_live(
                lease,
                Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys()),
            )
            .await
            .unwrap();
        assert_eq!((view.granted_ttl(), view.keys().len() <= 100), (900, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_everything_after_a_restart_that_forgot_it_embedded() {
    rewrites_everything_after_a_restart_that_forgot_it(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_everything_after_a_restart_that_forgot_it_etcd() {
    rewrites_everything_after_a_restart_that_forgot_it(Kind::Etcd).await;
}

async fn rewrites_everything_after_a_restart_that_forgot_it(kind: Kind) {
    let server = Running::start(kind).await;
    let mut writer = Writer::spawn(store(server.address()), options());
    let generation = writer.set(table("own/a=1 own/b=1")).await;
    settled(&writer, generation).await;

    let server = server.restart_empty().await;

    let client = server.client().await;
    eventually("the table is back", async || {
        read(&client, "own/").await == table("own/a=1 own/b=1")
    })
    .await;
    let generation = writer.set(table("own/b=2")).await;
    settled(&writer, generation).await;
    assert_eq!(read(&client, "own/").await, table("own/b=2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_keys_that_lose_their_lease_or_are_deleted_embedded() {
    restores_keys_that_lose_their_lease_or_are_deleted(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_keys_that_lose_their_lease_or_are_deleted_etcd() {
    restores_keys_that_lose_their_lease_or_are_deleted(Kind::Etcd).await;
}

async fn restores_keys_that_lose_their_lease_or_are_deleted(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    let mut writer = Writer::spawn(store(server.address()), options());
    let desired = table("own/a=1 own/b=1");
    let generation = writer.set(desired.clone()).await;
    settled(&writer, generation).await;

    client.delete("own/a", None).await.unwrap();
    eventually("the key is back", async || {
        read(&client, "own/").await == desired
    })
    .await;

    let lost = leases(&mut client).await;
    for lease in &lost {
        client.lease_revoke(*lease).await.unwrap();
    }
    eventually("the keys are back", async || {
        read(&client, "own/").await == desired
    })
    .await;
    assert!(leases(&mut client).await.is_disjoint(&lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_in_changes_while_the_link_is_cut() {
    let server = Running::start(Kind::Embedded).await;
    let client = server.client().await;
    let wire = Wire::to(server.address()).await;
    let options = Options {
        link: alert(),
        ..options()
    };
    let mut writer = Writer::spawn(store(wire.address), options);
    let generation = writer.set(table("own/a=1 own/b=1")).await;
    settled(&writer, generation).await;
    let mut progress = writer.progress();

    wire.cut();
    let lost = timeout(HANG, progress.wait_for(|it| !it.connected))
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert!(lost.problem.is_some());
    let mut generation = 0;
    for number in 0..500 {
        let change = Change::Put("own/a".into(), number.to_string().into_bytes().into());
        generation = timeout(HANG, writer.apply(vec![change]))
            .await
            .expect("the writer still listens");
    }
    wire.heal();

    settled(&writer, generation).await;
    assert_eq!(read(&client, "own/").await, table("own/a=499 own/b=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn withdraws_its_keys_at_once() {
    let server = Embedded::start().await;
    let mut writer = Writer::spawn(Store::Local(server.local.clone()), options());
    let generation = writer.set(table("own/a=1")).await;
    settled(&writer, generation).await;
    let client = client(server.address).await;
    assert_eq!(read(&client, "own/").await.len(), 1);

    writer.withdraw().await;

    assert_eq!(read(&client, "own/").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn renews_its_leases() {
    let server = Embedded::start().await;
    let options = Options {
        lease_ttl: Duration::from_secs(6),
        ..options()
    };
    let mut writer = Writer::spawn(store(server.address), options);
    let generation = writer.set(table("own/a=1")).await;
    settled(&writer, generation).await;
    let mut client = client(server.address).await;
    let before = leases(&mut client).await;

    // A third of its time passes before each renewal.
    let lease = *before.first().unwrap();
    let mut left = 6;
    for _ in 0..4 {
        eventually("a renewal", async || {
            let now = client.lease_time_to_live(lease, None).await.unwrap().ttl();
            std::mem::replace(&mut left, now) < now
        })
        .await;
    }

    assert_eq!(
        leases(&mut client).await,
        before,
        "no key was ever without its lease"
    );
}

fn options() -> Options {
    Options {
        owned_prefixes: vec!["own/".into()],
        last_prefixes: vec!["own/synced/".into()],
        keys_per_lease: 100,
        link: patient(),
        ..Options::default()
    }
}

async fn settled(writer: &Writer, generation: u64) {
    timeout(HANG, writer.settled(generation))
        .await
        .expect("the table is never written");
}

async fn read(client: &Client, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut kv = client.kv_client().max_decoding_message_size(64 << 20);
    let found = kv
        .get(prefix, Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    found
        .kvs()
        .iter()
        .map(|it| (it.key_str().unwrap().to_owned(), it.value().to_vec()))
        .collect()
}

/// The leases of all keys under `own/`.
async fn leases(client: &mut Client) -> BTreeSet<i64> {
    let found = client
        .get(
            "own/",
            Some(GetOptions::new().with_prefix().with_keys_only()),
        )
        .await
        .unwrap();
    found.kvs().iter().map(|it| it.lease()).collect()
}

fn table(text: &str) -> BTreeMap<String, Vec<u8>> {
    text.split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}
