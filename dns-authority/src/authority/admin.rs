//! The authority's own routes of the admin endpoint: `/v1/status`, `/v1/explain/dns`, `/v1/dns/…`.

mod signing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use daemon::Readiness;
use kvstore::store::Store;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use topology::report::{DnsHealth, DnsStatus};

use super::draining::{Order, Ordered};
use super::state::State as Owned;
use crate::answer::World;
use crate::drain::{Scale, Subject};
use crate::explain::explain;
use crate::wire::kind;
use crate::wire::name::Folded;

/// What only the owner's task can tell, and where it puts it.
pub(super) enum Question {
    Drain(Order, oneshot::Sender<Result<Ordered, String>>),
    Health(oneshot::Sender<DnsHealth>),
    Status(oneshot::Sender<DnsStatus>),
}

impl Question {
    /// `is_shared` tells whether others have to hear of orders, in the store.
    pub(super) fn answer(self, state: &mut Owned, is_shared: bool) {
        // Who asked may have left.
        match self {
            Self::Drain(order, answer) => drop(answer.send(state.order(&order, is_shared))),
            Self::Health(answer) => drop(answer.send(state.health())),
            Self::Status(answer) => drop(answer.send(state.status())),
        }
    }
}

pub(super) fn routes(
    world: Arc<ArcSwap<World>>,
    questions: mpsc::Sender<Question>,
    readiness: Readiness,
    store: Option<Store>,
    parent: Option<SocketAddr>,
) -> [(&'static str, MethodRouter); 6] {
    let to_drain = (questions.clone(), store);
    let zones = (Arc::clone(&world), parent);
    [
        (
            "/v1/dns/delegation",
            get(signing::delegation).with_state(zones.clone()),
        ),
        ("/v1/dns/drain", post(drain).with_state(to_drain)),
        ("/v1/dns/health", get(health).with_state(questions.clone())),
        ("/v1/dns/keys", get(signing::keys).with_state(zones)),
        ("/v1/explain/dns", get(explain_dns).with_state(world)),
        ("/v1/status", get(status).with_state((questions, readiness))),
    ]
}

async fn status(
    State((questions, readiness)): State<(mpsc::Sender<Question>, Readiness)>,
) -> Response {
    let told = ask(&questions, Question::Status).await;
    told.map(|status| DnsStatus {
        ready: readiness.is_ready(),
        ..status
    })
    .map_or_else(ending, |it| Json(it).into_response())
}

async fn health(State(questions): State<mpsc::Sender<Question>>) -> Response {
    let told = ask(&questions, Question::Health).await;
    told.map_or_else(ending, |it| Json(it).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DrainRequest {
    subject: String,
    #[serde(default)]
    over_milliseconds: u64,
    #[serde(default)]
    undo: bool,
}

/// Drains a region or a target, or undoes that: for all authorities, where there is a store between
/// them.
async fn drain(
    State((questions, store)): State<(mpsc::Sender<Question>, Option<Store>)>,
    Query(request): Query<DrainRequest>,
) -> Response {
    let subject = match request.subject.parse::<Subject>() {
        Ok(subject) => subject,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let to = if request.undo {
        Scale::FULL
    } else {
        Scale::EMPTY
    };
    let order = Order {
        subject,
        to,
        over_milliseconds: request.over_milliseconds.min(OVER_MILLISECONDS_MAX),
    };
    let told = ask(&questions, |answer| Question::Drain(order, answer)).await;
    let ordered = match told {
        None => return ending(),
        Some(Err(message)) => return problem(StatusCode::NOT_FOUND, &message),
        Some(Ok(ordered)) => ordered,
    };
    if let Some(store) = store
        && let Err(error) = super::order::write(&store, &ordered.key, ordered.value).await
    {
        let message = format!("nothing is changed: {error:#}");
        return problem(StatusCode::SERVICE_UNAVAILABLE, &message);
    }
    Json(ordered.report).into_response()
}

/// A month: what takes longer is no drain.
const OVER_MILLISECONDS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;

/// The owner's answer; `None` if it is ending.
async fn ask<T>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    questions.send(question(sender)).await.ok()?;
    answer.await.ok()
}

fn ending() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the process is ending")
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
