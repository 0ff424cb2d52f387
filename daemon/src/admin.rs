//! Serves the admin endpoint: `/live`, `/ready`, `/metrics` and the binary's own routes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::Readiness;
use crate::metrics::CONTENT_TYPE;

/// Scrapers, probes and a few people asking: more at once is a mistake somewhere, and waits.
const CONNECTIONS_MAX: usize = 64;
/// Our requests are a line and a few headers; hyper refuses to work with less than 8 KiB.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A client that needs longer to ask is stuck.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request with its answer: a slow reader must not keep its place for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All routes of a process: ours, and `routes` of the binary, none of which may be one of ours.
pub(crate) fn router(
    readiness: Readiness,
    registry: Registry,
    routes: impl IntoIterator<Item = (&'static str, MethodRouter)>,
) -> Router {
    let own = [
        ("/live", get(live)),
        ("/metrics", get(metrics).with_state(Arc::new(registry))),
        ("/ready", get(ready).with_state(readiness)),
    ];
    let mut paths = Vec::new();
    let mut router = Router::new();
    for (path, route) in own.into_iter().chain(routes) {
        paths.push(path);
        router = router.route(path, route);
    }
    router.fallback(async move |uri: Uri| not_found(&uri, &paths))
}

/// Answers on `listener` for as long as the process lives, also while it drains.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(connection, router).await {
                debug!(%error, "an admin connection ended early");
            }
            drop(place);
        });
    }
}

/// Answers one request: connections are few and local, and without keep-alive none lingers.
async fn answer(connection: TcpStream, router: Router) -> io::Result<()> {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    tokio::time::timeout(CONNECTION_TIMEOUT, serving)
        .await?
        .map_err(io::Error::other)
}

async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let waiting = readiness.waiting();
    let status = match waiting.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "ready": waiting.is_empty(), "waiting": waiting });
    (status, Json(body)).into_response()
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn not_found(uri: &Uri, paths: &[&str]) -> Response {
    let body = json!({ "error": format!("there is no {}", uri.path()), "paths": paths });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{Clock, metrics};

    #[tokio::test]
    async fn says_what_readiness_waits_for() {
        let readiness = Readiness::new();
        let synced = readiness.guard("the mesh is synced");
        let address = start(&readiness).await;

        let (status, _, body) = ask(address, "/ready").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"ready":false,"waiting":["the mesh is synced"]}"#);
        assert_eq!(ask(address, "/live").await.0, 200);

        drop(synced);
        let (status, _, body) = ask(address, "/ready").await;
        assert_eq!(status, 200);
        assert_eq!(body, r#"{"ready":true,"waiting":[]}"#);
    }

    #[tokio::test]
    async fn serves_metrics_as_open_metrics() {
        let readiness = Readiness::new();
        let address = start(&readiness).await;

        let (status, head, body) = ask(address, "/metrics").await;

        assert_eq!(status, 200);
        assert!(head.contains(CONTENT_TYPE), "{head}");
        let version = env!("CARGO_PKG_VERSION");
        let build = format!(r#"mesh_daemon_build_info{{binary="test",version="{version}"}}"#);
        assert_eq!(sample(&body, &build), 1.0);
        assert_eq!(sample(&body, "mesh_daemon_ready"), 1.0);
        assert!(sample(&body, "process_start_time_seconds") > 1.5e9);
        assert!(body.ends_with("# EOF\n"), "{body}");

        let _synced = readiness.guard("the mesh is synced");
        let (_, _, body) = ask(address, "/metrics").await;
        assert_eq!(sample(&body, "mesh_daemon_ready"), 0.0);
    }

    #[tokio::test]
    async fn lists_the_paths_there_are_for_one_there_is_not() {
        let address = start(&Readiness::new()).await;

        let (status, _, body) = ask(address, "/status").await;

        assert_eq!(status, 404);
        assert_eq!(
            body,
            r#"{"error":"there is no /status","paths":["/live","/metrics","/ready","/v1/status"]}"#
        );
        assert_eq!(ask(address, "/v1/status").await.2, "well");
    }

    #[tokio::test]
    async fn refuses_a_request_without_an_end() {
        let address = start(&Readiness::new()).await;
        let endless = "a".repeat(2 * HEADER_BYTES_MAX);

        let (status, _, _) = ask(address, &format!("/{endless}")).await;

        assert!((400..500).contains(&status), "{status}");
    }

    async fn start(readiness: &Readiness) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = metrics::registry("test", readiness.clone(), Clock);
        let routes = [("/v1/status", get(async || "well"))];
        tokio::spawn(serve(listener, router(readiness.clone(), registry, routes)));
        address
    }

    /// The status, the head and the body of the answer to `GET path`.
    async fn ask(address: SocketAddr, path: &str) -> (u16, String, String) {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses the request may reset the connection after its answer.
        let _ = connection.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// The value of the line that starts with `name`.
    #[track_caller]
    fn sample(body: &str, name: &str) -> f64 {
        let mut lines = body.lines();
        let value = lines.find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("{name} in {body}"))
            .parse()
            .unwrap()
    }
}
