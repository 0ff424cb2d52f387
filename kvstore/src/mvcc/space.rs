//! Decides whether there is room for a write, and what stops all of them: the alarms.

use etcd_client::proto::{PbPutRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};

use super::entry::{Entry, entry_cost_bytes};
use super::refusal::Refusal;
use super::writing::BatchOperation;

/// As etcd: more belongs into a database.
pub const QUOTA_BYTES_DEFAULT: u64 = 2 << 30;

/// Superseded versions kept for readers that fell behind or read the past; some hundred thousand
/// changes of small records.
pub(super) const SUPERSEDED_BYTES_MAX: u64 = 128 << 20;

/// A lease without its keys.
const LEASE_COST_BYTES: u64 = 128;

/// What is held, and how much may be.
#[derive(Debug, PartialEq)]
pub(super) struct Space {
    pub(super) alarms: Alarms,
    pub(super) quota_bytes: u64,
    held_bytes: u64,
    superseded_bytes: u64,
}

/// Each lasts until an operator takes it back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Alarms {
    /// Somebody found wrong data: nothing is read or written.
    pub corrupt: bool,
    /// The quota was reached: nothing that needs space is written.
    pub no_space: bool,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            alarms: Alarms::default(),
            quota_bytes: QUOTA_BYTES_DEFAULT,
            held_bytes: 0,
            superseded_bytes: 0,
        }
    }
}

impl Space {
    /// Bytes in use.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub(super) fn is_history_full(&self) -> bool {
        SUPERSEDED_BYTES_MAX < self.superseded_bytes
    }

    /// For every request that reads or writes.
    pub(super) fn check_sound(&self) -> Result<(), Refusal> {
        if self.alarms.corrupt {
            Err(Refusal::Corrupt)
        } else {
            Ok(())
        }
    }

    pub(super) fn check_put(&self, request: &PbPutRequest) -> Result<(), Refusal> {
        self.check(put_cost_bytes(request))
    }

    pub(super) fn check_txn(&self, request: &PbTxnRequest) -> Result<(), Refusal> {
        self.check(txn_cost_bytes(request))
    }

    pub(super) fn check_batch(&self, operations: &[BatchOperation]) -> Result<(), Refusal> {
        let costs = operations.iter().map(|it| match it {
            BatchOperation::Delete { .. } => 0,
            BatchOperation::Put { key, value, .. } => entry_cost_bytes(key.len() + value.len()),
        });
        self.check(costs.sum())
    }

    pub(super) fn check_lease(&self) -> Result<(), Refusal> {
        self.check(LEASE_COST_BYTES)
    }

    pub(super) fn hold(&mut self, entry: &Entry) {
        self.held_bytes += entry.cost_bytes();
    }

    /// It is not what readers of the present see any more.
    pub(super) fn supersede(&mut self, entry: &Entry) {
        self.superseded_bytes += entry.cost_bytes();
    }

    /// Only what was superseded is forgotten.
    pub(super) fn forget(&mut self, entry: &Entry) {
        self.held_bytes -= entry.cost_bytes();
        self.superseded_bytes -= entry.cost_bytes();
    }

    pub(super) fn hold_lease(&mut self) {
        self.held_bytes += LEASE_COST_BYTES;
    }

    pub(super) fn forget_lease(&mut self) {
        self.held_bytes -= LEASE_COST_BYTES;
    }

    /// What costs nothing always has room.
    fn check(&self, cost_bytes: u64) -> Result<(), Refusal> {
        self.check_sound()?;
        let is_full = self.quota_bytes < self.held_bytes.saturating_add(cost_bytes);
        if 0 < cost_bytes && (self.alarms.no_space || is_full) {
            Err(Refusal::NoSpace)
        } else {
            Ok(())
        }
    }
}

fn put_cost_bytes(request: &PbPutRequest) -> u64 {
    entry_cost_bytes(request.key.len() + request.value.len())
}

/// The dearer of the two branches; the check of a transaction's depth comes before.
fn txn_cost_bytes(request: &PbTxnRequest) -> u64 {
    let branch = |operations: &[PbTxnRequestOp]| {
        let costs = operations.iter().map(|it| match &it.request {
            Some(PbTxnOpRequest::RequestPut(it)) => put_cost_bytes(it),
            Some(PbTxnOpRequest::RequestTxn(it)) => txn_cost_bytes(it),
            Some(PbTxnOpRequest::RequestRange(_) | PbTxnOpRequest::RequestDeleteRange(_))
            | None => 0,
        });
        costs.sum::<u64>()
    };
    branch(&request.success).max(branch(&request.failure))
}

#[cfg(test)]
mod tests;
