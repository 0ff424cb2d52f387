//! Keys that stand in a queue: whose key is the oldest has the lock, or leads.
//!
//! The same keys and transactions with which clients of etcd do it themselves, so that both exclude
//! each other. Every step is a request of the caller's, and passes the same gate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbKeyValue, PbKvService as _, PbLeaseGrantRequest,
    PbLeaseService as _, PbPutRequest, PbRangeRequest, PbRangeResponse, PbResponseHeader,
    PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use super::database::Database;
use super::kv::Kv;
use super::lease::Lease;
use super::status::stopped;
use crate::mvcc::{EventFilter, KeyRange, end_of_prefix};

/// A caller without a lease gets one that nobody renews once the call is over.
const LEASE_SECONDS: i64 = 60;

/// How often a caller's lease is renewed while it waits: etcd's shortest lease lasts two seconds.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(600);

#[derive(Clone)]
pub(super) struct Queue {
    pub(super) database: Arc<Database>,
    pub(super) kv: Arc<Kv>,
    pub(super) lease: Arc<Lease>,
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller {
    metadata: MetadataMap,
    extensions: Extensions,
}

/// A place in a queue.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) key: Vec<u8>,
    pub(super) lease: i64,
    /// At which the key was created: the queue is in this order.
    pub(super) revision: i64,
    prefix: Vec<u8>,
}

/// Gives the turn up if nobody waits for it any more.
struct Abandon {
    queue: Queue,
    caller: Caller,
    turn: Option<Turn>,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Self {
            metadata: request.metadata().clone(),
            extensions: request.extensions().clone(),
        }
    }

    fn asks<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }
}

impl Queue {
    /// Waits until it is the caller's turn. The same lease twice is the same place. `value` becomes
    /// the key's.
    pub(super) async fn enter(
        &self,
        caller: &Caller,
        name: &[u8],
        lease: i64,
        value: &[u8],
    ) -> Result<(Turn, Option<PbResponseHeader>), Status> {
        let turn = self.join(caller, name, lease, value).await?;
        let mut abandon = Abandon {
            queue: self.clone(),
            caller: caller.clone(),
            turn: Some(turn.clone()),
        };
        let header = self.wait(caller, &turn).await?;
        abandon.turn = None;
        Ok((turn, header))
    }

    /// Changes what the turn's key says, or ends the turn; `None` if it is over already.
    pub(super) async fn act(
        &self,
        caller: &Caller,
        key: &[u8],
        revision: i64,
        action: PbTxnOpRequest,
    ) -> Result<Option<PbTxnResponse>, Status> {
        let request = PbTxnRequest {
            compare: vec![created_at(key, revision)],
            success: vec![operation(action)],
            failure: Vec::new(),
        };
        let response = self.kv.txn(caller.asks(request)).await?.into_inner();
        Ok(response.succeeded.then_some(response))
    }

    pub(super) async fn delete(
        &self,
        caller: &Caller,
        key: &[u8],
    ) -> Result<Option<PbResponseHeader>, Status> {
        let request = PbDeleteRequest {
            key: key.to_vec(),
            ..PbDeleteRequest::default()
        };
        let response = self.kv.delete_range(caller.asks(request)).await?;
        Ok(response.into_inner().header)
    }

    /// The oldest key of a queue at `revision`; 0 is now.
    pub(super) async fn first(
        &self,
        caller: &Caller,
        name: &[u8],
        revision: i64,
    ) -> Result<PbRangeResponse, Status> {
        let request = PbRangeRequest {
            limit: 1,
            revision,
            sort_order: SORT_ASCENDING,
            sort_target: TARGET_CREATE,
            ..below(&prefix(name))
        };
        Ok(self.kv.range(caller.asks(request)).await?.into_inner())
    }

    /// The revisions from `from` on in which the queue changed, and from where to ask on: not further
    /// than one step. `None` if history does not reach back so far.
    pub(super) fn revisions(&self, name: &[u8], from: i64) -> Option<(VecDeque<i64>, i64)> {
        let PbRangeRequest { key, range_end, .. } = below(&prefix(name));
        let filter = EventFilter {
            range: KeyRange::of_request(&key, &range_end),
            deletes: true,
            prev_kv: false,
            puts: true,
        };
        self.database.with_head(|store, head| {
            let through = store.horizon(from).min(head);
            let batch = store.events(&filter, from, through).ok()?;
            let kvs = batch.events.into_iter().filter_map(|it| it.kv);
            let mut revisions: Vec<i64> = kvs.map(|it| it.mod_revision).collect();
            revisions.dedup();
            Some((revisions.into(), from.max(through + 1)))
        })
    }

    /// Wakes after every change of the store, until the server stops.
    pub(super) async fn changed(&self, changes: &mut watch::Receiver<i64>) -> Result<(), Status> {
        tokio::select! {
            Ok(()) = changes.changed() => Ok(()),
            () = self.database.stopped() => Err(stopped()),
        }
    }

