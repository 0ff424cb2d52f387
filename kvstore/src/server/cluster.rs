//! The Cluster service of a cluster of one.

use std::sync::Arc;

use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::{Request, Response, Status, async_trait};

use super::database::Database;
use super::gate::Gate;
use super::status::not_supported;

pub(super) struct Cluster {
    database: Arc<Database>,
    gate: Gate,
}

impl Cluster {
    pub(super) fn new(database: Arc<Database>, gate: Gate) -> Self {
        Self { database, gate }
    }

    /// `refusal` of what somebody wants of the only member, or etcd's if it is of another.
    fn refuse<T>(&self, member_id: u64, refusal: Status) -> Result<T, Status> {
        if member_id == self.database.member.member_id {
            Err(refusal)
        } else {
            Err(Status::not_found("etcdserver: member not found"))
        }
    }
}

#[async_trait]
impl PbClusterService for Cluster {
    async fn member_list(
        &self,
        request: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        self.gate.permission(&request).check_known()?;
        let member = &self.database.member;
        Ok(Response::new(PbMemberListResponse {
            // Membership has no revision.
            header: self.database.header(0),
            members: vec![PbMember {
                id: member.member_id,
                name: member.name.clone(),
                client_ur_ls: vec![member.client_url.clone()],
                ..PbMember::default()
            }],
        }))
    }

    async fn member_add(
        &self,
        request: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        Err(not_supported("adding a member"))
    }

    async fn member_remove(
        &self,
        request: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        // The code that etcd 3.4 sends with it.
        let refusal = Status::unknown(
            "etcdserver: re-configuration failed due to not enough started members",
        );
        self.refuse(request.get_ref().id, refusal)
    }

    async fn member_update(
        &self,
        request: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        self.refuse(request.get_ref().id, not_supported("updating a member"))
    }

    async fn member_promote(
        &self,
        request: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        self.gate.permission(&request).check_everything()?;
        let refusal = Status::failed_precondition("etcdserver: can only promote a learner member");
        self.refuse(request.get_ref().id, refusal)
    }
}
