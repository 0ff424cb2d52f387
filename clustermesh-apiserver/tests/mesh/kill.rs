//! Kills each process in turn under a stream of changes, and looks for what got lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvstore::config::EtcdConfig;
use kvstore::follower::{Change, Follower, Options, Record, Update};
use kvstore::store::Store;
use tokio::sync::mpsc;

use super::authority::Authority;
use super::etcd::Etcd;
use super::region::{Region, eventually};
use super::shop;

/// The backend that lives all the time, by cluster id.
fn steady(id: u8) -> String {
    format!("10.{id}.1.10")
}

#[test]
fn loses_nothing_when_each_process_is_killed_in_turn() {
    let authority = Authority::new();
    let mut etcd = Etcd::start();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2).stored_in(&etcd);
    let us = us.leasing_for("20s");
    eu.write("shop.yaml", &shop(1, &[&steady(1)]));
    us.write("shop.yaml", &shop(2, &[&steady(2)]));
    let mut us = us.peered_with(&[&eu]);
    let mut eu = eu;
    let us_store = format!("endpoints: ['http://{}']\n", etcd.address);
    fs::write(eu.directory().join("clustermesh/us"), &us_store).unwrap();
    eu.start();
    us.start();
    eventually("us in eu", || eu.backends_of("us").contains(&steady(2)));
    eventually("eu in us", || us.backends_of("eu").contains(&steady(1)));

    let readers = [
        Reader::start("us", steady(2), eu.store_config()),
        Reader::start("eu", steady(1), us_store),
    ];
    let writers = [
        Changes::start(1, eu.directory()),
        Changes::start(2, us.directory()),
    ];
    for _ in 0..4 {
        eu.kill();
        thread::sleep(Duration::from_millis(300));
        eu.start();
        us.kill();
        thread::sleep(Duration::from_millis(300));
        us.start();
        etcd.crash();
        thread::sleep(Duration::from_millis(1_000));
    }
    writers.into_iter().for_each(Changes::stop);

    eventually("both mirrors equal their sources", || {
        eu.backends_of("us") == published(&us, "us")
            && us.backends_of("eu") == published(&eu, "eu")
            && eu.backends_of("us").contains("10.2.1.77")
            && us.backends_of("eu").contains("10.1.1.77")
    });
    for (mirror, source, name) in [(&eu, &us, "us"), (&us, &eu, "eu")] {
        eventually("the same addresses", || {
            let shown = mirror.keys(&format!("cilium/cache/ip/v1/{name}/"));
            let said = source.keys("cilium/state/ip/v1/default/");
            let ends = |keys: &[String]| {
                keys.iter()
                    .map(|it| last(it).to_owned())
                    .collect::<Vec<_>>()
            };
            ends(&shown) == ends(&said)
        });
    }
    // What a former life wrote would end with its leases by now.
    let former = us.leases();
    us.kill();
    us.start();
    eventually("new leases", || {
        let leases = us.leases();
        !leases.is_empty() && former.is_disjoint(&leases)
    });
    assert_eq!(us.backends_of("eu"), published(&eu, "eu"));
    assert_eq!(eu.backends_of("us"), published(&us, "us"));
    for reader in readers {
        assert!(reader.has_seen.load(Ordering::Relaxed), "nobody watched");
        assert!(
            !reader.has_lost.load(Ordering::Relaxed),
            "a backend of {} vanished that was never gone",
            reader.source
        );
    }
}

fn published(region: &Region, name: &str) -> String {
    let key = format!("cilium/state/services/v1/{name}/shop/shop");
    region.value(&key).unwrap_or_default()
}

/// What stands after a key's last slash.
fn last(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or_default()
}

/// Writes changes of a region's objects until it is stopped, the last with an address that ends in 77.
struct Changes {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Changes {
    fn start(id: u8, directory: &Path) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let objects = directory.join("objects");
        let thread = thread::spawn(move || {
            for number in (20_u8..70).cycle() {
                let is_over = over.load(Ordering::Relaxed);
                let other = if is_over { 77 } else { number };
                let backends = [steady(id), format!("10.{id}.1.{other}")];
                replace(
                    &objects,
                    &shop(id, &backends.each_ref().map(String::as_str)),
                );
                if is_over {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { is_over, thread }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn replace(objects: &Path, text: &str) {
    let temporary: PathBuf = objects.join(".shop.yaml");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, objects.join("shop.yaml")).unwrap();
}

/// Believes what an agent would: a new list takes away only what its canary vouches for.
struct Reader {
    source: &'static str,
    has_seen: Arc<AtomicBool>,
    has_lost: Arc<AtomicBool>,
}

impl Reader {
    fn start(source: &'static str, steady: String, config: String) -> Self {
        let reader = Self {
            source,
            has_seen: Arc::default(),
            has_lost: Arc::default(),
        };
        let (seen, lost) = (Arc::clone(&reader.has_seen), Arc::clone(&reader.has_lost));
        thread::spawn(move || {
            let config = EtcdConfig::parse(&config, Path::new("reader")).unwrap();
            let prefixes = vec![
                format!("cilium/cache/services/v1/{source}/"),
                format!("cilium/synced/{source}/"),
            ];
            let follower = Follower::new(Store::Etcd(config), prefixes, Options::default());
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let (sender, mut updates) = mpsc::channel(16);
                tokio::spawn(follower.run(sender));
                while let Some(update) = updates.recv().await {
                    match shows(update, source, &steady) {
                        Some(true) => seen.store(true, Ordering::Relaxed),
                        Some(false) => lost.store(seen.load(Ordering::Relaxed), Ordering::Relaxed),
                        None => (),
                    }
                    if lost.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        });
        reader
    }
}

/// Whether an update shows the backend all along; nothing if it says nothing of it.
fn shows(update: Update, source: &str, backend: &str) -> Option<bool> {
    let canary = format!("cilium/synced/{source}/cilium/cache/services/v1");
    let holds = |it: &Record| String::from_utf8_lossy(&it.value).contains(backend);
    let is_service = |key: &str| key.starts_with("cilium/cache/services/");
    match update {
        Update::Listed(records) => {
            let is_complete = records.iter().any(|it| *it.key == *canary);
            match records.iter().find(|it| is_service(&it.key)) {
                Some(service) => Some(holds(service)),
                None => is_complete.then_some(false),
            }
        }
        Update::Changed(changes) => {
            let told = changes.iter().filter_map(|change| match change {
                Change::Put(record) => is_service(&record.key).then(|| holds(record)),
                Change::Delete { key, .. } => is_service(key).then_some(false),
            });
            told.reduce(|all, it| all && it)
        }
        // Pages come only to who asked for them.
        Update::Connected { .. } | Update::Lost { .. } | Update::Page(_) => None,
    }
}
