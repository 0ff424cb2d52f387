//! Writers and followers count what they do, under the names that dashboards know.

use etcd_client::Client;
use kvstore::follower::{self, Follower, Update};
use kvstore::measures::Measures;
use kvstore::store::{Link, Store};
use kvstore::writer::{Options, Writer};
use lab::free_address;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Embedded, HANG, Kind, Running, eventually, store};

const NODE: &str = "cilium/state/nodes/v1/eu/a";
const SERVICE: &str = "cilium/state/services/v1/eu/shop/shop";

#[tokio::test(flavor = "multi_thread")]
async fn count_what_is_written_embedded() {
    let server = Embedded::start().await;
    count_what_is_written(Store::Local(server.local.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_what_is_written_etcd() {
    let server = Running::start(Kind::Etcd).await;
    count_what_is_written(store(server.address())).await;
}

async fn count_what_is_written(store: Store) {
    let mut registry = Registry::default();
    let mut writer = Writer::spawn(store, options(&mut registry));

    let too_large = vec![0; 2 << 20];
    let generation = writer
        .set([(NODE, b"x".to_vec()), (SERVICE, too_large)])
        .await;
    timeout(HANG, writer.settled(generation)).await.unwrap();

    let page = page(&registry);
    let operation = r#"kvstore_operations_duration_seconds_count{action="Txn",kind="set",outcome="success",scope="nodes/v1"} 1"#;
    let lease = r#"kvstore_operations_duration_seconds_count{action="AcquireLease",kind="set",outcome="success",scope="lease"} 1"#;
    let error = r#"kvstore_sync_errors_total{scope="services/v1",source_cluster="eu"} 1"#;
    let queue = r#"kvstore_sync_queue_size{scope="nodes/v1",source_cluster="eu"} 0"#;
    for line in [operation, lease, error, queue] {
        assert!(page.lines().any(|it| it == line), "{line} in\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn count_what_waits_while_the_store_is_away() {
    let mut registry = Registry::default();
    let mut writer = Writer::spawn(store(free_address()), options(&mut registry));

    writer
        .set_in("us", prefixes(), [(NODE, b"x".to_vec())])
        .await;
    let other = "cilium/state/nodes/v1/eu/b";
    writer
        .set_in(
            "us",
            prefixes(),
            [(NODE, b"y".to_vec()), (other, b"y".to_vec())],
        )
        .await;

    let waiting = r#"kvstore_sync_queue_size{scope="nodes/v1",source_cluster="us"} 2"#;
    eventually("two records wait", async || {
        page(&registry).contains(waiting)
    })
    .await;
    eventually("the store is given up", async || {
        page(&registry).contains(r#"kvstore_quorum_errors_total{error="refused"}"#)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_what_is_followed() {
    let server = Embedded::start().await;
    let mut client: Client = store(server.address)
        .connect(&Link::default())
        .await
        .unwrap();
    let mut registry = Registry::default();
    let follower = Follower::new(
        store(server.address),
        prefixes(),
        follower::Options {
            measures: Measures::register(&mut registry, "eu"),
            ..follower::Options::default()
        },
    );
    let (sender, mut updates) = mpsc::channel(1);
    tokio::spawn(follower.run(sender));
    let listed = async { while !matches!(updates.recv().await.unwrap(), Update::Listed(_)) {} };
    timeout(HANG, listed).await.unwrap();

    client.put(NODE, "x", None).await.unwrap();
    client.delete(NODE, None).await.unwrap();
    tokio::spawn(async move { while updates.recv().await.is_some() {} });

    let list = r#"kvstore_operations_duration_seconds_count{action="ListPrefix",kind="read",outcome="success",scope="other"} 1"#;
    for line in [
        list,
        r#"kvstore_events_queue_seconds_count{scope="nodes/v1",action="create"} 1"#,
        r#"kvstore_events_queue_seconds_count{scope="nodes/v1",action="delete"} 1"#,
    ] {
        eventually(line, async || page(&registry).lines().any(|it| it == line)).await;
    }
}

fn options(registry: &mut Registry) -> Options {
    Options {
        owned_prefixes: prefixes(),
        measures: Measures::register(registry, "eu"),
        ..Options::default()
    }
}

fn prefixes() -> Vec<String> {
    vec!["cilium/state/".to_owned()]
}

fn page(registry: &Registry) -> String {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    page
}
