//! What the server answers besides gRPC's own services: health, version, and that there is no
//! authentication.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tonic::Status;

use super::maintenance::ETCD_VERSION;

pub(super) fn add(router: Router) -> Router {
    router
        .route("/health", get(async || json(r#"{"health":"true"}"#.into())))
        .route("/version", get(async || json(version())))
        .route(
            "/etcdserverpb.Auth/{method}",
            post(async || no_authentication()),
        )
}

fn version() -> String {
    format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"3.4.0"}}"#)
}

fn json(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

fn no_authentication() -> impl IntoResponse {
    Status::failed_precondition("etcdserver: authentication is not enabled")
        .into_http::<axum::body::Body>()
}
