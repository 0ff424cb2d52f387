//! Owns the store at run time: serialises access, tells the time, and says when something changed.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use etcd_client::proto::PbResponseHeader;
use tokio::sync::watch;

use crate::mvcc::Store;

/// How late a lease may expire.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(200);

/// A cluster of one has had one election; some clients distrust term 0.
pub(super) const RAFT_TERM: u64 = 2;

/// The store behind one short lock.
///
/// A lock and not a task with a mailbox: every access is a brief computation that never waits, and
/// twenty kinds of request would each need a message and a way back.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) member: Member,
    store: Mutex<Store>,
    /// The store's revision; only ever rises.
    head: watch::Sender<i64>,
    stopping: watch::Sender<bool>,
}

/// Who answers. The ids are new at every start, because so is what the store holds.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) cluster_id: u64,
    pub(super) member_id: u64,
    pub(super) name: String,
    pub(super) client_url: String,
}

impl Database {
    /// Starts with an empty store. Leases expire as long as somebody holds the database.
    pub(super) fn start(name: String, client_url: String) -> Arc<Self> {
        let database = Arc::new(Self {
            member: Member {
                cluster_id: rand::random_range(1..=u64::MAX),
                member_id: rand::random_range(1..=u64::MAX),
                name,
                client_url,
            },
            store: Mutex::new(Store::default()),
            head: watch::Sender::new(Store::default().revision()),
            stopping: watch::Sender::new(false),
        });
        tokio::spawn(expire_leases(Arc::downgrade(&database)));
        database
    }

    /// Runs `action` alone on the store, and wakes watches if it changed something.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Store) -> T) -> T {
        // A panic inside an action is a bug in it, and no reason to lose what the store holds.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut store);
        let revision = store.revision();
        drop(store);

        self.head.send_if_modified(|head| {
            let risen = *head < revision;
            *head = revision.max(*head);
            risen
        });
        result
    }

    /// Ends all streams.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Wakes after every change.
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

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the server reads a clock"
    )]
    pub(super) fn now() -> Instant {
        Instant::now()
    }
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
