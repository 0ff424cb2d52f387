//! Asks a gRPC server how it is, by the protocol that such servers share (`grpc.health.v1`).

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::describe;
use crate::check::GrpcProbe;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// A message travels behind an octet that says whether it is compressed, and four of length.
const PREFIX_BYTES: usize = 5;
/// The answer is two octets long; who says so much more means something else.
const ANSWER_BYTES_MAX: usize = 1024;
const HEADER_BYTES_MAX: u32 = 16 * 1024;

pub(super) async fn ask<S>(stream: S, probe: &GrpcProbe) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(u32::from(u16::MAX))
        .initial_connection_window_size(u32::from(u16::MAX))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|it| describe(&it))?;
    let request = request(probe)?;

    let mut connection = std::pin::pin!(connection);
    let judged = async {
        let response = sender.send_request(request).await;
        judge(response.map_err(|it| describe(&it))?).await
    };
    let mut judged = std::pin::pin!(judged);
    tokio::select! {
        outcome = &mut judged => outcome,
        // The target may close as soon as it has answered, which leaves the answer to be judged.
        _ = &mut connection => judged.await,
    }
}

fn request(probe: &GrpcProbe) -> Result<Request<Full<Bytes>>, String> {
    let message = HealthCheckRequest {
        service: probe.service.clone(),
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).map_err(|_| "the service's name is too long")?;
    let mut body = vec![0];
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(&message);

    let scheme = if probe.tls.is_some() { "https" } else { "http" };
    Request::post(format!("{scheme}://{}{PATH}", probe.authority))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::from(body))
        .map_err(|it| it.to_string())
}

async fn judge(response: Response<Incoming>) -> Result<(), String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("HTTP status {} instead of 200", status.as_u16()));
    }
    // An error alone comes with the headers, and after a message with the trailers.
    call_status(response.headers())?;
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|it| describe(&it))?.into_data() {
            Ok(data) if seen.len() + data.len() > ANSWER_BYTES_MAX => {
                return Err("the answer is too long for one about health".to_owned());
            }
            Ok(data) => seen.extend_from_slice(&data),
            Err(frame) => frame.trailers_ref().map_or(Ok(()), call_status)?,
        }
    }
    verdict(&seen)
}

/// What became of the call itself: 0 is well, 5 that the service is unknown (gRPC's status codes).
fn call_status(headers: &HeaderMap) -> Result<(), String> {
    match headers.get("grpc-status").map(|it| it.as_bytes()) {
        None | Some(b"0") => Ok(()),
        Some(b"5") => Err("the server does not know the service".to_owned()),
        Some(b"12") => Err("the server does not speak grpc.health.v1".to_owned()),
        Some(other) => Err(format!("gRPC status {}", other.escape_ascii())),
    }
}

fn verdict(body: &[u8]) -> Result<(), String> {
    let nothing = "the answer holds no message";
    let (prefix, rest) = body.split_first_chunk::<PREFIX_BYTES>().ok_or(nothing)?;
    let [compressed, length @ ..] = prefix;
    if *compressed != 0 {
        return Err("the answer is compressed, which nobody asked for".to_owned());
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| nothing)?;
    let message = rest.get(..length).ok_or(nothing)?;
    let answer = HealthCheckResponse::decode(message)
        .map_err(|_| "the answer is no message about health")?;
    match answer.status {
        SERVING => Ok(()),
        0 => Err("the server says UNKNOWN".to_owned()),
        2 => Err("the server says NOT_SERVING".to_owned()),
        3 => Err("the server says SERVICE_UNKNOWN".to_owned()),
        other => Err(format!("the server says status {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_messages_and_what_is_none() {
        check(&[0, 0, 0, 0, 2, 8, 1], Ok(()));
        check(&[0, 0, 0, 0, 2, 8, 2], Err("the server says NOT_SERVING"));
        check(&[0, 0, 0, 0, 0], Err("the server says UNKNOWN"));
        check(&[0, 0, 0, 0, 3, 8, 1], Err("the answer holds no message"));
        check(&[0, 255, 255, 255, 255], Err("the answer holds no message"));
        check(&[], Err("the answer holds no message"));
        let compressed = "the answer is compressed, which nobody asked for";
        check(&[1, 0, 0, 0, 0], Err(compressed));
        let other = "the answer is no message about health";
        check(&[0, 0, 0, 0, 1, 8], Err(other));
    }

    #[track_caller]
    fn check(body: &[u8], expected: Result<(), &str>) {
        assert_eq!(verdict(body), expected.map_err(str::to_owned));
    }
}
