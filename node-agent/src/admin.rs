//! A door: answers `/v1/status` and `/v1/explain` by asking the agent's one owner of state, and takes
//! the wish for another WireGuard key to it.

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use topology::id::{ClusterName, NodeName, ServiceName};
use topology::report::{AgentStatus, PeerExplanation, ServiceExplanation};

use crate::keys::{self, Asked};

/// Questions that may wait for the agent; it answers in milliseconds, and a person asks few.
pub const QUESTIONS_MAX: usize = 16;

/// Longer than any batch of writes takes; past it, something is stuck and should be seen to be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What may be asked; each question carries the way back.
#[derive(Debug)]
pub enum Question {
    Peer(
        ClusterName,
        NodeName,
        oneshot::Sender<Option<PeerExplanation>>,
    ),
    /// Another key, please.
    Rotate(oneshot::Sender<Asked>),
    Service(ServiceName, oneshot::Sender<Option<ServiceExplanation>>),
    Status(oneshot::Sender<AgentStatus>),
}

/// The agent's own routes.
pub fn routes(questions: &mpsc::Sender<Question>) -> [(&'static str, MethodRouter); 4] {
    let ask = Ask(questions.clone());
    let (for_status, for_service, for_peer) = (ask.clone(), ask.clone(), ask.clone());
    [
        ("/v1/encrypt/rotate", post(async move || ask.rotate().await)),
        ("/v1/status", get(async move || for_status.status().await)),
        (
            "/v1/explain/service/{namespace}/{name}",
            get(
                async move |Path((namespace, name)): Path<(String, String)>| {
                    for_service.service(&namespace, &name).await
                },
            ),
        ),
        (
            "/v1/explain/peer/{cluster}/{node}",
            get(async move |Path((cluster, node)): Path<(String, String)>| {
                for_peer.peer(&cluster, &node).await
            }),
        ),
    ]
}

#[derive(Clone)]
struct Ask(mpsc::Sender<Question>);

impl Ask {
    async fn status(&self) -> Response {
        match self.ask(Question::Status).await {
            Some(status) => Json(status).into_response(),
            None => unanswered(),
        }
    }

    async fn service(&self, namespace: &str, name: &str) -> Response {
        let service = match ServiceName::new(namespace, name) {
            Ok(service) => service,
            Err(error) => return invalid(&error.to_string()),
        };
        let what = format!("this cluster has no service {service}");
        let answer = self.ask(|back| Question::Service(service, back)).await;
        found(answer, &what)
    }

    async fn peer(&self, cluster: &str, node: &str) -> Response {
        let (cluster, node) = match (cluster.parse::<ClusterName>(), node.parse::<NodeName>()) {
            (Ok(cluster), Ok(node)) => (cluster, node),
            (Err(error), _) | (_, Err(error)) => return invalid(&error.to_string()),
        };
        let what = format!("nobody has heard of a cluster {cluster}");
        let answer = self.ask(|back| Question::Peer(cluster, node, back)).await;
        found(answer, &what)
    }

    async fn rotate(&self) -> Response {
        let steps = format!(
            "the next key is announced; when every cluster has known of it for {} s it takes the place of the node's, and the old key is announced until every tunnel has a session of the new one, for {} s at most",
            keys::OVERLAP.as_secs(),
            keys::DRAIN.as_secs()
        );
        match self.ask(Question::Rotate).await {
            Some(Asked::Begun) => Json(json!({ "begun": true, "steps": steps })).into_response(),
            Some(Asked::UnderWay) => {
                Json(json!({ "begun": false, "steps": steps })).into_response()
            }
            Some(Asked::Missing) => failure(
                StatusCode::CONFLICT,
                "this node has no WireGuard key yet; /v1/status says why",
            ),
            None => unanswered(),
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (back, answer) = oneshot::channel();
        let exchange = async {
            self.0.send(question(back)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_TIMEOUT, exchange).await.ok().flatten()
    }
}

fn found<T: Serialize>(answer: Option<Option<T>>, otherwise: &str) -> Response {
    match answer {
        Some(Some(explanation)) => Json(explanation).into_response(),
        Some(None) => failure(StatusCode::NOT_FOUND, otherwise),
        None => unanswered(),
    }
}

fn invalid(why: &str) -> Response {
    failure(StatusCode::BAD_REQUEST, why)
}

fn unanswered() -> Response {
    failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "the agent is busy or ending; ask again",
    )
}

fn failure(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
