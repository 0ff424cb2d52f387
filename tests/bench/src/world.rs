//! What a measurement stands on: a directory, certificates, and clients that hold them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use etcd_client::{Client, Error, GetOptions, Txn, TxnOp};
use kvstore::config::EtcdConfig;
use kvstore::store::{Link, Store};
use lab::Authority;
use tempfile::TempDir;

use crate::records::Cluster;

/// Everything that one row needs, and that goes with it.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
}

/// The operations of a transaction that every etcd takes.
pub(crate) const TXN_OPERATIONS: usize = 128;

impl World {
    /// Makes a directory with an authority and the certificates of `server`, `root` and `remote`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(crate) fn new() -> Result<Self> {
        let world = Self {
            directory: tempfile::tempdir().context("cannot make a directory")?,
        };
        let tls = world.tls();
        let authority = Authority::new()?;
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        authority.server("bench", loopback)?.write(&tls, "server")?;
        for user in ["root", "remote"] {
            authority.client(user)?.write(&tls, user)?;
        }
        authority.write(&tls.join("ca.crt"))?;
        Ok(world)
    }

    /// Where the certificates are.
    pub(crate) fn tls(&self) -> PathBuf {
        self.path("tls")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How `user` reaches the store at `address`, as an etcd client's configuration file.
    pub(crate) fn etcd_yaml(&self, address: SocketAddr, user: &str) -> String {
        let tls = self.tls();
        let tls = tls.display();
        format!(
            "endpoints:\n- https://{address}\ntrusted-ca-file: {tls}/ca.crt\ncert-file: {tls}/{user}.crt\nkey-file: {tls}/{user}.key\n"
        )
    }

    /// A client that may do everything.
    ///
    /// # Errors
    ///
    /// If the store at `address` does not answer.
    pub(crate) async fn client(&self, address: SocketAddr) -> Result<Client> {
        let config = EtcdConfig::parse(&self.etcd_yaml(address, "root"), Path::new("root"))?;
        let client = Store::Etcd(config).connect(&Link::default()).await;
        client.map_err(|loss| anyhow!(loss.reason))
    }

    /// Writes all records of a cluster into the store at `address`.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub(crate) async fn fill(
        &self,
        address: SocketAddr,
        cluster: &Cluster,
        size: crate::records::Size,
    ) -> Result<()> {
        let mut client = self.client(address).await?;
        let mut records = cluster.records(size);
        loop {
            let puts = records.by_ref().take(TXN_OPERATIONS);
            let puts: Vec<TxnOp> = puts
                .map(|(key, value)| TxnOp::put(key, value, None))
                .collect();
            if puts.is_empty() {
                return Ok(());
            }
            client.txn(Txn::new().and_then(puts)).await?;
        }
    }
}

/// How many keys of a store begin with `prefix`.
///
/// # Errors
///
/// If the store refuses.
pub(crate) async fn count(client: &mut Client, prefix: &str) -> Result<i64> {
    let options = GetOptions::new().with_prefix().with_count_only();
    loop {
        match client.get(prefix, Some(options.clone())).await {
            Ok(found) => return Ok(found.count()),
            // While users are made, etcd refuses who asked before and is answered after.
            Err(Error::GRpcStatus(status)) if status.message() == USERS_CHANGED => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How etcd says that users or roles changed while it answered; asking again is the remedy.
const USERS_CHANGED: &str = "etcdserver: revision of auth store is old";
