//! The Maintenance service: what operators' tools ask.

use std::sync::Arc;

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest,
    PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::database::{Database, RAFT_TERM};
use super::gate::Gate;
use super::status::not_supported;

/// The etcd release whose behaviour this server follows.
pub(super) const ETCD_VERSION: &str = "3.4.23";

pub(super) struct Maintenance {
    database: Arc<Database>,
    gate: Gate,
}

impl Maintenance {
    pub(super) fn new(database: Arc<Database>, gate: Gate) -> Self {
        Self { database, gate }
    }
}

#[async_trait]
impl PbMaintenanceService for Maintenance {
    type SnapshotStream = tokio_stream::Empty<Result<PbSnapshotResponse, Status>>;

    async fn status(
        &self,
        request: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        self.gate.permission(&request).check_known()?;
        let (revision, bytes) = self
            .database
            .with(|store| (store.revision(), store.history_bytes()));
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        // Every write is one entry of the log that a cluster would have.
        let index = revision.unsigned_abs();
        Ok(Response::new(PbStatusResponse {
            header: self.database.header(revision),
            version: ETCD_VERSION.into(),
            db_size: bytes,
            db_size_in_use: bytes,
            leader: self.database.member.member_id,
            raft_index: index,
            raft_applied_index: index,
            raft_term: RAFT_TERM,
            ..PbStatusResponse::default()
        }))
    }

    /// There is nothing to raise an alarm about.
    async fn alarm(
        &self,
        request: Request<PbAlarmRequest>,
    ) -> Result<Response<PbAlarmResponse>, Status> {
        self.gate.permission(&request).check_known()?;
        Ok(Response::new(PbAlarmResponse {
            header: self
                .database
                .header(self.database.with(|store| store.revision())),
            alarms: Vec::new(),
        }))
    }

    /// Memory needs none.
    async fn defragment(
        &self,
        request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        Ok(Response::new(PbDefragmentResponse {
            header: self
                .database
                .header(self.database.with(|store| store.revision())),
        }))
    }

    async fn hash(
        &self,
        request: Request<PbHashRequest>,
    ) -> Result<Response<PbHashResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        let (hash, revision) = self.database.with(|store| store.hash(0))?;
        Ok(Response::new(PbHashResponse {
            header: self.database.header(revision),
            hash,
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<PbHashKvRequest>,
    ) -> Result<Response<PbHashKvResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        let response = self.database.with(|store| {
            let (hash, hash_revision) = store.hash(request.get_ref().revision)?;
            Ok::<_, Status>(PbHashKvResponse {
                header: self.database.header(store.revision()),
                hash,
                compact_revision: store.compacted_revision(),
                hash_revision,
            })
        })?;
        Ok(Response::new(response))
    }

    async fn snapshot(
        &self,
        _request: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_supported("a snapshot"))
    }

    async fn move_leader(
        &self,
        _request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        Err(not_supported("moving the leader"))
    }

    async fn downgrade(
        &self,
        _request: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(not_supported("a downgrade"))
    }
}
