//! The admin endpoint's own routes: what the owner of the model answers, and fresh looks at stores.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use daemon::Clock;
use kvstore::store::Store;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use topology::id::{ClusterName, ServiceName};
use topology::mesh::Mesh;
use topology::report::{
    ApiserverStatus, DiffReport, PeerReport, ServiceExplanation, Troubleshooting,
};

use crate::comparison::Differences;
use crate::fresh::{self, Unseen};
use crate::model::peers::View;
use crate::publish::{Cluster, Table};
use crate::{troubleshoot, upstream};

/// A fresh look lists two stores whole; one after the other, so that people who ask cannot keep the
/// mirror from its work or fill the memory.
const LOOKS_MAX: usize = 1;

/// What is on its way between two stores arrives within this time.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Somebody wants to know something of the model.
#[derive(Debug)]
pub enum Question {
    Peer {
        name: ClusterName,
        answer: oneshot::Sender<Option<Peer>>,
    },
    Status(oneshot::Sender<ApiserverStatus>),
}

/// A remote cluster as it is known, and what it takes to look at it anew.
#[derive(Debug)]
pub struct Peer {
    pub report: PeerReport,
    pub view: View,
    /// Our own store.
    pub store: Store,
}

/// The routes, which ask through `questions`.
pub fn routes(
    cluster: Cluster,
    store: Store,
    clock: Clock,
    questions: mpsc::Sender<Question>,
) -> [(&'static str, MethodRouter); 6] {
    let desk = Arc::new(Desk {
        cluster,
        store,
        clock,
        questions,
        looks: Semaphore::new(LOOKS_MAX),
    });
    let [status, clusters, peer, diff, troubleshoot, explain] = [(); 6].map(|()| Arc::clone(&desk));
    [
        (
            "/v1/status",
            get(async move || answer(status.status().await)),
        ),
        (
            "/v1/cluster",
            get(async move || answer(clusters.clusters().await)),
        ),
        (
            "/v1/peers/{cluster}",
            get(async move |Path(name): Path<String>| answer(peer.peer(&name).await)),
        ),
        (
            "/v1/peers/{cluster}/diff",
            get(async move |Path(name): Path<String>| answer(diff.diff(&name).await)),
        ),
        (
            "/v1/peers/{cluster}/troubleshoot",
            get(async move |Path(name): Path<String>| {
                answer(troubleshoot.troubleshoot(&name).await)
            }),
        ),
        (
            "/v1/explain/service/{namespace}/{name}",
            get(
                async move |Path((namespace, name)): Path<(String, String)>| {
                    answer(explain.explain(&namespace, &name).await)
                },
            ),
        ),
    ]
}

/// Takes the requests.
#[derive(Debug)]
struct Desk {
    cluster: Cluster,
    /// Our own.
    store: Store,
    clock: Clock,
    questions: mpsc::Sender<Question>,
    looks: Semaphore,
}

/// Why a request has no answer.
#[derive(Debug)]
enum Unanswered {
    Ending,
    Invalid(String),
    Unknown(String),
    Unseen(String),
}

impl Desk {
    async fn status(&self) -> Result<ApiserverStatus, Unanswered> {
        let (answer, status) = oneshot::channel();
        self.ask(Question::Status(answer), status).await
    }

    async fn clusters(&self) -> Result<Vec<serde_json::Value>, Unanswered> {
        Ok(upstream::clusters(&self.status().await?.peers))
    }

    async fn peer(&self, name: &str) -> Result<PeerReport, Unanswered> {
        Ok(self.find(name).await?.report)
    }

    async fn diff(&self, name: &str) -> Result<DiffReport, Unanswered> {
        let _place = self.looks.acquire().await.map_err(|_| Unanswered::Ending)?;
        let (before, report) = self.compare(name).await?;
        if before.is_empty() {
            return Ok(report.of(&before));
        }
        // Both stores were read one after the other, while changes passed from one to the other.
        tokio::time::sleep(SETTLE_TIME).await;
        let (after, report) = self.compare(name).await?;
        Ok(report.of(&after.lasting(&before)))
    }

    async fn troubleshoot(&self, name: &str) -> Result<Troubleshooting, Unanswered> {
        let _place = self.looks.acquire().await.map_err(|_| Unanswered::Ending)?;
        let peer = self.find(name).await?;
        let now = self.clock.unix_milliseconds();
        Ok(Troubleshooting {
            cluster: self.cluster.name.clone(),
            peer: peer.report.cluster.name.clone(),
            steps: troubleshoot::steps(peer, now).await,
        })
    }

    /// Which backends the agents of our cluster choose for a service, and why.
    async fn explain(&self, namespace: &str, name: &str) -> Result<ServiceExplanation, Unanswered> {
        let service = ServiceName::new(namespace, name);
        let service = service.map_err(|error| Unanswered::Invalid(error.to_string()))?;
        let _place = self.looks.acquire().await.map_err(|_| Unanswered::Ending)?;
        let own = &self.cluster.name;
        let mesh = fresh::mesh(&self.store, own, &service).await;
        let unseen = |error| Unanswered::Unseen(format!("our own store cannot be read: {error}"));
        let mesh = mesh.map_err(unseen)?;
        let explanation = ServiceExplanation::new(&mesh, &service, None, |_, _| None);
        explanation.ok_or_else(|| Unanswered::Unknown(no_service(&mesh, &service)))
    }

    async fn compare(&self, name: &str) -> Result<(Differences, Compared), Unanswered> {
        let peer = self.find(name).await?;
        let remote_name = peer.report.cluster.name;
        let unseen = |whose: &str, error: Unseen| Unanswered::Unseen(format!("{whose}: {error}"));
        let held = fresh::held(&peer.store, &remote_name).await;
        let held = held.map_err(|error| unseen("our own store cannot be read", error))?;
        let remote = fresh::remote(peer.view, self.clock.unix_milliseconds().into()).await;
        let whose = format!("the store of {remote_name} cannot be read");
        let remote = remote.map_err(|error| unseen(&whose, error))?;
        if let Some(refusal) = remote.refusal() {
            let why = format!("nothing of cluster {remote_name} is believed: {refusal}");
            return Err(Unanswered::Unseen(why));
        }

        let mut published: Table = remote.table();
        // What is left is announced by its mirror, with times of its own.
        published.retain(|key, _| key.starts_with("cilium/cache/"));
        let compared = Compared {
            published: published.len(),
            held: held.len(),
            refused: remote.rejections().report(),
        };
        Ok((Differences::between(&published, &held), compared))
    }

    async fn find(&self, name: &str) -> Result<Peer, Unanswered> {
        let unknown = || Unanswered::Unknown(format!("there is no remote cluster {name}"));
        let name = name.parse().map_err(|_| unknown())?;
        let (answer, peer) = oneshot::channel();
        let peer = self.ask(Question::Peer { name, answer }, peer).await?;
        peer.ok_or_else(unknown)
    }

    async fn ask<T>(
        &self,
        question: Question,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Unanswered> {
        let asked = self.questions.send(question).await;
        asked.map_err(|_| Unanswered::Ending)?;
        answer.await.map_err(|_| Unanswered::Ending)
    }
}

/// The numbers of a comparison.
struct Compared {
    published: usize,
    held: usize,
    refused: topology::report::ViolationReport,
}

impl Compared {
    fn of(self, differences: &Differences) -> DiffReport {
        differences.report(self.published, self.held, self.refused)
    }
}

/// Others may have what we lack.
fn no_service(mesh: &Mesh, service: &ServiceName) -> String {
    let sharing = mesh.shared_services().keys();
    let sharing: Vec<&str> = sharing.map(|(_, cluster)| cluster.as_str()).collect();
    let own = mesh.own();
    match sharing.is_empty() {
        true => format!("cluster {own} has no service {service}, and none is shared with it"),
        false => format!(
            "cluster {own} has no service {service}, though {} shares it: create the Service, \
             without backends, to reach those",
            sharing.join(", ")
        ),
    }
}

fn answer<T: Serialize>(outcome: Result<T, Unanswered>) -> Response {
    let (status, why) = match outcome {
        Ok(value) => return Json(value).into_response(),
        Err(Unanswered::Ending) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the process is ending".to_owned(),
        ),
        Err(Unanswered::Invalid(why)) => (StatusCode::BAD_REQUEST, why),
        Err(Unanswered::Unknown(why)) => (StatusCode::NOT_FOUND, why),
        Err(Unanswered::Unseen(why)) => (StatusCode::BAD_GATEWAY, why),
    };
    (status, Json(json!({ "error": why }))).into_response()
}
