//! The Maintenance service: what operators' tools ask.

use std::sync::Arc;

use etcd_client::proto::{
    PbAlarmMember, PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse,
    PbDowngradeRequest, PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest,
    PbHashResponse, PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse,
    PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use etcd_client::{AlarmAction, AlarmType};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tonic::{Request, Response, Status, async_trait};

use super::database::{Database, RAFT_TERM};
use super::gate::Gate;
use super::status::not_supported;
use crate::mvcc::{self, Alarms};
use crate::storage::snapshot::Writer;

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
    type SnapshotStream = BoxStream<'static, Result<PbSnapshotResponse, Status>>;

    async fn status(
        &self,
        request: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        self.gate.permission(&request).check_known()?;
        let (revision, bytes, alarms) = self
            .database
            .with(|store| (store.revision(), store.held_bytes(), store.alarms()));
        // Every write is one entry of the log that a cluster would have.
        let index = revision.unsigned_abs();
        Ok(Response::new(PbStatusResponse {
            header: self.database.header(revision),
            version: ETCD_VERSION.into(),
            db_size: signed(self.database.size_bytes()),
            db_size_in_use: signed(bytes),
            errors: self.active(alarms).map(|it| name(&it)).collect(),
            leader: self.database.member.member_id,
            raft_index: index,
            raft_applied_index: index,
            raft_term: RAFT_TERM,
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(
        &self,
        request: Request<PbAlarmRequest>,
    ) -> Result<Response<PbAlarmResponse>, Status> {
        let permission = self.gate.permission(&request);
        let request = request.into_inner();
        if request.action == i32::from(AlarmAction::Get) {
            permission.check_known()?;
        } else {
            permission.check_everything()?;
        }
        let (alarms, revision) = self.database.with(|store| {
            let before = store.alarms();
            let after = self.handle_alarm(&request, before);
            store.set_alarms(after);
            // A request that takes an alarm back tells what it took.
            let shown = if request.action == i32::from(AlarmAction::Deactivate) {
                before
            } else {
                after
            };
            (shown, store.revision())
        });
        let wanted = |it: &PbAlarmMember| {
            request.alarm == i32::from(AlarmType::None) || it.alarm == request.alarm
        };
        Ok(Response::new(PbAlarmResponse {
            header: self.database.header(revision),
            alarms: self.active(alarms).filter(wanted).collect(),
        }))
    }

    /// Memory needs none.
    async fn defragment(
        &self,
        request: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        self.database.defragment().await;
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
        let (entries, revision) = self.database.with(|store| store.entries_at(0))?;
        Ok(Response::new(PbHashResponse {
            header: self.database.header(revision),
            hash: mvcc::hash(&entries),
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<PbHashKvRequest>,
    ) -> Result<Response<PbHashKvResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        let revision = request.get_ref().revision;
        let (entries, mut response) = self.database.with(|store| {
            let (entries, hash_revision) = store.entries_at(revision)?;
            let response = PbHashKvResponse {
                header: self.database.header(store.revision()),
                compact_revision: store.compacted_revision(),
                hash_revision,
                ..PbHashKvResponse::default()
            };
            Ok::<_, Status>((entries, response))
        })?;
        response.hash = mvcc::hash(&entries);
        Ok(Response::new(response))
    }

    /// The whole store as it is now, in our own format; `--data-dir` can begin with it.
    async fn snapshot(
        &self,
        request: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.gate.permission(&request).check_everything()?;
        let image = self.database.with(|store| store.image());
        let header = self.database.header(image.revision);
        let responses = Writer::new(image).map(move |chunk| {
            Ok(PbSnapshotResponse {
                header,
                remaining_bytes: chunk.remaining_bytes as u64,
                blob: chunk.bytes,
                version: ETCD_VERSION.into(),
            })
        });
        let end = self.database.stopped();
        Ok(Response::new(
            stream::iter(responses).take_until(end).boxed(),
        ))
    }

    /// The only member leads already, and so nobody else can.
    async fn move_leader(
        &self,
        request: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        if request.get_ref().target_id != self.database.member.member_id {
            return Err(Status::failed_precondition(
                "etcdserver: bad leader transferee",
            ));
        }
        Ok(Response::new(PbMoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        _request: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(not_supported("a downgrade"))
    }
}

impl Maintenance {
    /// The alarms after a request. A request for another member changes nothing.
    fn handle_alarm(&self, request: &PbAlarmRequest, mut alarms: Alarms) -> Alarms {
        let is_ours = [0, self.database.member.member_id].contains(&request.member_id);
        let raised = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) if is_ours => true,
            Ok(AlarmAction::Deactivate) if is_ours => false,
            Ok(AlarmAction::Activate | AlarmAction::Deactivate | AlarmAction::Get) | Err(_) => {
                return alarms;
            }
        };
        match AlarmType::try_from(request.alarm) {
            Ok(AlarmType::Corrupt) => alarms.corrupt = raised,
            Ok(AlarmType::Nospace) => alarms.no_space = raised,
            Ok(AlarmType::None) | Err(_) => (),
        }
        alarms
    }

    fn active(&self, alarms: Alarms) -> impl Iterator<Item = PbAlarmMember> + use<> {
        let member_id = self.database.member.member_id;
        let all = [
            (alarms.no_space, AlarmType::Nospace),
            (alarms.corrupt, AlarmType::Corrupt),
        ];
        let active = all.into_iter().filter(|(is_raised, _)| *is_raised);
        active.map(move |(_, alarm)| PbAlarmMember {
            member_id,
            alarm: alarm.into(),
        })
    }
}

/// As etcd prints it.
fn name(alarm: &PbAlarmMember) -> String {
    let kind = AlarmType::try_from(alarm.alarm).unwrap_or(AlarmType::None);
    format!("memberID:{} alarm:{} ", alarm.member_id, kind.as_str_name())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
