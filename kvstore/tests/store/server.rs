//! The server around the store: addresses, limits, leases, shutdown, and what is not gRPC.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, GetOptions, PutOptions, WatchFilterType, WatchOptions};
use kvstore::server::Server;
use kvstore::store::{Link, Store};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Embedded, HANG, client, eventually, loopback, options, patient};

#[tokio::test]
async fn says_which_address_is_taken_and_what_to_do() {
    let server = Embedded::start().await;

    let error = Server::bind(options(server.address))
        .await
        .unwrap_err()
        .to_string();

    assert!(
        error.starts_with(&format!("cannot listen on {}: ", server.address)),
        "{error}"
    );
    assert!(error.contains("choose another port"), "{error}");
}

#[tokio::test]
async fn answers_every_request_with_the_same_identity() {
    let server = Embedded::start().await;
    let mut remote = client(server.address).await;
    let mut local = Store::Local(server.local.clone())
        .connect(&patient())
        .await
        .unwrap();

    let put = local.put("key", "value", None).await.unwrap();
    let get = remote.get("key", None).await.unwrap();
    let status = remote.status().await.unwrap();
    let members = remote.member_list().await.unwrap();

    let ids: Vec<_> = [
        put.header(),
        get.header(),
        status.header(),
        members.header(),
    ]
    .map(|it| {
        it.map(|it| (it.cluster_id(), it.member_id(), it.raft_term()))
            .unwrap()
    })
    .into();
    assert!(
        ids.iter()
            .all(|it| *it == ids[0] && it.0 != 0 && it.1 != 0 && it.2 != 0),
        "{ids:?}"
    );
    assert_eq!(
        (
            put.header().unwrap().revision(),
            get.header().unwrap().revision()
        ),
        (2, 2)
    );
    assert_eq!(get.kvs()[0].value_str().unwrap(), "value");
    assert_eq!(status.leader(), ids[0].1);
    assert_eq!(
        members.members()[0].client_urls(),
        [format!("http://{}", server.address)]
    );
}

#[tokio::test]
async fn is_a_new_cluster_after_every_start() {
    let cluster_id = async || {
        let server = Embedded::start().await;
        let mut client = client(server.address).await;
        client
            .status()
            .await
            .unwrap()
            .header()
            .unwrap()
            .cluster_id()
    };

    assert_ne!(cluster_id().await, cluster_id().await);
}

#[tokio::test]
async fn serves_large_answers_in_pages_or_at_once() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    for number in 0..1_200 {
        client
            .put(format!("key/{number:04}"), vec![b'x'; 8 << 10], None)
            .await
            .unwrap();
    }

    let mut kv = client.kv_client().max_decoding_message_size(64 << 20);
    let everything = kv
        .get("key/", Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    assert_eq!((everything.kvs().len(), everything.more()), (1_200, false));
    let page = kv
        .get(
            "key/",
            Some(GetOptions::new().with_prefix().with_limit(256)),
        )
        .await
        .unwrap();
    assert_eq!(
        (page.kvs().len(), page.more(), page.count()),
        (256, true, 1_200)
    );
}

#[tokio::test]
async fn deletes_keys_when_their_lease_ends() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    let only_deletes = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    let mut watch = client
        .watch("leased", Some(only_deletes.with_prev_key()))
        .await
        .unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    let lease = client.lease_grant(3, None).await.unwrap().id();
    client
        .put("leased", "", Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();

    let message = timeout(HANG, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();

    assert_eq!(message.events()[0].prev_kv().unwrap().lease(), lease);
    assert_eq!(client.get("leased", None).await.unwrap().count(), 0);
    assert_eq!(
        client.lease_time_to_live(lease, None).await.unwrap().ttl(),
        -1
    );
    assert!(client.lease_keep_alive(lease).await.is_err());
}

#[tokio::test]
async fn keeps_keys_as_long_as_their_lease_is_renewed() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    let lease = client.lease_grant(5, None).await.unwrap().id();
    client
        .put("leased", "", Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await.unwrap();

    // Well beyond its end, and each time well before it.
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        keeper.keep_alive().await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl(), 5);
    }

    assert_eq!(client.get("leased", None).await.unwrap().count(), 1);
}

#[tokio::test]
async fn has_no_users() {
    let server = Embedded::start().await;
    let options = ConnectOptions::new().with_user("root", "secret");

    let error = Client::connect([server.address.to_string()], Some(options))
        .await
        .err()
        .unwrap()
        .to_string();

    assert!(
        error.contains("etcdserver: authentication is not enabled"),
        "{error}"
    );
}

#[tokio::test]
async fn answers_plain_http_for_health_and_version() {
    let server = Embedded::start().await;

    assert!(
        http(server.address, "/health")
            .await
            .ends_with("\r\n\r\n{\"health\":\"true\"}")
    );
    assert!(
        http(server.address, "/version")
            .await
            .contains("{\"etcdserver\":\"3.4.")
    );
}

#[tokio::test]
async fn shows_metrics_under_etcds_names() {
    let server = Embedded::start().await;
    let mut client = client(server.address).await;
    client.put("key", "value", None).await.unwrap();
    client.put("", "value", None).await.unwrap_err();
    let mut watch = client.watch("key", None).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());

    let page = http(server.address, "/metrics").await;

    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_version{server_version=\"3.4.23\"} 1",
        "etcd_mvcc_db_total_size_in_bytes 258",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_debugging_mvcc_current_revision 2",
        "etcd_debugging_mvcc_watcher_total 1",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
        "grpc_server_handled_total{grpc_code=\"InvalidArgument\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
        "grpc_server_started_total{grpc_method=\"Watch\",\
         grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 1",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in {page}");
    }
}

#[tokio::test]
async fn lends_its_numbers_to_the_metrics_of_its_process() {
    let mut registry = Registry::default();
    let server = Server::bind(options(loopback(0))).await.unwrap();
    server.vitals().register(&mut registry);
    let scrape = || {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
        page
    };

    let local = Store::Local(server.local());
    let mut client = local.connect(&Link::default()).await.unwrap();
    client.put("key", "value", None).await.unwrap();
    let page = scrape();

    for line in [
        "# TYPE etcd_debugging_mvcc_current_revision gauge",
        "etcd_debugging_mvcc_current_revision 2",
        "# TYPE causeway_kvstore_refused_connections counter",
        "causeway_kvstore_refused_connections_total 0",
        "causeway_kvstore_refused_requests_total 0",
        "causeway_kvstore_certificate_reload_failures_total 0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in {page}");
    }
    drop(server);
    assert_eq!(scrape(), "# EOF\n", "it holds no server that ended");
}

#[tokio::test]
async fn ends_streams_and_connections_when_it_stops() {
    let server = Embedded::start().await;
    let address = server.address;
    let mut client = client(address).await;
    let mut watch = client.watch("key", None).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());

    server.stop().await;

    let end = timeout(HANG, watch.message()).await.unwrap();
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    eventually("the port is free", async || {
        Server::bind(options(address)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn survives_a_peer_that_says_nothing() {
    let server = Embedded::start().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();

    let mut client = client(server.address).await;

    client.put("key", "value", None).await.unwrap();
    assert_ne!(loopback(0), server.address);
}

pub(crate) async fn http(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(HANG, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}
