//! The authority's own routes of the admin endpoint: `/v1/status` and `/v1/explain/dns`.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use daemon::Readiness;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use topology::report::DnsStatus;

use crate::answer::World;
use crate::explain::explain;
use crate::wire::kind;
use crate::wire::name::Folded;

/// Where the owner's task puts its status.
pub(super) type Question = oneshot::Sender<DnsStatus>;

pub(super) fn routes(
    world: Arc<ArcSwap<World>>,
    questions: mpsc::Sender<Question>,
    readiness: Readiness,
) -> [(&'static str, MethodRouter); 2] {
    [
        ("/v1/explain/dns", get(explain_dns).with_state(world)),
        ("/v1/status", get(status).with_state((questions, readiness))),
    ]
}

async fn status(
    State((questions, readiness)): State<(mpsc::Sender<Question>, Readiness)>,
) -> Response {
    let (question, answer) = oneshot::channel();
    let asked = questions.send(question).await;
    match (asked, answer.await) {
        (Ok(()), Ok(status)) => Json(DnsStatus {
            ready: readiness.is_ready(),
            ..status
        })
        .into_response(),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "the process is ending"),
    }
}

#[derive(Deserialize)]
struct Request {
    name: String,
    #[serde(rename = "type", default = "a")]
    kind: String,
    from: IpAddr,
}

fn a() -> String {
    "A".to_owned()
}

async fn explain_dns(
    State(world): State<Arc<ArcSwap<World>>>,
    Query(request): Query<Request>,
) -> Response {
    let name = match Folded::parse(&request.name) {
        Ok(name) => name,
        Err(why) => {
            let message = format!("`{}` is not a domain name: {why}", request.name);
            return problem(StatusCode::BAD_REQUEST, &message);
        }
    };
    let Some(kind) = kind::named(&request.kind) else {
        let message = format!("`{}` is no record type", request.kind);
        return problem(StatusCode::BAD_REQUEST, &message);
    };
    let world = world.load();
    Json(explain(&world, &name, kind, request.from, rand::random())).into_response()
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}
