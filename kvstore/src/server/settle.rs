//! Holds answers back until what they tell is as durable as the store promises.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::Status;

use super::database::Database;

/// Stands around every service of a store with a data directory. A store in memory needs nothing.
pub(super) fn around(router: Router, database: &Arc<Database>) -> Router {
    if database.is_durable() {
        router.layer(from_fn_with_state(Arc::clone(database), answer))
    } else {
        router
    }
}

/// An answer may tell of changes that others made a moment ago, so refusals and reads wait too.
async fn answer(State(database): State<Arc<Database>>, request: Request, next: Next) -> Response {
    database.admitted().await;
    let response = next.run(request).await;
    match database.settled().await {
        Ok(()) => response,
        Err(_) => {
            Status::unavailable("etcdserver: the disk of this store failed").into_http::<Body>()
        }
    }
}
