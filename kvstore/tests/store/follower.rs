//! A follower never misses, repeats or invents anything, against our server and against etcd's.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use kvstore::follower::{Change, Follower, Options, Record, Update};
use kvstore::store::{Link, Store};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::support::{Embedded, Etcd, HANG, Kind, Running, SILENCE, Wire, alert, patient, store};

#[tokio::test(flavor = "multi_thread")]
async fn lists_everything_and_then_every_change_embedded() {
    lists_everything_and_then_every_change(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_everything_and_then_every_change_etcd() {
    lists_everything_and_then_every_change(Kind::Etcd).await;
}

async fn lists_everything_and_then_every_change(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    for number in 0..25 {
        client
            .put(format!("cilium/{number:02}"), "old", None)
            .await
            .unwrap();
    }
    client.put("causeway/a", "old", None).await.unwrap();
    client
        .put("cf/between", "not followed", None)
        .await
        .unwrap();

    let mut updates = follow(store(server.address()));

    assert!(
        matches!(next(&mut updates).await, Update::Connected { cluster_id } if cluster_id != 0)
    );
    let Update::Listed(records) = next(&mut updates).await else {
        panic!()
    };
    let keys: Vec<&str> = records.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(
        (keys.len(), keys[0], keys[25]),
        (26, "causeway/a", "cilium/24")
    );

    let both = [
        TxnOp::put("causeway/a", "new", None),
        TxnOp::delete("cilium/00", None),
        TxnOp::put("cilium/new", "new", None),
    ];
    let revision = client
        .txn(Txn::new().and_then(both))
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision();
    client.put("cf/between", "still not", None).await.unwrap();

    assert_eq!(
        next(&mut updates).await,
        Update::Changed(vec![
            put("causeway/a", "new", revision),
            Change::Delete {
                key: "cilium/00".into(),
                mod_revision: revision
            },
            put("cilium/new", "new", revision),
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_a_silent_link_and_resumes_where_it_stopped_embedded() {
    notices_a_silent_link_and_resumes_where_it_stopped(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_a_silent_link_and_resumes_where_it_stopped_etcd() {
    notices_a_silent_link_and_resumes_where_it_stopped(Kind::Etcd).await;
}

async fn notices_a_silent_link_and_resumes_where_it_stopped(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    let wire = Wire::to(server.address()).await;
    let mut updates = follow_by(alert(), store(wire.address));
    expect_connected_and_listed(&mut updates, 0).await;
    let first = write(&mut client, "cilium/a", "1").await;
    assert_eq!(
        next(&mut updates).await,
        Update::Changed(vec![put("cilium/a", "1", first)])
    );

    let cut = Instant::now();
    wire.cut();
    let Update::Lost { reason, silent } = next(&mut updates).await else {
        panic!()
    };
    assert!(silent && reason.contains("no answer"), "{reason}");
    println!("{kind:?}: noticed the loss after {:?}", cut.elapsed());
    let second = write(&mut client, "cilium/a", "2").await;
    let third = write(&mut client, "cilium/b", "1").await;

    // Long enough for the next attempt to fail.
    tokio::time::sleep(SILENCE + Duration::from_secs(1)).await;
    assert!(updates.try_recv().is_err(), "one loss is told once");
    let healed = Instant::now();
    wire.heal();
    assert!(matches!(next(&mut updates).await, Update::Connected { .. }));
    println!("{kind:?}: was back after {:?}", healed.elapsed());

    let mut changes = Vec::new();
    while changes.len() < 2 {
        let Update::Changed(more) = next(&mut updates).await else {
            panic!("nothing but changes is left to come");
        };
        changes.extend(more);
    }
    assert_eq!(
        changes,
        [put("cilium/a", "2", second), put("cilium/b", "1", third)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stays_connected_while_nothing_happens_etcd() {
    let server = Etcd::start().await;
    let mut updates = follow(store(server.address));
    expect_connected_and_listed(&mut updates, 0).await;

    // Long enough for etcd to hang up on a client that pings too often.
    assert!(
        timeout(Duration::from_secs(8), updates.recv())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_again_after_a_restart_that_forgot_everything_embedded() {
    lists_again_after_a_restart_that_forgot_everything(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_again_after_a_restart_that_forgot_everything_etcd() {
    lists_again_after_a_restart_that_forgot_everything(Kind::Etcd).await;
}

async fn lists_again_after_a_restart_that_forgot_everything(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    write(&mut client, "cilium/a", "1").await;
    write(&mut client, "cilium/b", "1").await;
    let mut updates = follow(store(server.address()));
    expect_connected_and_listed(&mut updates, 2).await;
    // From here on it watches; before, a restart would pass for a slow list.
    write(&mut client, "cilium/b", "2").await;
    assert!(matches!(next(&mut updates).await, Update::Changed(_)));

    let server = server.restart_empty().await;

    assert!(matches!(next(&mut updates).await, Update::Lost { .. }));
    expect_connected_and_listed(&mut updates, 0).await;
    let mut client = server.client().await;
    let revision = write(&mut client, "cilium/c", "1").await;
    assert_eq!(
        next(&mut updates).await,
        Update::Changed(vec![put("cilium/c", "1", revision)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_again_if_what_it_missed_is_compacted_embedded() {
    lists_again_if_what_it_missed_is_compacted(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_again_if_what_it_missed_is_compacted_etcd() {
    lists_again_if_what_it_missed_is_compacted(Kind::Etcd).await;
}

async fn lists_again_if_what_it_missed_is_compacted(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    let wire = Wire::to(server.address()).await;
    let mut updates = follow_by(alert(), store(wire.address));
    expect_connected_and_listed(&mut updates, 0).await;
    wire.cut();
    assert!(matches!(next(&mut updates).await, Update::Lost { .. }));

    for number in 0..5 {
        write(&mut client, "cilium/a", &number.to_string()).await;
    }
    let revision = write(&mut client, "cilium/b", "1").await;
    client.compact(revision, None).await.unwrap();
    wire.heal();

    expect_connected_and_listed(&mut updates, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_a_list_page_by_page_in_the_order_of_the_prefixes_embedded() {
    tells_a_list_page_by_page_in_the_order_of_the_prefixes(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_a_list_page_by_page_in_the_order_of_the_prefixes_etcd() {
    tells_a_list_page_by_page_in_the_order_of_the_prefixes(Kind::Etcd).await;
}

async fn tells_a_list_page_by_page_in_the_order_of_the_prefixes(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    for number in 0..25 {
        write(&mut client, &format!("z/{number:02}"), "1").await;
    }
    write(&mut client, "a/last", "1").await;
    write(&mut client, "b/between", "1").await;
    let (sender, mut updates) = mpsc::channel(4);
    let prefixes = vec!["z/".into(), "a/last".into()];
    let options = Options {
        page_keys: 10,
        is_paged: true,
        lists: Some(Arc::new(Semaphore::new(1))),
        link: patient(),
        ..Options::default()
    };
    tokio::spawn(Follower::new(store(server.address()), prefixes, options).run(sender));

    assert!(matches!(next(&mut updates).await, Update::Connected { .. }));
    let mut keys = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let (records, is_end) = match next(&mut updates).await {
            Update::Page(records) => (records, false),
            Update::Listed(records) => (records, true),
            update @ (Update::Changed(_) | Update::Connected { .. } | Update::Lost { .. }) => {
                panic!("{update:?}")
            }
        };
        sizes.push(records.len());
        keys.extend(records.into_iter().map(|it| it.key));
        if is_end {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 6], "the ends of short prefixes go together");
    let expected = (0..25).map(|it| format!("z/{it:02}"));
    assert_eq!(
        keys,
        expected.chain(["a/last".to_owned()]).collect::<Vec<_>>()
    );

    let revision = write(&mut client, "a/last", "2").await;
    let change = next(&mut updates).await;
    assert_eq!(change, Update::Changed(vec![put("a/last", "2", revision)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn says_why_it_cannot_connect_and_goes_on_trying() {
    let server = Embedded::start().await;
    let address = server.address;
    server.stop().await;
    let mut updates = follow(store(address));

    let Update::Lost { reason, silent } = next(&mut updates).await else {
        panic!()
    };
    assert!(
        reason.starts_with(&format!("http://{address}: ")) && reason.contains("refused"),
        "{reason}"
    );
    assert!(!silent);

    let _server = Embedded::start_with(crate::support::options(address)).await;
    expect_connected_and_listed(&mut updates, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_an_end_from_silence_even_if_silence_comes_later() {
    let server = Embedded::start().await;
    let wire = Wire::to(server.address).await;
    let mut updates = follow_by(alert(), store(wire.address));
    expect_connected_and_listed(&mut updates, 0).await;

    server.stop().await;
    let update = next(&mut updates).await;
    assert!(
        matches!(update, Update::Lost { silent: false, .. }),
        "{update:?}"
    );

    wire.cut();
    let update = next(&mut updates).await;
    assert!(
        matches!(update, Update::Lost { silent: true, .. }),
        "{update:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_server_in_its_own_process() {
    let server = Embedded::start().await;
    let store = Store::Local(server.local.clone());
    let mut client = store.connect(&patient()).await.unwrap();
    let mut updates = follow(store);
    expect_connected_and_listed(&mut updates, 0).await;

    let revision = write(&mut client, "cilium/a", "1").await;

    assert_eq!(
        next(&mut updates).await,
        Update::Changed(vec![put("cilium/a", "1", revision)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_when_nobody_listens() {
    let server = Embedded::start().await;
    let (sender, receiver) = mpsc::channel(1);
    let follower = Follower::new(
        store(server.address),
        vec!["cilium/".into()],
        Options::default(),
    );
    let running = tokio::spawn(follower.run(sender));

    drop(receiver);

    timeout(HANG, running).await.unwrap().unwrap();
}

fn follow(store: Store) -> mpsc::Receiver<Update> {
    follow_by(patient(), store)
}

pub(crate) fn follow_by(link: Link, store: Store) -> mpsc::Receiver<Update> {
    let (sender, receiver) = mpsc::channel(4);
    let prefixes = vec!["cilium/".into(), "causeway/".into()];
    // Small pages, so that lists have several.
    let options = Options {
        link,
        page_keys: 10,
        ..Options::default()
    };
    tokio::spawn(Follower::new(store, prefixes, options).run(sender));
    receiver
}

pub(crate) async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
    timeout(HANG, updates.recv())
        .await
        .expect("no update comes")
        .unwrap()
}

pub(crate) async fn expect_connected_and_listed(
    updates: &mut mpsc::Receiver<Update>,
    count: usize,
) {
    let update = next(updates).await;
    assert!(matches!(update, Update::Connected { .. }), "{update:?}");
    let Update::Listed(records) = next(updates).await else {
        panic!()
    };
    assert_eq!(records.len(), count);
}

async fn write(client: &mut Client, key: &str, value: &str) -> i64 {
    client
        .put(key, value, None)
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision()
}

fn put(key: &str, value: &str, mod_revision: i64) -> Change {
    Change::Put(Record {
        key: key.into(),
        value: value.into(),
        mod_revision,
    })
}
