//! Decides what a request touches, and so whether a user may make it.

use etcd_client::proto::{
    PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTxnOpRequest, PbTxnRequest,
};

use super::Permission;
use crate::auth::Refusal;
use crate::mvcc::{KeyRange, Store};

impl Permission {
    pub fn check_range(&self, request: &PbRangeRequest) -> Result<(), Refusal> {
        self.check_read(&KeyRange::of_request(&request.key, &request.range_end))
    }

    pub fn check_put(&self, request: &PbPutRequest, store: &mut Store) -> Result<(), Refusal> {
        let key = KeyRange::of_request(&request.key, &[]);
        self.check_write(&key)?;
        if request.prev_kv {
            self.check_read(&key)?;
        }
        // Who puts a key under a lease can end it with the lease's other keys.
        self.check_lease(request.lease, store)
    }

    pub fn check_delete(&self, request: &PbDeleteRequest) -> Result<(), Refusal> {
        let range = KeyRange::of_request(&request.key, &request.range_end);
        self.check_write(&range)?;
        if request.prev_kv {
            self.check_read(&range)?;
        }
        Ok(())
    }

    /// Both branches must be permitted, whichever is taken.
    pub fn check_txn(&self, request: &PbTxnRequest, store: &mut Store) -> Result<(), Refusal> {
        self.check_known()?;
        // The store refuses deep nesting, but only after this; so no recursion here.
        let mut transactions = vec![request];
        while let Some(request) = transactions.pop() {
            for compare in &request.compare {
                self.check_read(&KeyRange::of_request(&compare.key, &compare.range_end))?;
            }
            for operation in request.success.iter().chain(&request.failure) {
                match &operation.request {
                    Some(PbTxnOpRequest::RequestRange(it)) => self.check_range(it)?,
                    Some(PbTxnOpRequest::RequestPut(it)) => self.check_put(it, store)?,
                    Some(PbTxnOpRequest::RequestDeleteRange(it)) => self.check_delete(it)?,
                    Some(PbTxnOpRequest::RequestTxn(it)) => transactions.push(it),
                    None => (),
                }
            }
        }
        Ok(())
    }

    /// Whether the user may end `lease`, and every key under it. Lease 0 is none.
    pub fn check_lease(&self, lease: i64, store: &mut Store) -> Result<(), Refusal> {
        self.check_writer()?;
        self.check(|it| store.lease_is_within(lease, &it.write))
    }

    /// Whether the user may know the keys under `lease`.
    pub fn check_lease_keys(&self, lease: i64, store: &mut Store) -> Result<(), Refusal> {
        self.check_writer()?;
        self.check(|it| store.lease_is_within(lease, &it.read))
    }
}
