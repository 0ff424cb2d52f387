//! An etcd cluster of three members, one of which dies under load: followers and writers go on with
//! the others, and nothing is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use etcd_client::GetOptions;
use kvstore::config::EtcdConfig;
use kvstore::follower::{self, Change as Seen, Follower, Update};
use kvstore::store::Store;
use kvstore::writer::{self, Writer};
use lab::free_address;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use topology::diff::Change;

use crate::support::{HANG, eventually, patient};

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_when_a_member_dies_under_load() {
    let mut members = Members::start().await;
    let options = writer::Options {
        owned_prefixes: vec!["own/".into()],
        ..writer::Options::default()
    };
    let mut writer = Writer::spawn(members.store(0), options);
    let mut desired: BTreeMap<String, Vec<u8>> = (0..2_000).map(|it| record(it, 0)).collect();
    let generation = writer.set(desired.clone()).await;
    timeout(HANG, writer.settled(generation)).await.unwrap();
    let mut views = Vec::new();
    for first in 0..2 {
        let (sender, updates) = mpsc::channel(16);
        let (store, options) = (members.store(first), follower::Options::default());
        tokio::spawn(Follower::new(store, vec!["own/".into()], options).run(sender));
        views.push(tokio::spawn(follow_to_the_end(updates)));
    }

    let mut generation = 0;
    for round in 1..=40 {
        if round == 10 {
            // The one that the writer and the first follower are connected to.
            members.kill_first();
        }
        let changes = (0..200).map(|it| record((it * 7 + round) % 2_000, round));
        let changes: BTreeMap<String, Vec<u8>> = changes.chain([record(0, round)]).collect();
        desired.extend(changes.clone());
        let put = |(key, value): (String, Vec<u8>)| Change::Put(key.into(), value.into());
        let changes = changes.into_iter().map(put).collect();
        generation = timeout(HANG, writer.apply(changes)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let settled = timeout(HANG, writer.settled(generation)).await;
    settled.expect("the writer goes on with another member");
    desired.insert(END.to_owned(), Vec::new());
    writer.apply(vec![Change::Put(END.into(), [].into())]).await;
    for view in views {
        let (view, lists) = timeout(HANG, view).await.unwrap().unwrap();
        assert_eq!(view, desired);
        assert_eq!(lists, 1, "it resumed where it stopped");
    }

    let stored = members.read().await;
    assert_eq!(stored, desired);
}

/// What is written last.
const END: &str = "own/end";

/// What a follower has seen when the end comes, and how many lists it got.
async fn follow_to_the_end(
    mut updates: mpsc::Receiver<Update>,
) -> (BTreeMap<String, Vec<u8>>, usize) {
    let mut view = BTreeMap::new();
    let mut lists = 0;
    while !view.contains_key(END) {
        match timeout(HANG, updates.recv()).await.expect("no update") {
            Some(Update::Listed(records)) => {
                lists += 1;
                view = records.into_iter().map(|it| (it.key, it.value)).collect();
            }
            Some(Update::Changed(changes)) => {
                for change in changes {
                    match change {
                        Seen::Put(it) => drop(view.insert(it.key, it.value)),
                        Seen::Delete { key, .. } => panic!("{key} was never deleted"),
                    }
                }
            }
            Some(Update::Connected { .. } | Update::Lost { .. } | Update::Page(_)) => (),
            None => panic!("the follower ended"),
        }
    }
    (view, lists)
}

fn record(number: usize, round: usize) -> (String, Vec<u8>) {
    (format!("own/{number:04}"), round.to_string().into_bytes())
}

/// Debian's etcd, three times.
struct Members {
    clients: Vec<SocketAddr>,
    children: Vec<Child>,
    _data: TempDir,
}

impl Members {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let clients: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
        let peers: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
        let all = (0..3).map(|it| format!("m{it}=http://{}", peers[it]));
        let all = all.collect::<Vec<_>>().join(",");
        let start = |it: usize| {
            let (client, peer) = (clients[it], peers[it]);
            Command::new("/usr/bin/etcd")
                .arg("--data-dir")
                .arg(data.path().join(it.to_string()))
                .args(["--name", &format!("m{it}"), "--log-level", "error"])
                .arg("--unsafe-no-fsync")
                .arg(format!("--listen-client-urls=http://{client}"))
                .arg(format!("--advertise-client-urls=http://{client}"))
                .arg(format!("--listen-peer-urls=http://{peer}"))
                .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
                .arg(format!("--initial-cluster={all}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("Debian's etcd-server package is needed")
        };
        let children = (0..3).map(start).collect();
        let members = Self {
            clients,
            children,
            _data: data,
        };
        for first in 0..3 {
            eventually("every member answers", async || {
                let client = members.store(first).connect(&patient()).await;
                match client {
                    Ok(mut client) => client.get("ready", None).await.is_ok(),
                    Err(_) => false,
                }
            })
            .await;
        }
        members
    }

    /// All members, this one first.
    fn store(&self, first: usize) -> Store {
        let endpoints = (first..first + 3).map(|it| format!("http://{}", self.clients[it % 3]));
        let endpoints = endpoints.collect::<Vec<_>>().join("', '");
        let text = format!("endpoints: ['{endpoints}']");
        Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap())
    }

    fn kill_first(&mut self) {
        self.children[0].kill().unwrap();
        self.children[0].wait().unwrap();
    }

    async fn read(&self) -> BTreeMap<String, Vec<u8>> {
        let client = self.store(1).connect(&patient()).await.unwrap();
        let mut kv = client.kv_client().max_decoding_message_size(64 << 20);
        let options = GetOptions::new().with_prefix();
        let found = kv.get("own/", Some(options)).await.unwrap();
        let pairs = found.kvs().iter();
        pairs
            .map(|it| (it.key_str().unwrap().to_owned(), it.value().to_vec()))
            .collect()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
