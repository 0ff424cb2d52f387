//! What a key and a write cost. Measurements, to be run alone and in release:
//! `cargo test --release -p kvstore --test durability -- --ignored --nocapture --test-threads 1 cost`.

use std::time::Instant;

use etcd_client::PutOptions;
use etcd_client::proto::PbPutRequest;
use kvstore::mvcc::Store;
use kvstore::server::StorageOptions;

use crate::process::{connect, serve};

const VALUE_BYTES: usize = 300;

#[test]
#[ignore = "a measurement"]
fn measures_memory_for_each_key() {
    const KEYS: usize = 100_000;
    let before = resident_bytes();
    let mut store = Store::default();
    store.lease_grant(1, 600, now()).unwrap();
    for number in 0..KEYS {
        store.put(request(number)).unwrap();
    }
    let fresh = resident_bytes();
    store.compact(store.revision()).unwrap();

    let key_bytes = request(0).key.len();
    let overhead = |after: usize| (after - before) / KEYS - key_bytes - VALUE_BYTES;
    println!(
        "{KEYS} keys of {key_bytes} bytes under one lease: {} bytes of overhead each with history, {} after compaction; counted {}",
        overhead(fresh),
        overhead(resident_bytes()),
        usize::try_from(store.held_bytes()).unwrap() / KEYS - key_bytes - VALUE_BYTES,
    );
}

#[test]
#[ignore = "a measurement"]
fn measures_writes_among_many_keys() {
    const WRITES: usize = 100_000;
    for keys in [1_000, 10_000, 100_000] {
        let mut store = Store::default();
        store.lease_grant(1, 600, now()).unwrap();
        for number in 0..keys {
            store.put(request(number)).unwrap();
        }
        let start = processor_nanoseconds();
        for number in 0..WRITES {
            // Somewhere else each time.
            store.put(request(number * 7_919 % keys)).unwrap();
        }
        let nanoseconds = (processor_nanoseconds() - start) / WRITES;
        println!("{keys} keys under one lease: {nanoseconds} CPU-ns for each write");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measures_writes_of_concurrent_clients() {
    for on_disk in [false, true] {
        for clients in [1, 16, 128] {
            let directory = tempfile::tempdir_in(".").unwrap();
            let address = serve(StorageOptions {
                data_dir: on_disk.then(|| directory.path().to_owned()),
                ..StorageOptions::default()
            })
            .await;
            let count = 20_000 / if on_disk && clients == 1 { 20 } else { 1 } / clients;
            let start = now();
            let writers: Vec<_> = (0..clients)
                .map(|client| tokio::spawn(write(address, client, count)))
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            let total = (count * clients) as f64;
            println!(
                "{clients} clients, {}: {:.0} writes per second",
                if on_disk { "on disk" } else { "in memory" },
                total / start.elapsed().as_secs_f64()
            );
        }
    }
}

async fn write(address: std::net::SocketAddr, client: usize, count: usize) {
    let mut connection = connect(address).await;
    for number in 0..count {
        let key = format!("key/{client}/{number}");
        let options = PutOptions::new();
        connection
            .put(key, vec![0; VALUE_BYTES], Some(options))
            .await
            .unwrap();
    }
}

fn request(number: usize) -> PbPutRequest {
    PbPutRequest {
        key: format!("cilium/state/ip/v1/default/10.{number:09}").into(),
        value: vec![b'x'; VALUE_BYTES],
        lease: 1,
        ..PbPutRequest::default()
    }
}

/// Of this thread, however busy the machine is.
fn processor_nanoseconds() -> usize {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() << 10
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}
