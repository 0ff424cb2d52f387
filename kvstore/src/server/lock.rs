//! The Lock service: one holder of a name at a time, as long as its lease lives.

use etcd_client::proto::{PbLockResponse, PbUnlockResponse};
use tonic::{Request, Response, Status};

use super::queue::{Caller, Queue};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    /// 0 without one.
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

pub(super) async fn lock(
    queue: Queue,
    request: Request<LockRequest>,
) -> Result<Response<PbLockResponse>, Status> {
    let caller = Caller::of(&request);
    let LockRequest { name, lease } = request.into_inner();
    let (turn, header) = queue.enter(&caller, &name, lease, b"").await?;
    Ok(Response::new(PbLockResponse {
        header,
        key: turn.key,
    }))
}

pub(super) async fn unlock(
    queue: Queue,
    request: Request<UnlockRequest>,
) -> Result<Response<PbUnlockResponse>, Status> {
    let caller = Caller::of(&request);
    let header = queue.delete(&caller, &request.get_ref().key).await?;
    Ok(Response::new(PbUnlockResponse { header }))
}
