//! Stands before every service for clients on the network: counts requests, and refuses those above
//! a user's rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use tonic::Code;

use super::database::Database;
use super::limits::Limits;
use super::peer::Peer;
use super::rates::{Rates, User};
use super::requests::Requests;
use super::status::too_many_requests;

#[derive(Debug)]
pub(super) struct Intake {
    rates: Mutex<Rates>,
    refused: AtomicU64,
    pub(super) requests: Requests,
}

/// In the extensions of requests from the network: what a stream needs to keep to the rate, too.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    intake: Arc<Intake>,
    user: User,
}

impl Intake {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            rates: Mutex::new(Rates::new(limits)),
            refused: AtomicU64::new(0),
            requests: Requests::default(),
        })
    }

    pub(super) async fn admit(
        State(intake): State<Arc<Self>>,
        mut request: Request,
        next: Next,
    ) -> Response {
        let is_grpc = is_grpc(request.headers());
        let method = intake.requests.method(request.uri().path());
        if is_grpc {
            intake.requests.start(method);
        }
        let user = request.extensions().get::<Peer>().map(User::from);
        if let Some(user) = user {
            let allowance = Allowance {
                intake: Arc::clone(&intake),
                user,
            };
            if allowance.take().is_err() {
                intake.refused.fetch_add(1, Ordering::Relaxed);
                if !is_grpc {
                    return StatusCode::TOO_MANY_REQUESTS.into_response();
                }
                intake.requests.finish(method, Code::ResourceExhausted);
                return too_many_requests().into_http();
            }
            request.extensions_mut().insert(allowance);
        }

        let mut response = next.run(request).await;
        if is_grpc {
            let code = settle(response.headers_mut());
            intake.requests.finish(method, code);
        }
        response
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Allowance {
    /// Waits until the user may send one more message on a stream: meanwhile nobody reads it, and so
    /// the client has to wait, too.
    pub(super) async fn wait(&self) {
        while let Err(wait) = self.take() {
            tokio::time::sleep(wait).await;
        }
    }

    fn take(&self) -> Result<(), Duration> {
        let rates = &self.intake.rates;
        let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(&self.user, Database::now())
    }
}

/// The messages of a stream, each when its user may send it; the own process always may.
pub(super) fn within<S>(
    allowance: Option<Allowance>,
    messages: S,
) -> impl Stream<Item = S::Item> + Send
where
    S: Stream<Item: Send> + Send,
{
    messages.then(move |message| {
        let allowance = allowance.clone();
        async move {
            if let Some(allowance) = allowance {
                allowance.wait().await;
            }
            message
        }
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

/// The code of an answer's head, where a refusal has it; an answer that begins is well so far. A
/// message over the limit gets etcd's words: clients match on them.
fn settle(headers: &mut HeaderMap) -> Code {
    let Some(code) = headers.get("grpc-status") else {
        return Code::Ok;
    };
    let code = Code::from_bytes(code.as_bytes());
    let message = headers
        .get("grpc-message")
        .map_or(&b""[..], HeaderValue::as_bytes);
    if code != Code::OutOfRange || !message.starts_with(TOO_LARGE) {
        return code;
    }
    headers.insert("grpc-status", HeaderValue::from_static("8"));
    let message = HeaderValue::from_static("grpc: received message larger than max");
    headers.insert("grpc-message", message);
    Code::ResourceExhausted
}

/// How the gRPC library begins to say it, as it is in a header.
const TOO_LARGE: &[u8] = b"Error,%20decoded%20message%20length%20too%20large";
