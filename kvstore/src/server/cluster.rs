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
        _request: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        Err(not_supported("adding a member"))
    }

    async fn member_remove(
        &self,
        _request: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        Err(not_supported("removing a member"))
    }

    async fn member_update(
        &self,
        _request: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        Err(not_supported("updating a member"))
    }

    async fn member_promote(
        &self,
        _request: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        Err(not_supported("promoting a member"))
    }
}
