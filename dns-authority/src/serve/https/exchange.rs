//! Turns a request into a query, and its answer into a response.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::lifetime::lifetime_seconds;
use crate::serve::Outcome;
use crate::serve::Responder;

/// The path that clients know without being told; there is no other.
const PATH: &str = "/dns-query";
/// RFC 8484 section 6.
const MEDIA_TYPE: &str = "application/dns-message";
/// Queries are short.
const QUERY_BYTES_MAX: usize = 4096;
/// The longest message of DNS.
const BODY_BYTES_MAX: usize = 65_535;

/// Answers one request, whose body may take `patience`.
pub(super) async fn exchange(
    request: Request<Incoming>,
    client: IpAddr,
    patience: Duration,
    responder: Responder,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = match timeout(patience, query(request)).await {
        Ok(Ok(query)) => query,
        Ok(Err(status)) => return Ok(refuse(status)),
        Err(_) => return Ok(refuse(StatusCode::REQUEST_TIMEOUT)),
    };
    let mut answer = Vec::new();
    let outcome = responder.respond(&query, client, &mut answer);
    if !matches!(outcome, Outcome::Answered) {
        return Ok(refuse(StatusCode::BAD_REQUEST));
    }
    // RFC 8484 section 5.1: a cache must not keep an answer for longer than DNS would.
    let cache = match lifetime_seconds(&answer) {
        Some(seconds) => format!("max-age={seconds}"),
        None => "no-store".to_owned(),
    };
    let response = Response::builder()
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(CACHE_CONTROL, cache)
        .body(Full::new(answer.into()));
    Ok(response.expect("the headers are text"))
}

/// The query of a request, or why there is none.
async fn query(request: Request<Incoming>) -> Result<Bytes, StatusCode> {
    let (head, body) = request.into_parts();
    // Read although it may not be wanted: a client that is told no in the middle of its request may
    // not listen.
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    if head.uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    if head.method == Method::GET {
        return parameter(head.uri.query().unwrap_or_default());
    }
    if head.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let media_type = head.headers.get(CONTENT_TYPE);
    if media_type.is_none_or(|it| it != MEDIA_TYPE) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let body = body.to_bytes();
    if QUERY_BYTES_MAX < body.len() {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(body)
}

/// The query in the parameter `dns` (RFC 8484 section 4.1).
fn parameter(parameters: &str) -> Result<Bytes, StatusCode> {
    let mut parameters = parameters.split('&');
    let text = parameters.find_map(|it| it.strip_prefix("dns="));
    let text = text.ok_or(StatusCode::BAD_REQUEST)?;
    let query = URL_SAFE_NO_PAD.decode(text);
    let query = query.map_err(|_| StatusCode::BAD_REQUEST)?;
    if QUERY_BYTES_MAX < query.len() {
        return Err(StatusCode::URI_TOO_LONG);
    }
    Ok(query.into())
}

fn refuse(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET, POST");
    }
    let response = response.body(Full::default());
    response.expect("the header is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_query_among_parameters() {
        let check = |text: &str, expected: Result<&[u8], StatusCode>| {
            let found = parameter(text);
            assert_eq!(found.as_deref().map_err(|it| *it), expected, "{text}");
        };
        check("dns=_-8", Ok(&[0xff, 0xef]));
        check("ct&dns=AAE&x=y", Ok(&[0, 1]));
        check("dns=", Ok(&[]));
        for bad in ["", "dns", "DNS=AAE", "dns=AAE=", "dns=+/8", "dns=A"] {
            check(bad, Err(StatusCode::BAD_REQUEST));
        }
        let long = format!("dns={}", "AAAA".repeat(QUERY_BYTES_MAX / 3 + 1));
        assert_eq!(parameter(&long), Err(StatusCode::URI_TOO_LONG));
    }
}
