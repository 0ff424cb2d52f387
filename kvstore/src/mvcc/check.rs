//! Decides whether a request makes sense at all, whatever the store holds.

use std::collections::BTreeSet;

use etcd_client::proto::{
    PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
};
use prost::Message as _;

use super::key_range::KeyRange;
use super::refusal::Refusal;

/// etcd's default bound on a request that writes.
pub const REQUEST_BYTES_MAX: usize = 3 << 19;

/// etcd's default bound on compares, and on operations of each branch.
pub const TXN_OPERATIONS_MAX: usize = 128;

/// Nested transactions deeper than this are refused: recursion needs a bound, and nobody nests more.
const TXN_DEPTH_MAX: usize = 16;

pub(super) fn range(request: &PbRangeRequest) -> Result<(), Refusal> {
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Refusal::InvalidSortOption);
    }
    key(&request.key)
}

pub(super) fn put(request: &PbPutRequest) -> Result<(), Refusal> {
    put_fields(request)?;
    size(request.encoded_len())
}

pub(super) fn delete(request: &PbDeleteRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    size(request.encoded_len())
}

pub(super) fn txn(request: &PbTxnRequest) -> Result<(), Refusal> {
    txn_fields(request, TXN_DEPTH_MAX)?;
    writes(&request.success)?;
    writes(&request.failure)?;
    size(request.encoded_len())
}

fn put_fields(request: &PbPutRequest) -> Result<(), Refusal> {
    key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

fn txn_fields(request: &PbTxnRequest, depth_left: usize) -> Result<(), Refusal> {
    let lists = [
        request.compare.len(),
        request.success.len(),
        request.failure.len(),
    ];
    if depth_left == 0 || lists.iter().any(|it| TXN_OPERATIONS_MAX < *it) {
        return Err(Refusal::TooManyOperations);
    }

    for compare in &request.compare {
        key(&compare.key)?;
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestRange(it)) => range(it)?,
            Some(PbTxnOpRequest::RequestPut(it)) => put_fields(it)?,
            Some(PbTxnOpRequest::RequestDeleteRange(it)) => key(&it.key)?,
            Some(PbTxnOpRequest::RequestTxn(it)) => txn_fields(it, depth_left - 1)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// What one list of operations may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Vec<u8>>,
    deletes: Vec<KeyRange>,
}

/// A transaction changes no key twice, so that a revision has one version of a key. Two deletes may
/// overlap: the second finds nothing. (etcd has the same rule, and overlooks deletes without an upper
/// bound and deletes after a put in another nested transaction.)
fn writes(operations: &[PbTxnRequestOp]) -> Result<Writes, Refusal> {
    let mut all = Writes::default();
    for operation in operations {
        match &operation.request {
            Some(PbTxnOpRequest::RequestPut(put)) => {
                all.add(Writes {
                    puts: BTreeSet::from([put.key.clone()]),
                    deletes: Vec::new(),
                })?;
            }
            Some(PbTxnOpRequest::RequestDeleteRange(delete)) => {
                all.add(Writes {
                    puts: BTreeSet::new(),
                    deletes: vec![KeyRange::of_request(&delete.key, &delete.range_end)],
                })?;
            }
            Some(PbTxnOpRequest::RequestTxn(nested)) => {
                // Only one of the two branches is taken, so they may touch the same keys.
                let mut either = writes(&nested.success)?;
                let failure = writes(&nested.failure)?;
                either.puts.extend(failure.puts);
                either.deletes.extend(failure.deletes);
                all.add(either)?;
            }
            Some(PbTxnOpRequest::RequestRange(_)) | None => (),
        }
    }
    Ok(all)
}

impl Writes {
    fn add(&mut self, other: Self) -> Result<(), Refusal> {
        let twice = other.puts.iter().any(|it| self.puts.contains(it))
            || other.puts.iter().any(|it| deleted(&self.deletes, it))
            || self.puts.iter().any(|it| deleted(&other.deletes, it));
        if twice {
            return Err(Refusal::DuplicateKey);
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        Ok(())
    }
}

fn deleted(deletes: &[KeyRange], key: &[u8]) -> bool {
    deletes.iter().any(|it| it.contains(key))
}

pub(super) fn key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        Err(Refusal::EmptyKey)
    } else {
        Ok(())
    }
}

fn size(bytes: usize) -> Result<(), Refusal> {
    if REQUEST_BYTES_MAX < bytes {
        Err(Refusal::RequestTooLarge)
    } else {
        Ok(())
    }
}
