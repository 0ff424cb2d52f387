//! The Lease service.

use std::sync::Arc;

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::database::Database;
use super::gate::Gate;
use super::intake::{Allowance, within};
use super::status::too_many_requests;
use super::usage::Usage;
use crate::chance;
use crate::mvcc::{Refusal, Store};

pub(super) struct Lease {
    database: Arc<Database>,
    gate: Gate,
    usage: Usage,
}

impl Lease {
    pub(super) fn new(database: Arc<Database>, gate: Gate, usage: Usage) -> Self {
        Self {
            database,
            gate,
            usage,
        }
    }
}

#[async_trait]
impl PbLeaseService for Lease {
    type LeaseKeepAliveStream = BoxStream<'static, Result<PbLeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let caller = self.gate.caller(&request);
        let PbLeaseGrantRequest { id, ttl } = request.into_inner();
        let (id, ttl, revision) = self.database.with(|store| {
            caller.permission().check_writer()?;
            if self.usage.leases_max <= store.lease_count() {
                return Err(too_many_requests());
            }
            let (id, ttl) = grant(store, id, ttl)?;
            Ok::<_, Status>((id, ttl, store.revision()))
        })?;
        Ok(Response::new(PbLeaseGrantResponse {
            header: self.database.header(revision),
            id,
            ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let caller = self.gate.caller(&request);
        let revision = self.database.with(|store| {
            caller
                .permission()
                .check_lease(request.get_ref().id, store)?;
            store.lease_revoke(request.get_ref().id)?;
            Ok::<_, Status>(store.revision())
        })?;
        Ok(Response::new(PbLeaseRevokeResponse {
            header: self.database.header(revision),
        }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let caller = self.gate.caller(&request);
        caller.permission().check_writer()?;
        let database = Arc::clone(&self.database);
        let allowance = request.extensions().get::<Allowance>().cloned();
        let answers = within(allowance, request.into_inner()).map(move |request| {
            let id = request?.id;
            caller.permission().check_writer()?;
            let (ttl, revision) = database.with(|store| {
                (
                    store.lease_keep_alive(id, Database::now()),
                    store.revision(),
                )
            });
            Ok(PbLeaseKeepAliveResponse {
                header: database.header(revision),
                id,
                // 0 says that there is no such lease.
                ttl: ttl.unwrap_or(0),
            })
        });
        Ok(Response::new(
            answers.take_until(self.database.stopped()).boxed(),
        ))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let caller = self.gate.caller(&request);
        let PbLeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let (view, mut attached, revision) = self.database.with(|store| {
            caller.permission().check_lease_keys(id, store)?;
            let attached = store.lease_keys(id).map(<[u8]>::to_vec);
            let attached = if keys { attached.collect() } else { Vec::new() };
            let view = store.lease(id, Database::now());
            Ok::<_, Status>((view, attached, store.revision()))
        })?;
        attached.sort_unstable();
        let mut response = PbLeaseTimeToLiveResponse {
            header: self.database.header(revision),
            id,
            ttl: -1,
            keys: attached,
            ..PbLeaseTimeToLiveResponse::default()
        };
        if let Some(view) = view {
            response.ttl = view.remaining_seconds;
            response.granted_ttl = view.granted_seconds;
        }
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        self.gate.permission(&request).check_writer()?;
        let (ids, revision) = self
            .database
            .with(|store| (store.lease_ids(), store.revision()));
        Ok(Response::new(PbLeaseLeasesResponse {
            header: self.database.header(revision),
            leases: ids.into_iter().map(|id| PbLeaseStatus { id }).collect(),
        }))
    }
}

/// Grants the lease under the id asked for, or under a free one if that is 0.
fn grant(store: &mut Store, id: i64, ttl: i64) -> Result<(i64, i64), Refusal> {
    loop {
        let chosen = if id == 0 { chance::id() } else { id };
        match store.lease_grant(chosen, ttl, Database::now()) {
            Err(Refusal::LeaseExists) if id == 0 => (),
            result => return result.map(|ttl| (chosen, ttl)),
        }
    }
}
