//! Puts the services under their paths, those too for which there is no generated code.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::routing::{MethodRouter, post};
use etcd_client::proto::{
    PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer,
};
use futures_util::stream::BoxStream;
use prost::Message;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::cluster::Cluster;
use super::database::Database;
use super::gate::Gate;
use super::kv::Kv;
use super::lease::Lease;
use super::maintenance::Maintenance;
use super::queue::Queue;
use super::usage::Usage;
use super::watch::Watch;
use super::{MESSAGE_BYTES_MAX, auth, election, lock, settle};

/// etcd's services, for one kind of client.
pub(super) fn services(database: &Arc<Database>, gate: &Gate, usage: &Usage) -> Router {
    let (database, gate) = (|| Arc::clone(database), || gate.clone());
    let kv = Arc::new(Kv::new(database(), gate()));
    let lease = Arc::new(Lease::new(database(), gate(), usage.clone()));
    let watch = Watch::new(database(), gate(), usage.clone());
    let cluster = Cluster::new(database(), gate());
    let maintenance = Maintenance::new(database(), gate());
    let queue = Queue {
        database: database(),
        kv: Arc::clone(&kv),
        lease: Arc::clone(&lease),
    };
    let router = Routes::new(PbKvServer::from_arc(kv).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(PbWatchServer::new(watch).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(PbLeaseServer::from_arc(lease).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(PbClusterServer::new(cluster).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(
            PbMaintenanceServer::new(maintenance).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .into_axum_router();
    let router = auth::add(router, auth::Service::new(database(), gate()));
    settle::around(add_queues(router, &queue), &database())
}

fn add_queues(router: Router, queue: &Queue) -> Router {
    router
        .route("/v3lockpb.Lock/Lock", unary(queue, lock::lock))
        .route("/v3lockpb.Lock/Unlock", unary(queue, lock::unlock))
        .route(
            "/v3electionpb.Election/Campaign",
            unary(queue, election::campaign),
        )
        .route(
            "/v3electionpb.Election/Proclaim",
            unary(queue, election::proclaim),
        )
        .route(
            "/v3electionpb.Election/Leader",
            unary(queue, election::leader),
        )
        .route(
            "/v3electionpb.Election/Observe",
            streaming(queue, election::observe),
        )
        .route(
            "/v3electionpb.Election/Resign",
            unary(queue, election::resign),
        )
}

/// A method that answers once.
pub(super) fn unary<State, Asked, Answer, Answering>(
    state: &State,
    method: impl Fn(State, Request<Asked>) -> Answering + Copy + Send + Sync + 'static,
) -> MethodRouter
where
    State: Clone + Send + Sync + 'static,
    Asked: Message + Default + 'static,
    Answer: Message + 'static,
    Answering: Future<Output = Result<Response<Answer>, Status>> + Send + 'static,
{
    let state = state.clone();
    post(move |request: HttpRequest| {
        let state = state.clone();
        async move {
            let service = tower::service_fn(move |asked| method(state.clone(), asked));
            grpc::<Answer, Asked>().unary(service, request).await
        }
    })
}

/// A method that answers again and again.
fn streaming<Asked, Answer, Answering>(
    queue: &Queue,
    method: fn(Queue, Request<Asked>) -> Answering,
) -> MethodRouter
where
    Asked: Message + Default + 'static,
    Answer: Message + 'static,
    Answering: Future<Output = Result<Response<BoxStream<'static, Result<Answer, Status>>>, Status>>
        + Send
        + 'static,
{
    let queue = queue.clone();
    post(move |request: HttpRequest| {
        let queue = queue.clone();
        async move {
            let service = tower::service_fn(move |asked| method(queue.clone(), asked));
            grpc::<Answer, Asked>()
                .server_streaming(service, request)
                .await
        }
    })
}

fn grpc<Answer, Asked>() -> Grpc<ProstCodec<Answer, Asked>>
where
    Asked: Message + Default + 'static,
    Answer: Message + 'static,
{
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MESSAGE_BYTES_MAX), None)
}
