//! The stores that a mirror reads: a process of its own, with any number of them, or an etcd.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use clustermesh_apiserver::users::Desired;
use clustermesh_apiserver::users::settle::settle;
use kvstore::administrator::Administrator;
use kvstore::server::{self, Server, ServerTls};
use kvstore::store::{Link, Store};
use tokio::task::JoinSet;

use crate::config::{Engine, SourceOptions};
use crate::deadline;
use crate::records::Cluster;
use crate::report::Process;
use crate::usage::Usage;
use crate::world::World;

/// A running source; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Source {
    child: Child,
    name: String,
    /// One for each store; the first is cluster 1's.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Source {
    /// Starts `stores` stores; an etcd is one.
    ///
    /// # Errors
    ///
    /// If they do not start.
    pub(crate) async fn start(world: &World, engine: Engine, stores: u32) -> Result<Self> {
        match engine {
            Engine::Embedded => Self::start_embedded(world, stores),
            Engine::Etcd => Self::start_etcd(world).await,
        }
    }

    pub(crate) fn process(&self, under_test: bool) -> Process {
        Process {
            name: self.name.clone(),
            under_test,
            usage: Usage::of(self.child.id()),
        }
    }

    fn start_embedded(world: &World, stores: u32) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["source", "--stores", &stores.to_string(), "--tls"])
            .arg(world.tls())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the source")?;
        let output = child.stdout.take().context("the source has no output")?;
        let lines = BufReader::new(output).lines().take(stores as usize);
        let addresses: Result<Vec<SocketAddr>> = lines.map(|it| Ok(it?.parse()?)).collect();
        Ok(Self {
            child,
            name: "source (ours)".to_owned(),
            addresses: addresses?,
        })
    }

    pub(crate) async fn start_etcd(world: &World) -> Result<Self> {
        let (address, peers) = (lab::free_address(), lab::free_address());
        let tls = world.tls();
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(world.path(&format!("etcd-{}", address.port())))
            .arg(format!("--listen-client-urls=https://{address}"))
            .arg(format!("--advertise-client-urls=https://{address}"))
            .arg(format!("--listen-peer-urls=http://{peers}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
            .arg(format!("--initial-cluster=default=http://{peers}"))
            .arg("--client-cert-auth")
            .arg(format!("--cert-file={}/server.crt", tls.display()))
            .arg(format!("--key-file={}/server.key", tls.display()))
            .arg(format!("--trusted-ca-file={}/ca.crt", tls.display()))
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start etcd; it is installed by the setup script")?;
        let source = Self {
            child,
            name: "etcd".to_owned(),
            addresses: vec![address],
        };
        deadline::until("etcd", async || Ok(world.client(address).await.is_ok())).await?;
        Ok(source)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Serves stores until stdin ends, and says where they are.
///
/// # Errors
///
/// If one cannot be served.
pub(crate) async fn serve(options: SourceOptions) -> Result<()> {
    let mut serving = JoinSet::new();
    for number in 1..=options.stores {
        let server = Server::bind(server_options(&options.tls, number)).await?;
        set_up_users(&server, &Cluster::numbered(number)).await?;
        writeln!(std::io::stdout(), "{}", server.address())?;
        serving.spawn(server.serve(std::future::pending()));
    }
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}

fn server_options(tls: &Path, number: u32) -> server::Options {
    let cluster = Cluster::numbered(number);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    server::Options {
        tls: Some(ServerTls {
            cert: tls.join("server.crt"),
            key: tls.join("server.key"),
            client_ca: tls.join("ca.crt"),
        }),
        ..server::Options::new(listen, cluster.name.to_string())
    }
}

/// Only what a cluster's peers may read, as in production: a mirror that may not read everything has
/// to read part by part.
async fn set_up_users(server: &Server, cluster: &Cluster) -> Result<()> {
    let store = Store::Local(server.local());
    let administrator = Administrator::connect(&store, &Link::default()).await?;
    let desired = Desired::new(&cluster.name, [], &[], true);
    settle(&administrator, &desired, &BTreeSet::new()).await?;
    Ok(())
}
