//! Keeps the users and roles of a store as they should be: the embedded one's and an external etcd's
//! alike, through the same API.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kvstore::administrator::Administrator;
use kvstore::store::{Link, Store};
use kvstore::tls;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use topology::id::ClusterName;
use tracing::{info, warn};

use super::file::UsersFile;
use super::plan::{Actual, is_relevant, plan};
use super::{Desired, peers};
use crate::directory::{self, Listing};
use crate::remote_file::RemoteFile;

/// How soon a store that refuses or does not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often somebody else's changes are looked for.
const CHECK_INTERVAL: Duration = Duration::from_secs(300);

/// Bounds one attempt, so that a store that hangs is noticed. A mesh of 511 takes some thousand calls.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Nothing is noticed late because of it, and a login by password takes a while on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that decides about users and roles.
#[derive(Debug)]
pub struct Keeper {
    pub own: ClusterName,
    pub store: Store,
    /// Whether clients of the store show certificates; an external etcd is looked at.
    pub certificates: bool,
    pub remotes: watch::Receiver<Listing<RemoteFile>>,
    pub file: watch::Receiver<Listing<UsersFile>>,
}

/// Watches the file of further users; without one there are none, for ever.
pub fn watch_file(file: Option<&Path>) -> anyhow::Result<watch::Receiver<Listing<UsersFile>>> {
    let Some(file) = file else {
        return Ok(directory::nothing());
    };
    let name = file.file_name().and_then(|it| it.to_str());
    let (Some(name), true) = (name.map(str::to_owned), file.is_file()) else {
        bail!(
            "--users-file {} must name a file that exists",
            file.display()
        );
    };
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    let path = PathBuf::from(file);
    let read = move |found: &str, text: Result<&str, String>, _: Option<&UsersFile>| {
        if found == name {
            UsersFile::read(&path, text)
        } else {
            UsersFile::Other
        }
    };
    directory::watch(parent.unwrap_or_else(|| Path::new(".")), |_| true, read)
        .context("--users-file must be in a directory that can be read")
}

impl Keeper {
    /// Runs until it is dropped. `settled` is told when users and roles are as they should be for the
    /// first time.
    pub async fn run(mut self, settled: oneshot::Sender<()>) -> ! {
        let mut settled = Some(settled);
        let mut told = Told::default();
        let mut entries = Vec::new();
        let mut dropped = BTreeSet::new();
        loop {
            // A file that is broken or gone takes nothing back.
            for file in self.file.borrow_and_update().files.values() {
                if let UsersFile::Good(said) = &**file {
                    entries.clone_from(said);
                }
            }
            let peers = peers(&self.own, &self.remotes.borrow_and_update());
            let mut desired = Desired::new(&self.own, &peers, &entries, self.certificates);

            self.decide_on_authentication(&mut desired);
            let outcome = self.attempt(&desired, &dropped).await;
            told.tell(&outcome, desired.enabled);
            let pause = if outcome.is_ok() {
                // Nobody waits any more when the process ends already.
                let _ = settled.take().map(|it| it.send(()));
                dropped.clear();
                CHECK_INTERVAL
            } else {
                RETRY_INTERVAL
            };
            dropped.extend(desired.users.into_keys());
            tokio::select! {
                Ok(()) = self.remotes.changed() => (),
                Ok(()) = self.file.changed() => (),
                () = tokio::time::sleep(pause) => (),
            }
        }
    }

    /// Brings the store to what is desired, and counts what had to change.
    async fn attempt(
        &self,
        desired: &Desired,
        dropped: &BTreeSet<String>,
    ) -> anyhow::Result<usize> {
        let attempt = async {
            let link = Link {
                connect_timeout: CONNECT_TIMEOUT,
                ..Link::default()
            };
            let store = Administrator::connect(&self.store, &link).await?;
            settle(&store, desired, dropped).await
        };
        timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .context("the store does not answer in time")?
    }

    /// An external etcd must go on knowing us as an administrator once it asks who we are.
    fn decide_on_authentication(&self, desired: &mut Desired) {
        let Store::Etcd(config) = &self.store else {
            return;
        };
        let user = match (&config.user, &config.client_certificate) {
            (Some(user), _) => Some(user.name.clone()),
            (None, Some(certificate)) => {
                let pem = std::fs::read(&certificate.cert_file).unwrap_or_default();
                tls::user_of_certificate(&pem)
            }
            (None, None) => None,
        };
        desired.enabled = user
            .as_deref()
            .is_some_and(|it| desired.is_administrator(it));
    }
}

/// What an operator was told last, so that nothing is said twice in a row.
#[derive(Debug, Default)]
struct Told {
    all_well: bool,
    unguarded: bool,
}

impl Told {
    fn tell(&mut self, outcome: &anyhow::Result<usize>, enabled: bool) {
        match outcome {
            Ok(0) if self.all_well => (),
            Ok(0) => info!("users and roles are as they should be"),
            Ok(changes) => info!(changes, "users and roles are set up"),
            Err(error) => warn!("users and roles cannot be set up: {error:#}"),
        }
        self.all_well = outcome.as_ref().is_ok_and(|it| *it == 0);
        if !enabled && !self.unguarded {
            warn!(
                "whether the store asks its clients who they are is left as it is: that needs \
                 --tls-cert, or in --etcd-config the certificate or the user of an administrator"
            );
        }
        self.unguarded = !enabled;
    }
}

/// Reads what the store has, and carries out what is missing. Returns how many changes that took.
pub async fn settle(
    store: &Administrator,
    desired: &Desired,
    dropped: &BTreeSet<String>,
) -> anyhow::Result<usize> {
    let actual = read(store, desired, dropped).await?;
    let commands = plan(desired, &actual, dropped);
    let changes = commands.len();
    for command in commands {
        let shown = format!("{command:?}");
        let outcome = store.command(command).await;
        outcome.with_context(|| format!("the store refuses {shown}"))?;
    }
    Ok(changes)
}

async fn read(
    store: &Administrator,
    desired: &Desired,
    dropped: &BTreeSet<String>,
) -> anyhow::Result<Actual> {
    let mut actual = Actual {
        enabled: store.is_enabled().await?,
        ..Actual::default()
    };
    for user in store.users().await.context("cannot list the users")? {
        if is_relevant(&user, desired, dropped) {
            let roles = store.user(&user).await?;
            actual.users.insert(user, roles);
        }
    }
    for role in store.roles().await.context("cannot list the roles")? {
        if is_relevant(&role, desired, dropped) {
            let permissions = store.role(&role).await?;
            actual.roles.insert(role, permissions);
        }
    }
    Ok(actual)
}
