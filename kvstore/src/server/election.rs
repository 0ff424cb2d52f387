//! The Election service: one leader of a name at a time, who says something that others observe.

use std::collections::VecDeque;

use etcd_client::proto::{
    PbCampaignResponse, PbDeleteRequest, PbLeaderKey, PbLeaderResponse, PbProclaimResponse,
    PbPutRequest, PbResignResponse, PbTxnOpRequest,
};
use futures_util::stream::{BoxStream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use super::queue::{Caller, Queue};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CampaignRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    /// 0 without one.
    #[prost(int64, tag = "2")]
    lease: i64,
    #[prost(bytes = "vec", tag = "3")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProclaimRequest {
    #[prost(message, optional, tag = "1")]
    leader: Option<PbLeaderKey>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LeaderRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResignRequest {
    #[prost(message, optional, tag = "1")]
    leader: Option<PbLeaderKey>,
}

pub(super) async fn campaign(
    queue: Queue,
    request: Request<CampaignRequest>,
) -> Result<Response<PbCampaignResponse>, Status> {
    let caller = Caller::of(&request);
    let CampaignRequest { name, lease, value } = request.into_inner();
    let (turn, header) = queue.enter(&caller, &name, lease, &value).await?;
    Ok(Response::new(PbCampaignResponse {
        header,
        leader: Some(PbLeaderKey {
            name,
            key: turn.key,
            rev: turn.revision,
            lease: turn.lease,
        }),
    }))
}

pub(super) async fn proclaim(
    queue: Queue,
    request: Request<ProclaimRequest>,
) -> Result<Response<PbProclaimResponse>, Status> {
    let caller = Caller::of(&request);
    let ProclaimRequest { leader, value } = request.into_inner();
    let leader = leader.ok_or_else(no_leader_key)?;
    let put = PbTxnOpRequest::RequestPut(PbPutRequest {
        key: leader.key.clone(),
        value,
        lease: leader.lease,
        ..PbPutRequest::default()
    });
    let done = queue.act(&caller, &leader.key, leader.rev, put).await?;
    let done = done.ok_or_else(|| Status::unknown("election: not leader"))?;
    Ok(Response::new(PbProclaimResponse {
        header: done.header,
    }))
}

pub(super) async fn leader(
    queue: Queue,
    request: Request<LeaderRequest>,
) -> Result<Response<PbLeaderResponse>, Status> {
    let caller = Caller::of(&request);
    let mut first = queue.first(&caller, &request.get_ref().name, 0).await?;
    let kv = first.kvs.pop();
    let kv = kv.ok_or_else(|| Status::unknown("election: no leader"))?;
    Ok(Response::new(PbLeaderResponse {
        header: first.header,
        kv: Some(kv),
    }))
}

/// Every leader from now on and all that it proclaims, however slowly they are read: more than etcd,
/// which passes over leaders that were gone before it looked. Only what was compacted before it was read
/// is passed over.
pub(super) async fn observe(
    queue: Queue,
    request: Request<LeaderRequest>,
) -> Result<Response<BoxStream<'static, Result<PbLeaderResponse, Status>>>, Status> {
    let caller = Caller::of(&request);
    let name = request.into_inner().name;
    // Whoever may not read the keys learns it at once.
    queue.first(&caller, &name, 0).await?;
    let changes = queue.database.changes();
    let observer = Observer {
        queue,
        caller,
        name,
        changes,
        next_revision: None,
        revisions: VecDeque::new(),
        seen: None,
    };
    let leaders = futures_util::stream::unfold(Some(observer), async |observer| {
        let mut observer = observer?;
        match observer.next().await {
            Ok(leader) => Some((Ok(leader), Some(observer))),
            Err(end) => Some((Err(end), None)),
        }
    });
    Ok(Response::new(leaders.boxed()))
}

pub(super) async fn resign(
    queue: Queue,
    request: Request<ResignRequest>,
) -> Result<Response<PbResignResponse>, Status> {
    let caller = Caller::of(&request);
    let leader = request.into_inner().leader.ok_or_else(no_leader_key)?;
    let delete = PbTxnOpRequest::RequestDeleteRange(PbDeleteRequest {
        key: leader.key.clone(),
        ..PbDeleteRequest::default()
    });
    let done = queue.act(&caller, &leader.key, leader.rev, delete).await?;
    Ok(Response::new(PbResignResponse {
        header: done.and_then(|it| it.header),
    }))
}

struct Observer {
    queue: Queue,
    caller: Caller,
    name: Vec<u8>,
    changes: watch::Receiver<i64>,
    /// Changes of the queue from here on are not known yet; `None`: begin with who leads now.
    next_revision: Option<i64>,
    /// In which the queue changed, and the leader has yet to be looked at.
    revisions: VecDeque<i64>,
    /// The key and the revision of what was sent last.
    seen: Option<(Vec<u8>, i64)>,
}

impl Observer {
    async fn next(&mut self) -> Result<PbLeaderResponse, Status> {
        loop {
            let found = match (self.revisions.pop_front(), self.next_revision) {
                (Some(revision), _) => self.look(revision).await?,
                (None, None) => self.look(0).await?,
                (None, Some(from)) => {
                    self.read_on(from).await?;
                    None
                }
            };
            if let Some(leader) = found {
                return Ok(leader);
            }
        }
    }

    /// Learns which revisions to look at, or waits for the next change of the store.
    async fn read_on(&mut self, from: i64) -> Result<(), Status> {
        match self.queue.revisions(&self.name, from) {
            Some((_, next)) if next == from => return self.queue.changed(&mut self.changes).await,
            Some((revisions, next)) => {
                self.revisions = revisions;
                self.next_revision = Some(next);
            }
            None => self.next_revision = None,
        }
        Ok(())
    }

    /// Who leads at `revision`, unless that was sent; 0 is now.
    async fn look(&mut self, revision: i64) -> Result<Option<PbLeaderResponse>, Status> {
        let first = self.queue.first(&self.caller, &self.name, revision).await;
        let mut first = match first {
            Err(status) if status.code() == Code::OutOfRange => {
                // Compacted meanwhile.
                self.revisions.clear();
                self.next_revision = None;
                return Ok(None);
            }
            first => first?,
        };
        if let Some(header) = &mut first.header {
            if revision == 0 {
                self.next_revision = Some(header.revision + 1);
            } else {
                header.revision = revision;
            }
        }
        let Some(kv) = first.kvs.pop() else {
            return Ok(None);
        };
        let seen = Some((kv.key.clone(), kv.mod_revision));
        if self.seen == seen {
            return Ok(None);
        }
        self.seen = seen;
        Ok(Some(PbLeaderResponse {
            header: first.header,
            kv: Some(kv),
        }))
    }
}

fn no_leader_key() -> Status {
    Status::unknown("\"leader\" field must be provided")
}
