//! A store in a process of its own, which can be killed.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use kvstore::server::{Options, Server, StorageOptions};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Generous: exceeding it means that something hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

const DIRECTORY: &str = "DURABILITY_DIRECTORY";
const LISTEN: &str = "DURABILITY_LISTEN";

pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) async fn start(directory: &Path, address: SocketAddr) -> Self {
        Self::start_with(directory, address, "").await
    }

    /// Every file that it writes is at most 2 MiB: beyond that, its disk is full.
    pub(crate) async fn start_on_small_disk(directory: &Path, address: SocketAddr) -> Self {
        Self::start_with(directory, address, "trap '' XFSZ; ulimit -f 4096; ").await
    }

    /// Runs this very program, in its other role, after some commands of the shell.
    async fn start_with(directory: &Path, address: SocketAddr, commands: &str) -> Self {
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!(
                "{commands}exec \"$0\" process::serves_until_its_parent_ends --exact --ignored"
            ))
            .arg(std::env::current_exe().unwrap())
            .env(DIRECTORY, directory)
            .env(LISTEN, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child };
        connect(address).await;
        process
    }

    /// Waits until it gives up by itself.
    pub(crate) async fn failed(mut self) -> bool {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return !status.success();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(HANG, end).await.unwrap()
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "this is the process that other tests start and kill"]
async fn serves_until_its_parent_ends() {
    let variable = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let server = Server::bind(Options {
        storage: StorageOptions {
            data_dir: Some(variable(DIRECTORY).into()),
            ..StorageOptions::default()
        },
        ..Options::new(variable(LISTEN).parse().unwrap(), "durable")
    });
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is ever written there: it ends when the parent does.
        let _ = std::io::stdin().read(&mut [0]);
        let _ = ended.send(());
    });
    let parent = async {
        end.await.unwrap();
    };
    server.await.unwrap().serve(parent).await.unwrap();
}

/// A server in this process, in memory or with a directory.
pub(crate) async fn serve(storage: StorageOptions) -> SocketAddr {
    let server = Server::bind(Options {
        storage,
        ..Options::new(SocketAddr::from(([127, 0, 0, 1], 0)), "test")
    });
    let server = server.await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve(std::future::pending()));
    address
}

/// Connects as soon as somebody answers.
pub(crate) async fn connect(address: SocketAddr) -> Client {
    let attempts = async {
        loop {
            let options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
            if let Ok(mut client) = Client::connect([address.to_string()], Some(options)).await
                && client.get("is anybody there", None).await.is_ok()
            {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, attempts).await.unwrap()
}

/// A new seed for each run, or the one in `DURABILITY_SEED`.
pub(crate) fn random(test: &str) -> SmallRng {
    let seed = std::env::var_os("DURABILITY_SEED").map_or_else(rand::random, |it| {
        it.into_string().unwrap().parse().unwrap()
    });
    println!("{test}: DURABILITY_SEED={seed}");
    SmallRng::seed_from_u64(seed)
}

/// A source of chance for one of several tasks.
pub(crate) fn fork(random: &mut SmallRng) -> SmallRng {
    SmallRng::seed_from_u64(random.random())
}
