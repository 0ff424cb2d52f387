//! The store as a whole, and what its tests share.

use std::time::Instant;

use etcd_client::proto::{
    PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequestOp,
};
use proptest::prelude::*;

mod history;
mod laws;
mod leases;
mod revisions;
mod transactions;

#[derive(Clone, Debug)]
pub(super) enum Command {
    /// To so many revisions before the newest.
    Compact(i64),
    Delete(PbDeleteRequest),
    Put(PbPutRequest),
    PutMany(Vec<PbPutRequest>),
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let many = prop::collection::btree_map("[a-d]{1,2}", "[xy]", 1..5);
    prop_oneof![
        1 => (1..4_i64).prop_map(Command::Compact),
        3 => ("[a-d]{1,2}", "([a-d]|\0)?").prop_map(|(key, end)| Command::Delete(delete(&key, &end))),
        6 => put_request().prop_map(Command::Put),
        2 => many.prop_map(|it| Command::PutMany(it.iter().map(|(key, value)| put(key, value)).collect())),
    ]
}

fn put_request() -> impl Strategy<Value = PbPutRequest> {
    ("[a-d]{1,2}", "[xy]").prop_map(|(key, value)| put(&key, &value))
}

pub(super) fn operation(request: PbTxnOpRequest) -> PbTxnRequestOp {
    PbTxnRequestOp {
        request: Some(request),
    }
}

pub(super) fn put(key: &str, value: &str) -> PbPutRequest {
    PbPutRequest {
        key: key.into(),
        value: value.into(),
        ..PbPutRequest::default()
    }
}

pub(super) fn delete(key: &str, range_end: &str) -> PbDeleteRequest {
    PbDeleteRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..PbDeleteRequest::default()
    }
}

pub(super) fn range(key: &str, range_end: &str) -> PbRangeRequest {
    PbRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..PbRangeRequest::default()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
