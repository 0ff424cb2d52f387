//! Announcements, against a store that is served in this process.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the story that cannot be made fails it"
)]

use std::time::Duration;

use kvstore::server::{Options, Server};
use kvstore::store::{Link, Store};
use node_agent::announce::{Announcement, Announcer};
use node_agent::desired::Identity;
use tokio::time::{sleep, timeout};
use topology::record::{Reach, TunnelEnd};

const TUNNEL: &str = "causeway/agents/tunnel/v1/eu/node-1";
const REACH: &str = "causeway/agents/reach/v1/eu/node-1";
const NEIGHBOR: &str = "causeway/agents/reach/v1/eu/node-2";

#[tokio::test]
async fn writes_on_a_lease_and_touches_nothing_else() {
    let store = serve().await;
    put(&store, REACH, "left by an earlier agent").await;
    put(&store, NEIGHBOR, "another agent's").await;

    let announcer = Announcer::spawn(store.clone(), &identity());
    announcer.announce(tunnel_end("one"));
    settled(&announcer).await;
    let (value, lease) = get(&store, TUNNEL).await.unwrap();
    assert!(value.contains(r#""publicKey":"one""#), "{value}");
    assert_ne!(lease, 0, "it ends with its agent");
    let (left, _) = get(&store, REACH).await.unwrap();
    assert_eq!(left, "left by an earlier agent", "nothing replaces it yet");

    announcer.announce(tunnel_end("two"));
    announcer.announce(Announcement::Reach(Reach::default()));
    settled(&announcer).await;
    let (value, _) = get(&store, TUNNEL).await.unwrap();
    assert!(value.contains(r#""publicKey":"two""#), "{value}");
    let (value, lease) = get(&store, REACH).await.unwrap();
    assert_eq!(value, r#"{"clusters":{}}"#);
    assert_ne!(lease, 0);
    let (neighbor, _) = get(&store, NEIGHBOR).await.unwrap();
    assert_eq!(neighbor, "another agent's");

    remove(&store, TUNNEL).await;
    until("it is put again", async || {
        get(&store, TUNNEL).await.is_some()
    })
    .await;
}

fn tunnel_end(public_key: &str) -> Announcement {
    Announcement::TunnelEnd(TunnelEnd {
        public_key: public_key.to_owned(),
        ..TunnelEnd::default()
    })
}

async fn settled(announcer: &Announcer) {
    until("it is written", async || announcer.is_settled()).await;
    assert_eq!(announcer.problem(), None);
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let reached = async {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // Far beyond what anything here takes: a hang, not a measurement.
    let waited = timeout(Duration::from_secs(30), reached).await;
    assert!(waited.is_ok(), "in vain: {what}");
}

async fn serve() -> Store {
    let options = Options::new("127.0.0.1:0".parse().unwrap(), "test");
    let server = Server::bind(options).await.unwrap();
    let store = Store::Local(server.local());
    tokio::spawn(server.serve(std::future::pending()));
    store
}

async fn put(store: &Store, key: &str, value: &str) {
    let mut client = store.connect(&Link::default()).await.unwrap();
    client.put(key, value, None).await.unwrap();
}

async fn remove(store: &Store, key: &str) {
    let mut client = store.connect(&Link::default()).await.unwrap();
    client.delete(key, None).await.unwrap();
}

async fn get(store: &Store, key: &str) -> Option<(String, i64)> {
    let mut client = store.connect(&Link::default()).await.unwrap();
    let answer = client.get(key, None).await.unwrap();
    let kv = answer.kvs().first()?;
    Some((kv.value_str().unwrap().to_owned(), kv.lease()))
}

fn identity() -> Identity {
    Identity {
        node: "node-1".parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        cluster_id: "1".parse().unwrap(),
    }
}
