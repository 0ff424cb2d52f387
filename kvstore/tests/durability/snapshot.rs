//! What an operator does with etcd's own tool: snapshots, alarms, sizes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use etcd_client::{Client, PutOptions};
use kvstore::server::{Options, Server, StorageOptions};
use lab::free_address;

use crate::process::{connect, serve};

#[tokio::test(flavor = "multi_thread")]
async fn begins_with_what_a_snapshot_holds() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshot");
    let address = serve(StorageOptions::default()).await;
    let mut client = connect(address).await;
    let lease = client.lease_grant(600, None).await.unwrap().id();
    for number in 0..3_000 {
        let options = PutOptions::new().with_lease(lease * (number % 2));
        let key = format!("key/{}", number % 2_500);
        client
            .put(key, number.to_string(), Some(options))
            .await
            .unwrap();
    }
    client.delete("key/7", None).await.unwrap();
    client.compact(2_000, None).await.unwrap();

    let saved = etcdctl(address, &format!("snapshot save {}", file.display()));

    assert!(saved.status.success(), "{saved:?}");
    let expected = facts(&mut client, lease).await;
    let restored = StorageOptions {
        snapshot: Some(file.clone()),
        ..StorageOptions::default()
    };
    let mut in_memory = connect(serve(restored.clone()).await).await;
    assert_eq!(facts(&mut in_memory, lease).await, expected);
    let on_disk = StorageOptions {
        data_dir: Some(directory.path().join("data")),
        ..restored
    };
    let mut on_disk = connect(serve(on_disk).await).await;
    assert_eq!(facts(&mut on_disk, lease).await, expected);
    on_disk.put("key/7", "is back", None).await.unwrap();

    refuses_half_of(&file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raises_an_alarm_when_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    for data_dir in [None, Some(directory.path().to_owned())] {
        let address = serve(StorageOptions {
            data_dir,
            quota_bytes: 200_000,
            ..StorageOptions::default()
        });
        fills_up(address.await).await;
    }
}

fn health(address: SocketAddr) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    let request = "GET /health HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

async fn fills_up(address: SocketAddr) {
    let mut client = connect(address).await;
    let value = "x".repeat(1_000);
    let mut count = 0;
    let error = loop {
        match client
            .put(format!("key/{count}"), value.as_str(), None)
            .await
        {
            Ok(_) => count += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!((140..160).contains(&count), "{count}");
    let full = "etcdserver: mvcc: database space exceeded";
    assert!(error.contains(full), "{error}");
    let refused = etcdctl(address, "put small value");
    assert!(String::from_utf8(refused.stderr).unwrap().contains(full));
    assert!(text(address, "alarm list").contains("alarm:NOSPACE"));
    let status = text(address, "endpoint status --write-out=json");
    assert!(status.contains("alarm:NOSPACE"), "{status}");
    assert!(health(address).ends_with(r#"{"health":"false"}"#));

    assert_eq!(text(address, "get key/0 --print-value-only").len(), 1_001);
    assert_eq!(text(address, "del --prefix key/"), format!("{count}\n"));
    let revision = client
        .get("key", None)
        .await
        .unwrap()
        .header()
        .unwrap()
        .revision();
    text(address, &format!("compact {revision}"));
    assert!(text(address, "defrag").contains("Finished defragmenting"));
    let refused = etcdctl(address, "put small value");
    assert!(
        !refused.status.success(),
        "the alarm stays until it is taken back"
    );
    assert!(text(address, "alarm disarm").contains("alarm:NOSPACE"));
    assert_eq!(text(address, "alarm list"), "");
    assert!(health(address).ends_with(r#"{"health":"true"}"#));
    assert_eq!(text(address, "put small value"), "OK\n");
}

/// What the store holds, as far as a snapshot promises to keep it.
async fn facts(client: &mut Client, lease: i64) -> String {
    let hash = client.hash_kv(0).await.unwrap();
    let old = client.hash_kv(2_500).await.unwrap();
    let lease = client.lease_time_to_live(
        lease,
        Some(etcd_client::LeaseTimeToLiveOptions::new().with_keys()),
    );
    let lease = lease.await.unwrap();
    let revision = hash.header().unwrap().revision();
    let compacted = hash.compact_version();
    format!(
        "{} {} {revision} {compacted} {} {:?}",
        hash.hash(),
        old.hash(),
        lease.granted_ttl(),
        lease.keys().len()
    )
}

async fn refuses_half_of(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    let error = Server::bind(Options {
        storage: StorageOptions {
            snapshot: Some(file.to_owned()),
            ..StorageOptions::default()
        },
        ..Options::new(free_address(), "half")
    });
    let error = error.await.unwrap_err().to_string();
    let expected = "the snapshot is not whole: its checksum does not fit; use a file that";
    assert!(error.contains(expected), "{error}");
}

fn text(address: SocketAddr, arguments: &str) -> String {
    let output = etcdctl(address, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn etcdctl(address: SocketAddr, arguments: &str) -> Output {
    Command::new("/usr/bin/etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={address}"))
        .args(["--dial-timeout=30s", "--command-timeout=30s"])
        .args(arguments.split(' '))
        .output()
        .expect("Debian's etcd-client package is needed")
}
