//! What a session asks of a store: lists, transactions, and what others do to its keys.

use std::collections::BTreeMap;
use std::pin::Pin;

use etcd_client::{Client, Event, GetOptions, PutOptions, Txn, TxnOp, WatchStream};

use super::super::plan::{Key, Operation};
use super::End;
use crate::follower::{MESSAGE_BYTES_MAX, Span};
use crate::mvcc::BatchOperation;

/// Keys per page when looking at what is there.
const PAGE_KEYS: i64 = 4_096;

/// A transaction that the store has taken.
pub(super) struct Landed {
    pub(super) number: u64,
    pub(super) revision: i64,
}

pub(super) type Landing = Pin<Box<dyn Future<Output = Result<Landed, End>> + Send>>;

/// Sends a transaction to a store elsewhere.
pub(super) fn write(client: &Client, number: u64, operations: &[Operation]) -> Landing {
    let requests: Vec<TxnOp> = operations.iter().map(request).collect();
    let mut kv = client.kv_client();
    Box::pin(async move {
        let response = kv.txn(Txn::new().and_then(requests)).await?;
        let revision = response.header().map_or(0, |it| it.revision());
        Ok(Landed { number, revision })
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
            Some(message) if message.canceled() => Err(End::Lost(format!(
                "the store canceled the watch: {}",
                message.cancel_reason()
            ))),
            Some(message) => Ok(message.events().to_vec()),
            None => Err(End::Lost("the store ended the watch".into())),
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
