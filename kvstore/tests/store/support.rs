//! Servers to test against, and a link between them and a client that can be cut.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use kvstore::config::EtcdConfig;
use kvstore::server::{Local, Options, Server};
use kvstore::store::{Link, Store};
use lab::free_address;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Generous: exceeding it means that something hangs.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// For tests that cut no link: on a busy machine even a login or a probe can take long.
pub(crate) fn patient() -> Link {
    Link {
        connect_timeout: HANG,
        probe_timeout: HANG,
        ..Link::default()
    }
}

/// For tests that cut links: how long silence lasts until it counts as a loss. Shorter, a busy machine
/// would pass for a cut link.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);

pub(crate) fn alert() -> Link {
    Link {
        connect_timeout: SILENCE,
        probe_timeout: SILENCE,
        ..Link::default()
    }
}

/// What every test of clients runs against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Embedded,
    Etcd,
}

/// A store that listens on loopback.
pub(crate) enum Running {
    Embedded(Embedded),
    Etcd(Etcd),
}

impl Running {
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Embedded => Self::Embedded(Embedded::start().await),
            Kind::Etcd => Self::Etcd(Etcd::start().await),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Embedded(it) => it.address,
            Self::Etcd(it) => it.address,
        }
    }

    /// Where other members would find it.
    pub(crate) fn peer_url(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Etcd(it) => Some(format!("http://{}", it.peer)),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        client(self.address()).await
    }

    /// Starts again on the same address, and remembers nothing.
    pub(crate) async fn restart_empty(self) -> Self {
        match self {
            Self::Embedded(it) => Self::Embedded(it.restart().await),
            Self::Etcd(it) => Self::Etcd(it.restart_empty().await),
        }
    }
}

/// Our own server.
pub(crate) struct Embedded {
    pub(crate) address: SocketAddr,
    pub(crate) local: Local,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Embedded {
    pub(crate) async fn start() -> Self {
        // Where it may start again.
        Self::start_with(options(free_address())).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let server = Server::bind(options).await.unwrap();
        let (address, local) = (server.address(), server.local());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server.serve(shutdown).await.unwrap();
        });
        Self {
            address,
            local,
            stop,
            serving,
        }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(HANG, self.serving)
            .await
            .unwrap()
            .unwrap();
    }

    async fn restart(self) -> Self {
        let address = self.address;
        self.stop().await;
        Self::start_with(options(address)).await
    }
}

/// Debian's etcd, in a directory and on ports of its own.
pub(crate) struct Etcd {
    pub(crate) address: SocketAddr,
    peer: SocketAddr,
    child: Child,
    _data: TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With mutual TLS, as soon as it listens: `arguments` name the files.
    pub(crate) async fn start_secure(arguments: &[String]) -> Self {
        let etcd = Self::spawn(free_address(), free_address(), "https", arguments);
        eventually("etcd listens", async || {
            TcpStream::connect(etcd.address).await.is_ok()
        })
        .await;
        etcd
    }

    pub(crate) async fn start_with(arguments: &[String]) -> Self {
        Self::start_on(free_address(), free_address(), arguments).await
    }

    async fn start_on(address: SocketAddr, peer: SocketAddr, arguments: &[String]) -> Self {
        let etcd = Self::spawn(address, peer, "http", arguments);
        eventually("etcd answers", async || {
            let client = store(address).connect(&patient()).await;
            match client {
                Ok(mut client) => client.get("ready", None).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        etcd
    }

    fn spawn(address: SocketAddr, peer: SocketAddr, scheme: &str, arguments: &[String]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let child = Command::new("/usr/bin/etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args([
                "--name",
                "test",
                "--log-level",
                "error",
                "--unsafe-no-fsync",
            ])
            .arg(format!("--listen-client-urls={scheme}://{address}"))
            .arg(format!("--advertise-client-urls={scheme}://{address}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=test=http://{peer}"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's etcd-server package is needed");
        Self {
            address,
            peer,
            child,
            _data: data,
        }
    }

    async fn restart_empty(self) -> Self {
        let (address, peer) = (self.address, self.peer);
        drop(self);
        Self::start_on(address, peer, &[]).await
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forwards connections to a server, until it is told to be silent.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Wire {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, target, state.subscribe()));
            }
        });
        Self { address, open }
    }

    /// From now on nothing passes, and nobody is told: as a cable that was pulled.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn connect(near: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    // A connection that begins while the wire is cut hangs, until it is healed.
    open.wait_for(|it| *it).await.unwrap();
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, open.clone()) => (),
        () = pump(far_read, near_write, open) => (),
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0
            || open.wait_for(|it| *it).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}

pub(crate) fn options(listen: SocketAddr) -> Options {
    Options::new(listen, "test")
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(crate) fn store(address: SocketAddr) -> Store {
    let text = format!("endpoints: ['http://{address}']");
    Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap())
}

/// Debian's etcdctl, which waits longer than a busy machine takes.
///
/// Without TLS the endpoint has no scheme: given one, etcdctl 3.4 makes it part of HTTP/2's
/// `:authority` in `endpoint` and `defrag`, which HTTP libraries stricter than Go's refuse.
pub(crate) fn etcdctl(endpoint: impl Display) -> Command {
    let mut command = Command::new("/usr/bin/etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={endpoint}"))
        .args(["--dial-timeout=30s", "--command-timeout=30s"]);
    command
}

pub(crate) async fn client(address: SocketAddr) -> Client {
    store(address).connect(&patient()).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
