//! Serves the HTTP API that PowerDNS has, as far as ExternalDNS and tools for PowerDNS use it: zones are
//! listed, shown and changed. Every request has the key.

mod patch;
mod shape;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, info, warn};

use crate::answer::World;
use crate::keeper::{Change, Refused};
use crate::transfer::desk::{self, Edit};
use crate::wire::name::{Folded, Shown};
use crate::zone::Zone;
use patch::Patch;

/// What requests are answered from.
#[derive(Clone)]
pub struct Api {
    pub world: Arc<ArcSwap<World>>,
    pub requests: mpsc::Sender<desk::Request>,
    pub key: ApiKey,
}

/// What a client must show.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

/// Requests that are served at once, a few tools and people; more wait.
const CONNECTIONS_MAX: usize = 64;
/// A client that needs longer to ask is stuck.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For one connection: a slow reader must not keep its place for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// A patch of some thousand sets.
const BODY_BYTES_MAX: usize = 4 << 20;
/// The pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a search finds at most.
const FOUND_MAX: usize = 1000;

impl ApiKey {
    /// # Errors
    ///
    /// It is so short that it can be guessed, or no header can have it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let is_fit = text.bytes().all(|it| it.is_ascii_graphic());
        match is_fit && KEY_BYTES_MIN <= text.len() {
            true => Ok(Self(text.into())),
            false => Err("an API key has 16 or more letters, digits and signs, and no spaces"),
        }
    }

    /// In a time that does not tell where they differ.
    fn is(&self, shown: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), shown).is_ok()
    }
}

const KEY_BYTES_MIN: usize = 16;

/// Answers on `listener` for as long as the process lives.
pub async fn serve(listener: TcpListener, api: Api) {
    let router = router(api);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    converse(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an API connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let ended = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
    if let Ok(Err(error)) = ended {
        debug!(%error, "an API connection ended early");
    }
}

fn router(api: Api) -> Router {
    let zone = get(show_zone).patch(patch_zone);
    Router::new()
        .route("/api", get(versions))
        .route("/api/v1/servers", get(servers))
        .route("/api/v1/servers/{server}", get(server))
        .route("/api/v1/servers/{server}/zones", get(list_zones))
        .route("/api/v1/servers/{server}/zones/{zone}", zone)
        .route(
            "/api/v1/servers/{server}/zones/{zone}/notify",
            axum::routing::put(notify),
        )
        .route("/api/v1/servers/{server}/search-data", get(search))
        .fallback(async || problem(StatusCode::NOT_FOUND, "Not Found"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn_with_state(api.clone(), with_key))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// Lets only those pass who have the key.
async fn with_key(State(api): State<Api>, request: Request, next: Next) -> Response {
    let shown = request.headers().get("x-api-key");
    match shown.is_some_and(|it| api.key.is(it.as_bytes())) {
        true => next.run(request).await,
        false => problem(StatusCode::UNAUTHORIZED, "Unauthorized"),
    }
}

async fn versions() -> Json<Value> {
    Json(json!([{ "url": "/api/v1", "version": 1 }]))
}

async fn servers() -> Json<Value> {
    Json(json!([shape::server()]))
}

async fn server(Path(server): Path<String>) -> Response {
    match &*server {
        SERVER => Json(shape::server()).into_response(),
        _ => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

/// The one server that there is.
const SERVER: &str = "localhost";

#[derive(Deserialize)]
struct Wanted {
    zone: Option<String>,
    rrsets: Option<bool>,
    rrset_name: Option<String>,
    rrset_type: Option<String>,
}

async fn list_zones(State(api): State<Api>, Query(wanted): Query<Wanted>) -> Json<Value> {
    let world = api.world.load();
    let name = wanted.zone.map(|it| Folded::parse(&it));
    let zones = world.zones.iter().filter(|zone| match &name {
        None => true,
        Some(name) => name.as_ref().is_ok_and(|it| it.octets() == zone.origin()),
    });
    Json(zones.map(|it| shape::zone(it)).collect())
}

async fn show_zone(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let zone = match api.zone(&id) {
        Ok(zone) => zone,
        Err(missing) => return missing.into_response(),
    };
    let mut shown = shape::zone(&zone);
    if wanted.rrsets != Some(false) {
        let name = wanted.rrset_name.map(|it| it.to_ascii_lowercase());
        let sets = shape::sets(&zone).into_iter().filter(|it| {
            name.as_ref()
                .is_none_or(|name| it.name.to_ascii_lowercase() == *name)
                && wanted
                    .rrset_type
                    .as_ref()
                    .is_none_or(|kind| it.kind == *kind)
        });
        shown["rrsets"] = sets.map(|it| json!(it)).collect();
    }
    Json(shown).into_response()
}

async fn patch_zone(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Response {
    let zone = match api.zone(&id) {
        Ok(zone) => zone,
        Err(missing) => return missing.into_response(),
    };
    let patch = match serde_json::from_slice::<Patch>(&body) {
        Ok(patch) => patch,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let count = patch.rrsets.len();
    let change: Change = Box::new(move |zone| patch.changes(zone));
    let outcome = desk::ask(&api.requests, zone.origin().into(), Edit::Change(change)).await;
    info!(zone = %Shown(zone.origin()), sets = count, is_made = outcome.is_ok(), "a change by the API");
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Refused { what, .. }) => problem(StatusCode::UNPROCESSABLE_ENTITY, &what),
    }
}

/// Secondaries hear of every change by themselves.
async fn notify(State(api): State<Api>, Path((_, id)): Path<(String, String)>) -> Response {
    match api.zone(&id) {
        Ok(_) => Json(json!({ "result": "Notification queued" })).into_response(),
        Err(missing) => missing.into_response(),
    }
}

#[derive(Deserialize)]
struct Search {
    q: String,
    max: Option<usize>,
}

async fn search(State(api): State<Api>, Query(search): Query<Search>) -> Json<Value> {
    let world = api.world.load();
    let max = search.max.unwrap_or(FOUND_MAX).min(FOUND_MAX);
    Json(shape::search(world.zones.iter(), &search.q, max))
}

impl Api {
    fn zone(&self, id: &str) -> Result<Arc<Zone>, NoZone> {
        let origin = shape::zone_of_id(id);
        let world = self.world.load();
        let zone = origin.and_then(|it| world.zones.0.get(it.octets()).cloned());
        zone.ok_or_else(|| NoZone(id.to_owned()))
    }
}

/// There is no zone with this id.
struct NoZone(String);

impl IntoResponse for NoZone {
    fn into_response(self) -> Response {
        let what = format!("Could not find domain '{}'", self.0);
        problem(StatusCode::NOT_FOUND, &what)
    }
}

fn problem(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}
