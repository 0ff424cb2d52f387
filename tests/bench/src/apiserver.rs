//! The program under test: its directories, its process, and its store.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use etcd_client::Client;

use crate::config::{Engine, Options};
use crate::deadline;
use crate::records::Cluster;
use crate::report::Process;
use crate::source::Source;
use crate::usage::Usage;
use crate::world::World;

/// An API server; dropping it kills it, and the etcd beside it.
#[derive(Debug)]
pub(crate) struct Apiserver<'a> {
    world: &'a World,
    program: PathBuf,
    cluster: Cluster,
    etcd: Option<Source>,
    /// Where its store is reached.
    pub(crate) store: SocketAddr,
    child: Option<Child>,
}

impl<'a> Apiserver<'a> {
    /// Prepares the API server of `cluster`, without peers and objects.
    ///
    /// # Errors
    ///
    /// If its directories cannot be made, or the etcd that was asked for does not start.
    pub(crate) async fn new(world: &'a World, options: &Options, cluster: Cluster) -> Result<Self> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => lab::binaries::find("clustermesh-apiserver")?,
        };
        let etcd = match options.store {
            Engine::Embedded => None,
            Engine::Etcd => Some(Source::start_etcd(world).await?),
        };
        let store = match &etcd {
            Some(etcd) => etcd.addresses[0],
            None => lab::free_address(),
        };
        let apiserver = Self {
            world,
            program,
            cluster,
            etcd,
            store,
            child: None,
        };
        for directory in [apiserver.objects(), apiserver.mesh()] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        fs::write(apiserver.path("etcd.yaml"), world.etcd_yaml(store, "root"))?;
        Ok(apiserver)
    }

    /// Where its manifests are.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path("objects")
    }

    /// Makes it mirror `cluster`, whose store is at `address`.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be written.
    pub(crate) fn mirror(&self, cluster: &Cluster, address: SocketAddr) -> Result<()> {
        let text = self.world.etcd_yaml(address, "remote");
        let file = self.mesh().join(cluster.name.as_str());
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Starts the process; whether it serves is seen at its store.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(&mut self) -> Result<()> {
        let tls = self.world.tls();
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--cluster-name={}", self.cluster.name))
            .arg(format!("--cluster-id={}", self.cluster.id))
            .arg("--admin=127.0.0.1:0")
            .arg("--log=error")
            .arg("--objects")
            .arg(self.objects())
            .arg("--clustermesh-config")
            .arg(self.mesh());
        match self.etcd {
            Some(_) => command.arg("--etcd-config").arg(self.path("etcd.yaml")),
            None => command
                .arg(format!("--listen={}", self.store))
                .arg("--tls-cert")
                .arg(tls.join("server.crt"))
                .arg("--tls-key")
                .arg(tls.join("server.key"))
                .arg("--client-ca")
                .arg(tls.join("ca.crt")),
        };
        self.child = Some(
            command
                .spawn()
                .context("cannot start the program under test")?,
        );
        Ok(())
    }

    /// A client of its store that may do everything, as soon as the store is there.
    ///
    /// # Errors
    ///
    /// If the process ends before.
    pub(crate) async fn client(&mut self) -> Result<Client> {
        let mut client = None;
        deadline::until("the store of the program under test", async || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                anyhow::bail!("the program under test ended: {status}");
            }
            client = self.world.client(self.store).await.ok();
            Ok(client.is_some())
        })
        .await?;
        client.context("there is one")
    }

    /// What it has used, and the etcd beside it.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let own = self.child.iter().map(|child| Process {
            name: format!("apiserver {}", self.cluster.name),
            under_test: true,
            usage: Usage::of(child.id()),
        });
        let etcd = self.etcd.iter().map(|it| it.process(true));
        own.chain(etcd).collect()
    }

    /// CPU seconds of it and the etcd beside it.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.processes().iter().map(|it| it.usage.cpu_seconds).sum()
    }

    fn mesh(&self) -> PathBuf {
        self.path("mesh")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(self.cluster.name.as_str()).join(name)
    }
}

impl Drop for Apiserver<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _dead = child.kill();
            let _waited = child.wait();
        }
    }
}
