//! The KV service: reads, writes and transactions.

use std::sync::Arc;

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse,
    PbTxnRequest, PbTxnResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::database::Database;
use super::gate::Gate;
use super::status::not_supported;

pub(super) struct Kv {
    database: Arc<Database>,
    gate: Gate,
}

impl Kv {
    pub(super) fn new(database: Arc<Database>, gate: Gate) -> Self {
        Self { database, gate }
    }
}

#[async_trait]
impl PbKvService for Kv {
    type RangeStreamStream = tokio_stream::Empty<Result<PbRangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        let caller = self.gate.caller(&request);
        let mut response = self.database.with(|store| {
            caller.permission().check_range(request.get_ref())?;
            Ok::<_, Status>(store.range(request.get_ref())?)
        })?;
        self.database.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn range_stream(
        &self,
        _request: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(not_supported("streaming a range"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let caller = self.gate.caller(&request);
        let mut response = self.database.with(|store| {
            caller.permission().check_put(request.get_ref(), store)?;
            Ok::<_, Status>(store.put(request.into_inner())?)
        })?;
        self.database.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        let caller = self.gate.caller(&request);
        let mut response = self.database.with(|store| {
            caller.permission().check_delete(request.get_ref())?;
            Ok::<_, Status>(store.delete_range(request.get_ref())?)
        })?;
        self.database.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let caller = self.gate.caller(&request);
        let mut response = self.database.with(|store| {
            caller.permission().check_txn(request.get_ref(), store)?;
            Ok::<_, Status>(store.txn(request.into_inner())?)
        })?;
        self.database.sign(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        let caller = self.gate.caller(&request);
        let revision = self.database.with(|store| {
            caller.permission().check_everything()?;
            store.compact(request.get_ref().revision)?;
            Ok::<_, Status>(store.revision())
        })?;
        Ok(Response::new(PbCompactionResponse {
            header: self.database.header(revision),
        }))
    }
}
