//! An answer, without what may differ: who answered, and the order of equal sort keys.

use etcd_client::proto::{
    PbCompactionResponse, PbDeleteResponse, PbLeaseGrantResponse, PbLeaseRevokeResponse,
    PbPutResponse, PbRangeResponse, PbResponseHeader, PbResponseOp, PbTxnOpResponse, PbTxnResponse,
};
use etcd_client::{
    CompactionResponse, DeleteResponse, Error, GetResponse, LeaseGrantResponse,
    LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse, PutResponse, TxnResponse,
};
use tonic::Code;

type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Compact(PbCompactionResponse),
    Delete(PbDeleteResponse),
    Get(PbRangeResponse),
    Grant(PbLeaseGrantResponse),
    Leases(Vec<i64>),
    Put(PbPutResponse),
    Refused(Code, String),
    Revoke(PbLeaseRevokeResponse),
    TimeToLive { granted: i64, keys: Vec<Vec<u8>> },
    Txn(PbTxnResponse),
}

impl Answer {
    /// The store's, as far as the answer tells.
    pub(super) fn revision(&self) -> i64 {
        let header = match self {
            Self::Compact(it) => &it.header,
            Self::Delete(it) => &it.header,
            Self::Get(it) => &it.header,
            Self::Grant(it) => &it.header,
            Self::Put(it) => &it.header,
            Self::Revoke(it) => &it.header,
            Self::Txn(it) => &it.header,
            Self::Leases(_) | Self::Refused(..) | Self::TimeToLive { .. } => &None,
        };
        header.as_ref().map_or(0, |it| it.revision)
    }

    pub(super) fn compact(result: Result<CompactionResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            Self::Compact(it.0)
        })
    }

    pub(super) fn delete(result: Result<DeleteResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            Self::Delete(it.0)
        })
    }

    pub(super) fn get(result: Result<GetResponse>, sorted: bool) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            if sorted {
                it.0.kvs.sort_by(|a, b| a.key.cmp(&b.key));
            }
            Self::Get(it.0)
        })
    }

    pub(super) fn grant(result: Result<LeaseGrantResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            // A number that nobody chose is a number by chance.
            if 5 < it.0.id {
                it.0.id = 0;
            }
            Self::Grant(it.0)
        })
    }

    pub(super) fn leases(result: Result<LeaseLeasesResponse>) -> Self {
        result.map_or_else(refused, |it| {
            let mut ids: Vec<i64> = it.leases().iter().map(|it| it.id().min(6)).collect();
            ids.sort_unstable();
            Self::Leases(ids)
        })
    }

    pub(super) fn put(result: Result<PutResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            Self::Put(it.0)
        })
    }

    pub(super) fn revoke(result: Result<LeaseRevokeResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            Self::Revoke(it.0)
        })
    }

    pub(super) fn time_to_live(result: Result<LeaseTimeToLiveResponse>) -> Self {
        result.map_or_else(refused, |it| {
            let mut keys = it.keys().to_vec();
            keys.sort();
            Self::TimeToLive {
                granted: it.granted_ttl(),
                keys,
            }
        })
    }

    pub(super) fn txn(result: Result<TxnResponse>) -> Self {
        result.map_or_else(refused, |mut it| {
            anonymize(&mut it.0.header);
            it.0.responses.iter_mut().for_each(without_nested_headers);
            Self::Txn(it.0)
        })
    }
}

fn refused(error: Error) -> Answer {
    let Error::GRpcStatus(status) = error else {
        panic!("{error}");
    };
    Answer::Refused(status.code(), status.message().to_owned())
}

fn anonymize(header: &mut Option<PbResponseHeader>) {
    let header = header.as_mut().unwrap();
    (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
}

/// etcd fills the headers inside a transaction inconsistently, and nobody reads them.
fn without_nested_headers(response: &mut PbResponseOp) {
    match response.response.as_mut().unwrap() {
        PbTxnOpResponse::ResponseDeleteRange(it) => it.header = None,
        PbTxnOpResponse::ResponsePut(it) => it.header = None,
        PbTxnOpResponse::ResponseRange(it) => it.header = None,
        PbTxnOpResponse::ResponseTxn(it) => {
            it.header = None;
            it.responses.iter_mut().for_each(without_nested_headers);
        }
    }
}
