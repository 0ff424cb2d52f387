//! What a client gets that wants more than it may: etcd's error, and never the server's memory.

use std::time::Duration;

use etcd_client::{Client, Error, WatchOptions};
use kvstore::server::{Limits, Options};
use kvstore::store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::support::{
    Embedded, HANG, Kind, Running, client, eventually, loopback, options, patient,
};
use crate::tls::Files;

const TOO_MANY: (Code, &str) = (Code::ResourceExhausted, "etcdserver: too many requests");

#[tokio::test]
async fn drops_clients_that_do_not_begin_to_speak() {
    kvstore::tls::install_provider();
    let files = Files::new();
    files.ca("ca");
    files.issue("ca", "server", &["127.0.0.1"]);
    let limits = Limits {
        greeting_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let plain = start(limits.clone()).await;
    let secure = Embedded::start_with(Options {
        tls: Some(files.server_tls()),
        limits,
        ..options(loopback(0))
    })
    .await;

    for (server, said) in [
        (&plain, &b""[..]),
        (&plain, b"PRI * HTTP/2.0\r\n"),
        (&secure, b""),
        (&secure, b"\x16\x03\x01"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(HANG, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "still open after {said:?}");
    }
}

#[tokio::test]
async fn counts_connections_of_one_address() {
    let server = start(Limits {
        connections_per_address: 2,
        ..Limits::default()
    })
    .await;
    let mut first = client(server.address).await;
    first.put("key", "", None).await.unwrap();
    let _second = TcpStream::connect(server.address).await.unwrap();

    let mut third = TcpStream::connect(server.address).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(HANG, third.read_to_end(&mut answer)).await.unwrap();
    assert!(end.is_err() || answer.is_empty(), "{answer:?}");

    first.get("key", None).await.unwrap();
    drop(_second);
    eventually("a place is free", async || {
        let client = Client::connect([server.address.to_string()], None).await;
        match client {
            Ok(mut client) => client.get("key", None).await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
}

#[tokio::test]
async fn slows_a_user_down_to_its_rate() {
    let server = start(Limits {
        requests_per_second: 1,
        requests_burst: 20,
        ..Limits::default()
    })
    .await;
    let mut remote = client(server.address).await;
    let mut local = Store::Local(server.local.clone())
        .connect(&patient())
        .await
        .unwrap();

    let mut refusal = None;
    for _ in 0..30 {
        refusal = refusal.or(remote.put("key", "", None).await.err());
        local.put("key", "", None).await.unwrap();
    }

    assert_eq!(code(refusal.unwrap()), (TOO_MANY.0, TOO_MANY.1.into()));
}

#[tokio::test]
async fn bounds_watches_and_streams() {
    let server = start(Limits {
        watches: 3,
        watches_per_stream: 2,
        watch_streams: 2,
        ..Limits::default()
    })
    .await;
    let mut client = client(server.address).await;
    let mut first = client.watch("a", None).await.unwrap();
    assert!(first.message().await.unwrap().unwrap().created());
    first.watch("b", None).await.unwrap();
    assert!(first.message().await.unwrap().unwrap().created());
    first.watch("c", None).await.unwrap();
    let refused = first.message().await.unwrap().unwrap();
    assert_eq!(
        (refused.canceled(), refused.cancel_reason()),
        (true, TOO_MANY.1)
    );

    let mut second = client.watch("d", None).await.unwrap();
    assert!(!second.message().await.unwrap().unwrap().canceled());
    second.watch("e", None).await.unwrap();
    let refused = second.message().await.unwrap().unwrap();
    assert_eq!(
        (refused.canceled(), refused.cancel_reason()),
        (true, TOO_MANY.1)
    );
    let third = client.watch("f", None).await;
    assert_eq!(code(third.err().unwrap()), (TOO_MANY.0, TOO_MANY.1.into()));

    second.cancel(0).await.unwrap();
    assert!(second.message().await.unwrap().unwrap().canceled());
    second.watch("e", Some(WatchOptions::new())).await.unwrap();
    assert!(!second.message().await.unwrap().unwrap().canceled());
    drop(first);
    eventually("a stream is free", async || {
        client.watch("f", None).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn bounds_leases() {
    let server = start(Limits {
        leases: 2,
        ..Limits::default()
    })
    .await;
    let mut client = client(server.address).await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    client.lease_grant(60, None).await.unwrap();

    let refused = client.lease_grant(60, None).await.unwrap_err();
    assert_eq!(code(refused), (TOO_MANY.0, TOO_MANY.1.into()));

    client.lease_revoke(lease).await.unwrap();
    client.lease_grant(60, None).await.unwrap();
}

#[tokio::test]
async fn refuses_large_messages_as_etcd_does() {
    let (ours, theirs) = (
        Running::start(Kind::Embedded).await,
        Running::start(Kind::Etcd).await,
    );
    let (mut our_client, mut their_client) = (ours.client().await, theirs.client().await);
    for bytes in [1_000_000, 1_700_000, 3_000_000] {
        let value = vec![b'x'; bytes];
        let ours = our_client.put("key", value.clone(), None).await;
        let theirs = their_client.put("key", value, None).await;
        let answer = |it: Result<_, Error>| it.map(|_: etcd_client::PutResponse| ()).map_err(code);
        let (ours, theirs) = (answer(ours), answer(theirs));
        // etcd adds the two numbers in brackets.
        let words = |it: Result<(), (Code, String)>| {
            it.map_err(|(code, text)| {
                (code, text.split(" (").next().unwrap_or_default().to_owned())
            })
        };
        assert_eq!(words(ours), words(theirs), "{bytes} bytes");
    }
}

async fn start(limits: Limits) -> Embedded {
    Embedded::start_with(Options {
        limits,
        ..options(loopback(0))
    })
    .await
}

fn code(error: Error) -> (Code, String) {
    let Error::GRpcStatus(status) = error else {
        panic!("{error}");
    };
    (status.code(), status.message().to_owned())
}
