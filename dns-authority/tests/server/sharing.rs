//! Several authorities that see the same targets, and a store between them.

use std::net::SocketAddr;
use std::time::Duration;

use dns_authority::check::{Check, Fingerprint, Method, Timing};
use dns_authority::shared_health::record::{self, Record};
use kvstore::store::{Link, Store};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use topology::health::Health;

use super::process::{Authority, eventually};
use super::target::Target;
use super::zone;

#[test]
fn authorities_decide_together() {
    let (first, _second) = Target::pair("shop.test");
    let port = first.port();
    let store = Shared::start();
    let flags = |name: &'static str| [("--vantage", name), ("--etcd-config", &*store.config)];
    let one = Authority::start(&zone(&lua(port)), &flags("one"));
    let two = Authority::start(&zone(&lua(port)), &flags("two"));
    let ask = |it: &Authority| sorted(&it.dig(&["shop.example.test", "A", "+short"]));
    let (both, far) = ("127.0.0.11 127.0.0.12", "127.0.0.12");
    eventually("each hears the other", || {
        let others = |it: &Authority| target(it, "127.0.0.11")["others"].clone();
        others(&one)["two"] == "healthy" && others(&two)["one"] == "healthy"
    });
    assert_eq!((ask(&one).as_str(), ask(&two).as_str()), (both, both));

    // Two see it up; three others do not, and are most.
    for name in ["x", "y", "z"] {
        store.vote(name, port, Health::Unhealthy);
    }
    eventually("most decide", || ask(&one) == far && ask(&two) == far);
    let told = target(&one, "127.0.0.11");
    assert_eq!(
        (&told["health"], &told["own"]),
        (&"unhealthy".into(), &"healthy".into())
    );
    let status = one.get("/v1/status");
    assert!(
        status.contains("unhealthy to other authorities"),
        "{status}"
    );
    assert!(
        one.get("/metrics")
            .contains("mesh_dns_authority_vantages_heard 4\n")
    );

    store.vote("x", port, Health::Healthy);
    eventually("most decide again", || {
        ask(&one) == both && ask(&two) == both
    });

    // Who ends takes its votes along.
    assert_eq!(two.stop(), 0);
    eventually("nobody hears it any more", || {
        target(&one, "127.0.0.11")["others"].get("two").is_none()
    });
}

#[test]
fn without_the_store_each_goes_by_what_it_knows() {
    let (first, _second) = Target::pair("shop.test");
    let port = first.port();
    let store = Shared::start();
    for name in ["x", "y"] {
        store.vote(name, port, Health::Unhealthy);
    }
    let flags = [("--vantage", "one"), ("--etcd-config", &*store.config)];
    let one = Authority::start(&zone(&lua(port)), &flags);
    let ask = || sorted(&one.dig(&["shop.example.test", "A", "+short"]));
    eventually("most decide", || ask() == "127.0.0.12");

    store.end();
    eventually("it says that it hears nobody", || {
        one.get("/v1/status").contains("hears no other authorities")
    });
    // For the time of a lease, what was heard last counts yet.
    eventually("it decides alone", || ask() == "127.0.0.11 127.0.0.12");
}

fn lua(port: u16) -> String {
    format!(
        "shop LUA A (\"ifportup({port}, {{'127.0.0.11', '127.0.0.12'}}, \"\n  \
         \"{{interval=1, timeout=1, selector='all'}})\")\n"
    )
}

/// What the authority tells of the target at this address.
fn target(authority: &Authority, address: &str) -> Value {
    let health: Value = serde_json::from_str(&authority.get("/v1/dns/health")).unwrap();
    let targets = health["targets"].as_array().unwrap().clone();
    let is_it = |it: &Value| it["target"].as_str().unwrap().starts_with(address);
    targets.into_iter().find(is_it).unwrap()
}

fn sorted(lines: &str) -> String {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// A store that can end.
pub(crate) struct Shared {
    pub(crate) config: String,
    runtime: Runtime,
    store: Store,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Shared {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
        let server = runtime
            .block_on(kvstore::server::Server::bind(options))
            .unwrap();
        let config = format!("endpoints: ['http://{}']\n", server.address());
        let store = Store::Local(server.local());
        let (end, ended) = oneshot::channel::<()>();
        let serving = runtime.spawn(async {
            server.serve(async { drop(ended.await) }).await.unwrap();
        });
        // The names of the mesh's services, of which there are none.
        let shared = Self {
            config,
            runtime,
            store,
            end,
            serving,
        };
        shared.put("causeway/synced/eu", Vec::new());
        shared
    }

    /// Writes what another authority would of the target at 127.0.0.11.
    fn vote(&self, name: &str, port: u16, health: Health) {
        let timing = Timing {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: 1,
            rise: 1,
        };
        let check = Fingerprint::of(&Check {
            target: SocketAddr::from(([127, 0, 0, 11], port)).into(),
            method: Method::Tcp,
            timing,
            source: None,
        });
        let key = record::key(&name.parse().unwrap(), record::shard(check));
        let record = Record::new(1, [(check, health)].into_iter());
        self.put(&key, record.encode());
    }

    fn put(&self, key: &str, value: Vec<u8>) {
        self.runtime.block_on(async {
            let mut client = self.store.connect(&Link::default()).await.unwrap();
            client.put(key, value, None).await.unwrap();
        });
    }

    /// The keys below a prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut client = self.store.connect(&Link::default()).await.unwrap();
            let options = etcd_client::GetOptions::new().with_prefix();
            let found = client.get(prefix, Some(options)).await.unwrap();
            let keys = found
                .kvs()
                .iter()
                .map(|it| it.key_str().unwrap().to_owned());
            keys.collect()
        })
    }

    fn end(self) {
        self.end.send(()).unwrap();
        self.runtime.block_on(self.serving).unwrap();
    }
}