    async fn join(
        &self,
        caller: &Caller,
        name: &[u8],
        lease: i64,
        value: &[u8],
    ) -> Result<Turn, Status> {
        let lease = if lease == 0 {
            let request = PbLeaseGrantRequest {
                ttl: LEASE_SECONDS,
                id: 0,
            };
            let granted = self.lease.lease_grant(caller.asks(request)).await?;
            granted.into_inner().id
        } else {
            lease
        };
        let prefix = prefix(name);
        let key = [&prefix, format!("{lease:x}").as_bytes()].concat();
        let put = PbPutRequest {
            key: key.clone(),
            value: value.to_vec(),
            lease,
            ..PbPutRequest::default()
        };
        let request = PbTxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![operation(PbTxnOpRequest::RequestPut(put.clone()))],
            failure: vec![operation(PbTxnOpRequest::RequestRange(only(&key)))],
        };
        let response = self.kv.txn(caller.asks(request)).await?.into_inner();
        let existing = existing(&response);
        let revision = match existing {
            Some(kv) => kv.create_revision,
            None => response.header.as_ref().map_or(0, |it| it.revision),
        };
        if existing.is_some_and(|it| it.value != value) {
            let put = PbTxnOpRequest::RequestPut(put);
            self.act(caller, &key, revision, put).await?;
        }
        Ok(Turn {
            key,
            lease,
            revision,
            prefix,
        })
    }

    async fn wait(&self, caller: &Caller, turn: &Turn) -> Result<Option<PbResponseHeader>, Status> {
        let mut changes = self.database.changes();
        let mut renewals = tokio::time::interval(RENEWAL_INTERVAL);
        while let Some(predecessor) = self.predecessor(caller, turn).await? {
            while self.exists(caller, &predecessor).await? {
                tokio::select! {
                    changed = self.changed(&mut changes) => changed?,
                    _ = renewals.tick() => {
                        let now = Database::now();
                        self.database.with(|store| store.lease_keep_alive(turn.lease, now));
                    }
                }
            }
        }

        let own = self.kv.range(caller.asks(only(&turn.key))).await?;
        let own = own.into_inner();
        match own.kvs.first() {
            Some(kv) if kv.create_revision == turn.revision => Ok(own.header),
            Some(_) | None => Err(Status::unknown("mutex: session is expired")),
        }
    }

    /// The youngest key that is older than the turn's.
    async fn predecessor(
        &self,
        caller: &Caller,
        turn: &Turn,
    ) -> Result<Option<PbKeyValue>, Status> {
        let request = PbRangeRequest {
            limit: 1,
            max_create_revision: turn.revision - 1,
            sort_order: SORT_DESCENDING,
            sort_target: TARGET_CREATE,
            ..below(&turn.prefix)
        };
        let response = self.kv.range(caller.asks(request)).await?;
        Ok(response.into_inner().kvs.pop())
    }

    async fn exists(&self, caller: &Caller, former: &PbKeyValue) -> Result<bool, Status> {
        let response = self.kv.range(caller.asks(only(&former.key))).await?;
        let mut kvs = response.into_inner().kvs.into_iter();
        Ok(kvs.any(|it| it.create_revision == former.create_revision))
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            let (queue, caller) = (self.queue.clone(), self.caller.clone());
            tokio::spawn(async move {
                // The lease takes the key along if this fails.
                let _ = queue.delete(&caller, &turn.key).await;
            });
        }
    }
}

fn existing(response: &PbTxnResponse) -> Option<&PbKeyValue> {
    match response.responses.first()?.response.as_ref()? {
        PbTxnOpResponse::ResponseRange(range) => range.kvs.first(),
        PbTxnOpResponse::ResponsePut(_)
        | PbTxnOpResponse::ResponseDeleteRange(_)
        | PbTxnOpResponse::ResponseTxn(_) => None,
    }
}

/// Revision 0 means that there is no such key.
fn created_at(key: &[u8], revision: i64) -> PbCompare {
    PbCompare {
        target: COMPARE_CREATE,
        key: key.to_vec(),
        target_union: Some(PbTargetUnion::CreateRevision(revision)),
        ..PbCompare::default()
    }
}

fn operation(request: PbTxnOpRequest) -> PbTxnRequestOp {
    PbTxnRequestOp {
        request: Some(request),
    }
}

fn only(key: &[u8]) -> PbRangeRequest {
    PbRangeRequest {
        key: key.to_vec(),
        ..PbRangeRequest::default()
    }
}

fn below(prefix: &[u8]) -> PbRangeRequest {
    PbRangeRequest {
        key: prefix.to_vec(),
        range_end: end_of_prefix(prefix).unwrap_or_else(|| vec![0]),
        ..PbRangeRequest::default()
    }
}

fn prefix(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

const SORT_ASCENDING: i32 = 1;
const SORT_DESCENDING: i32 = 2;
const TARGET_CREATE: i32 = 2;
const COMPARE_CREATE: i32 = 1;
