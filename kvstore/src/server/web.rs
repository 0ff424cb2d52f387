//! What the server answers besides gRPC's services: health, version and metrics.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::maintenance::ETCD_VERSION;
use super::vitals::Vitals;

/// What a browser, a probe or a scraper may ask.
pub(super) fn add_pages(router: Router, vitals: Arc<Vitals>) -> Router {
    let metrics = Arc::clone(&vitals);
    router
        .route("/health", get(async move || health(vitals.is_well())))
        .route(
            "/version",
            get(async || page("application/json", version())),
        )
        .route(
            "/metrics",
            get(async move || page("text/plain; version=0.0.4", metrics.page())),
        )
}

/// As etcd: a store with an alarm is not well.
fn health(is_well: bool) -> impl IntoResponse {
    let status = match is_well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = format!(r#"{{"health":"{is_well}"}}"#);
    (status, page("application/json", text))
}

fn version() -> String {
    format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"3.4.0"}}"#)
}

fn page(kind: &'static str, text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind)], text)
}
