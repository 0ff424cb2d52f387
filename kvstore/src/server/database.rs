//! Owns the store at run time: serialises access, tells the time, and says when something changed.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use etcd_client::proto::PbResponseHeader;
use tokio::sync::{oneshot, watch};

use super::committer::Committer;
use super::compaction::{self, Compaction};
use super::shared::{Settled, Shared};
use crate::mvcc::{Image, QUOTA_BYTES_DEFAULT, Store};
use crate::storage::{Identity, Storage, StorageError, read_snapshot};

/// How late a lease may expire.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(200);

/// A cluster of one has had one election; some clients distrust term 0.
pub(super) const RAFT_TERM: u64 = 2;

/// Where a store's data are, and how much they may be.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Without one, data live in memory and end with the process.
    pub data_dir: Option<std::path::PathBuf>,
    /// A snapshot to begin with, where there is no store yet.
    pub snapshot: Option<std::path::PathBuf>,
    /// Above it, writes are refused and the NOSPACE alarm is raised.
    pub quota_bytes: u64,
    pub compaction: Compaction,
}

/// The store behind one short lock.
///
/// A lock and not a task with a mailbox: every access is a brief computation that never waits, and
/// twenty kinds of request would each need a message and a way back. With a data directory a change
/// is in memory at once, and settled when it is on disk too: whoever answers a client waits for
/// [`settled`](Self::settled) first, and watches see what is settled only.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) member: Member,
    shared: Arc<Shared>,
    /// The settled revision; only ever rises.
    head: watch::Sender<i64>,
    stopping: watch::Sender<bool>,
    data_dir: Option<std::path::PathBuf>,
    committer: Option<Committer>,
}

/// Who answers. Without a data directory the ids are new at every start, because so is what the store
/// holds.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    pub(super) name: String,
    pub(super) client_url: String,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            snapshot: None,
            quota_bytes: QUOTA_BYTES_DEFAULT,
            compaction: Compaction::default(),
        }
    }
}

impl Database {
    /// Starts with what the data directory holds, or else with the snapshot, or else empty. Leases
    /// expire and history is compacted as long as somebody holds the database.
    pub(super) fn start(
        name: String,
        client_url: String,
        options: StorageOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let snapshot = options.snapshot;
        let first = || match &snapshot {
            Some(path) => read_snapshot(path),
            None => Ok(Store::default().image()),
        };
        let (storage, identity, image) = match &options.data_dir {
            Some(directory) => {
                let (storage, identity, image) = Storage::open(directory, first)?;
                (Some(storage), identity, image)
            }
            None => (None, Identity::random(), first()?),
        };
        let source = options.data_dir.as_ref().or(snapshot.as_ref());
        let mut store = restore(image).map_err(|problem| StorageError {
            path: source.cloned().unwrap_or_default(),
            problem,
        })?;
        store.set_quota_bytes(options.quota_bytes);

        let head = watch::Sender::new(store.revision());
        let is_durable = storage.is_some();
        let shared = Arc::new(Shared::new(store, is_durable));
        let committer = storage.map(|it| Committer::start(it, Arc::clone(&shared), head.clone()));
        let database = Arc::new(Self {
            member: Member {
                cluster_id: identity.cluster_id,
                member_id: identity.member_id,
                name,
                client_url,
            },
            shared,
            head,
            stopping: watch::Sender::new(false),
            data_dir: options.data_dir,
            committer,
        });
        tokio::spawn(expire_leases(Arc::downgrade(&database)));
        tokio::spawn(compaction::run(
            Arc::downgrade(&database),
            options.compaction,
        ));
        Ok(database)
    }

    /// Runs `action` alone on the store, and wakes watches if it changed something.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        let (result, revision) = self.shared.with(|store| (action(store), store.revision()));
        if self.committer.is_none() {
            self.head.send_if_modified(|head| {
                let risen = *head < revision;
                *head = revision.max(*head);
                risen
            });
        }
        result
    }

    /// Runs `action` on the store with the newest revision that watches may see.
    pub(super) fn with_head<T>(&self, action: impl FnOnce(&Store, i64) -> T) -> T {
        let settled = self.committer.is_some().then(|| *self.head.borrow());
        self.shared
            .with(|store| action(store, settled.unwrap_or_else(|| store.revision())))
    }

    /// Whether answers must wait for [`settled`](Self::settled).
    pub(super) fn is_durable(&self) -> bool {
        self.committer.is_some()
    }

    /// Waits until what changed so far is as durable as the store promises. An error means that the
    /// disk failed and nothing can be answered any more.
    pub(super) async fn settled(&self) -> Result<(), StorageError> {
        self.shared.settled().await
    }

    /// Waits while too much is on its way to the disk.
    pub(super) async fn admitted(&self) {
        self.shared.admitted().await;
    }

    /// Completes if the disk fails.
    pub(super) fn failed(&self) -> impl Future<Output = StorageError> + Send + use<> {
        let mut settled = self.shared.subscribe();
        async move {
            let failure = settled.wait_for(|it| it.failure.is_some()).await;
            let failure = failure
                .ok()
                .and_then(|it: watch::Ref<'_, Settled>| it.failure.clone());
            match failure {
                Some(failure) => failure,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives space on disk back.
    pub(super) async fn defragment(&self) {
        if self.is_durable() {
            let (done, wait) = oneshot::channel();
            self.shared.ask_for_defragmentation(done);
            // An error means that the disk failed, which is told elsewhere.
            let _ = wait.await;
        }
    }

    /// What the store takes on disk, or in memory if it has no disk.
    pub(super) fn size_bytes(&self) -> u64 {
        let on_disk = self.data_dir.as_deref().and_then(Storage::file_bytes);
        on_disk.unwrap_or_else(|| self.shared.with(|store| store.held_bytes()))
    }

    /// Ends all streams.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Wakes after every change that watches may see.
    pub(super) fn changes(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Completes when streams must end.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error means that the database is gone, which is an end too.
            let _ = stopping.wait_for(|it| *it).await;
        }
    }

    pub(super) fn header(&self, revision: i64) -> Option<PbResponseHeader> {
        let mut header = Some(PbResponseHeader {
            revision,
            ..PbResponseHeader::default()
        });
        self.sign(&mut header);
        header
    }

    /// Adds who answers to a header that has the revision.
    pub(super) fn sign(&self, header: &mut Option<PbResponseHeader>) {
        if let Some(header) = header {
            header.cluster_id = self.member.cluster_id;
            header.member_id = self.member.member_id;
            header.raft_term = RAFT_TERM;
        }
    }

    /// The one place where the server reads a clock: the runtime's, by which it also sleeps.
    pub(super) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

fn restore(image: Image) -> Result<Store, String> {
    Store::from_image(image, Database::now()).map_err(|contradiction| {
        format!(
            "the data contradict themselves: {contradiction}; begin with an empty directory or \
             another snapshot"
        )
    })
}

async fn expire_leases(database: Weak<Database>) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        ticks.tick().await;
        let Some(database) = database.upgrade() else {
            return;
        };
        let expired = database.with(|store| store.expire(Database::now()));
        if 0 < expired {
            tracing::info!(leases = expired, "leases expired");
        }
    }
}
