//! What a session asks of a store: lists, transactions, and what others do to its keys.

use std::collections::BTreeMap;
use std::pin::Pin;

use etcd_client::{Client, Event, GetOptions, PutOptions, Txn, TxnOp, WatchStream};
use tokio::time::Instant;

use super::super::plan::{Key, Operation};
use super::End;
use crate::follower::{MESSAGE_BYTES_MAX, Span};
use crate::measures::{Measures, Operation as Asked};
use crate::mvcc::BatchOperation;
use crate::server::Local;

/// Keys per page when looking at what is there.
const PAGE_KEYS: i64 = 4_096;

/// A transaction that the store has taken.
pub(super) struct Landed {
    pub(super) number: u64,
    pub(super) revision: i64,
}

pub(super) type Landing = Pin<Box<dyn Future<Output = Result<Landed, End>> + Send>>;

/// Sends a transaction to a store elsewhere.
pub(super) fn write(
    client: &Client,
    number: u64,
    operations: &[Operation],
    measures: &Measures,
) -> Landing {
    let requests: Vec<TxnOp> = operations.iter().map(request).collect();
    let mut kv = client.kv_client();
    let ongoing = measures.begin(Asked::Txn, keys(operations));
    Box::pin(async move {
        let asked = Instant::now();
        let response = kv.txn(Txn::new().and_then(requests)).await;
        ongoing.end(asked.elapsed(), response.is_ok());
        let revision = response?.header().map_or(0, |it| it.revision());
        Ok(Landed { number, revision })
    })
}

/// Writes to the store in this process, and returns the revision.
pub(super) async fn write_local(
    local: &Local,
    operations: Vec<Operation>,
    measures: &Measures,
) -> Result<i64, End> {
    let ongoing = measures.begin(Asked::Txn, keys(&operations));
    let asked = Instant::now();
    let written = local.write(operations.into_iter().map(Into::into).collect());
    let written = written.await;
    ongoing.end(asked.elapsed(), written.is_ok());
    written.map_err(|it| End::told(it.message()))
}

fn keys(operations: &[Operation]) -> impl Iterator<Item = &str> {
    operations.iter().map(|it| match it {
        Operation::Delete { key } | Operation::Put { key, .. } => &**key,
    })
}

/// Deletions under the owned prefixes, and any change of the owned keys; our own included.
pub(super) struct Meddling(pub(super) Option<WatchStream>);

impl Meddling {
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, End> {
        let Some(stream) = &mut self.0 else {
            return std::future::pending().await;
        };
        match stream.message().await? {
            Some(message) if message.canceled() => Err(End::told(format!(
                "the store canceled the watch: {}",
                message.cancel_reason()
            ))),
            Some(message) => Ok(message.events().to_vec()),
            None => Err(End::told("the store ended the watch")),
        }
    }
}

/// Adds the keys of `span` and their leases to `found`. The first page sets the revision for all.
pub(super) async fn list(
    client: &Client,
    span: &Span,
    revision: &mut i64,
    found: &mut BTreeMap<Key, i64>,
) -> Result<(), End> {
    let mut kv = client
        .kv_client()
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut start = span.start().to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(span.end())
            .with_limit(PAGE_KEYS)
            .with_revision(*revision)
            .with_keys_only();
        let page = kv.get(start, Some(options)).await?;
        if *revision == 0 {
            *revision = page.header().map_or(0, |it| it.revision());
        }
        for kv in page.kvs() {
            if let Ok(key) = kv.key_str() {
                found.insert(key.into(), kv.lease());
            }
        }
        let (true, Some(last)) = (page.more(), page.kvs().last()) else {
            return Ok(());
        };
        start = [last.key(), &[0]].concat();
    }
}

fn request(operation: &Operation) -> TxnOp {
    match operation {
        Operation::Delete { key } => TxnOp::delete(&**key, None),
        Operation::Put { key, value, lease } => {
            TxnOp::put(&**key, &**value, Some(PutOptions::new().with_lease(*lease)))
        }
    }
}

impl From<Operation> for BatchOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Delete { key } => Self::Delete { key: key.into() },
            Operation::Put { key, value, lease } => Self::Put {
                key: key.into(),
                value,
                lease,
            },
        }
    }
}
