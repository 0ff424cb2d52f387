//! A peer that changes all the time, and a quiet one beside it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::server::{Options, Server};
use kvstore::store::Store;
use kvstore::writer::{self, Writer};
use topology::diff::Change;

use super::authority::Authority;
use super::region::{Region, admin, eventually, replace};

/// What the noisy peer changes at a time, and how often: 20,000 changes per second.
const NOISE: usize = 200;
const NOISE_INTERVAL: Duration = Duration::from_millis(10);

#[test]
fn hears_a_quiet_peer_beside_a_noisy_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let authority = Authority::new();
    let mut us = Region::new(&authority, "us", 1);
    let mut noisy = runtime.block_on(Peer::start("noisy", 2));
    let mut quiet = runtime.block_on(Peer::start("quiet", 3));
    noisy.configure_in(&us);
    quiet.configure_in(&us);
    us.start();
    let key = "cilium/cache/ip/v1/quiet/10.3.0.1";
    let alone = runtime.block_on(async { quiet.time_change(&us, key, 1).await });

    let noise = runtime.spawn(async move {
        for round in 0.. {
            noisy.make_noise(round).await;
            tokio::time::sleep(NOISE_INTERVAL).await;
        }
    });
    eventually("the noise", || {
        !us.keys("cilium/cache/ip/v1/noisy/10.2.0.7").is_empty()
    });
    let beside: Vec<Duration> = (2..12)
        .map(|host| runtime.block_on(async { quiet.time_change(&us, key, host).await }))
        .collect();
    noise.abort();

    println!("alone {alone:?}, beside a noisy peer {beside:?}");
    let slow = beside
        .iter()
        .filter(|it| Duration::from_secs(5) < **it)
        .count();
    assert_eq!(slow, 0, "{beside:?}");
    assert!(admin(us.admin, "/v1/status").contains(r#""problems":[]"#));
}

/// A peer that is a store, filled here.
struct Peer {
    name: &'static str,
    id: u32,
    address: std::net::SocketAddr,
    writer: Writer,
}

impl Peer {
    async fn start(name: &'static str, id: u32) -> Self {
        let options = Options::new("127.0.0.1:0".parse().unwrap(), name);
        let server = Server::bind(options).await.unwrap();
        let (address, store) = (server.address(), Store::Local(server.local()));
        tokio::spawn(server.serve(std::future::pending()));
        let mut writer = Writer::spawn(store, writer::Options::default());
        let config = format!(r#"{{"id":{id},"capabilities":{{"syncedCanaries":true}}}}"#);
        let kinds = [
            "endpointslices",
            "identities",
            "ip",
            "nodes",
            "serviceexports",
            "services",
        ];
        let canaries = kinds.map(|kind| format!("cilium/synced/{name}/cilium/state/{kind}/v1"));
        let records = canaries.into_iter().map(|key| (key, "now".to_owned()));
        let records = records.chain([(format!("cilium/cluster-config/{name}"), config)]);
        writer
            .set(records.map(|(key, value)| (key, value.into_bytes())))
            .await;
        Self {
            name,
            id,
            address,
            writer,
        }
    }

    fn configure_in(&self, region: &Region) {
        let file: &Path = &region.directory().join("clustermesh").join(self.name);
        replace(file, &format!("endpoints: ['http://{}']\n", self.address));
    }

    async fn make_noise(&mut self, round: usize) {
        let changes = (0..NOISE).map(|it| self.endpoint(it, round));
        let changes = changes.collect();
        self.writer.apply(changes).await;
    }

    /// How long one change takes to be seen in the region's store, the looking included.
    async fn time_change(&mut self, us: &Region, key: &str, round: usize) -> Duration {
        let change = self.endpoint(1, round);
        let started = Instant::now();
        self.writer.apply(vec![change]).await;
        let expected = format!(r#""HostIP":"192.0.2.{round}""#);
        eventually("the change", || {
            us.value(key).is_some_and(|it| it.contains(&expected))
        });
        started.elapsed()
    }

    fn endpoint(&self, number: usize, round: usize) -> Change<Arc<str>, Arc<[u8]>> {
        let (id, host) = (self.id, round % 250);
        let address = format!("10.{id}.{}.{}", number / 256, number % 256);
        let identity = id * 65_536 + 1;
        let value = format!(r#"{{"IP":"{address}","HostIP":"192.0.2.{host}","ID":{identity}}}"#);
        let key = format!("cilium/state/ip/v1/default/{address}");
        Change::Put(key.into(), value.into_bytes().into())
    }
}
