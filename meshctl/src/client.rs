//! Asks one daemon one question over HTTP, and says plainly when there is no answer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::net::TcpStream;

/// A daemon answers from memory: one that takes longer is overloaded or gone, and the others'
/// answers are waiting to be shown.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// A daemon that looks at other stores first answers within its admin endpoint's limit of 30 s.
const LOOK_TIMEOUT: Duration = Duration::from_secs(35);
/// A report of thousands of nodes is a few megabytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The admin address of a daemon: `http://HOST:PORT`, and nothing after it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Endpoint {
    /// Host and port.
    authority: String,
}

#[derive(Debug, Error)]
#[error("{text:?} is not an admin address such as http://192.0.2.10:9962")]
pub(crate) struct InvalidEndpoint {
    text: String,
}

/// Why a question has no answer, in words for the person who asked.
#[derive(Debug, Error)]
pub(crate) enum Unanswered {
    #[error("answered {status}: {said}")]
    Refused { status: StatusCode, said: String },
    #[error("no answer within {} s; is it overloaded?", .0.as_secs())]
    Silent(Duration),
    #[error("unreachable: {why}; is it running?")]
    Unreachable { why: String },
    #[error("its answer is not understood: {why}; are it and meshctl of one version?")]
    Unreadable { why: String },
}

impl Endpoint {
    /// Asks `GET path` and reads the answer as `T`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.get_within(ANSWER_TIMEOUT, path).await
    }

    /// Asks for what the daemon has to find out first.
    pub(crate) async fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.get_within(LOOK_TIMEOUT, path).await
    }

    /// Wants something done, `POST path`, and reads the answer as `T`.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.within(ANSWER_TIMEOUT, Method::POST, path).await
    }

    async fn get_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        path: &str,
    ) -> Result<T, Unanswered> {
        self.within(limit, Method::GET, path).await
    }

    async fn within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
    ) -> Result<T, Unanswered> {
        let (status, body) = tokio::time::timeout(limit, self.exchange(method, path))
            .await
            .map_err(|_| Unanswered::Silent(limit))??;
        if !status.is_success() {
            return Err(Unanswered::Refused {
                status,
                said: complaint(&body),
            });
        }
        serde_json::from_slice(&body).map_err(|error| Unanswered::Unreadable {
            why: error.to_string(),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let connection = TcpStream::connect(&self.authority)
            .await
            .map_err(|error| Unanswered::Unreachable { why: plain(&error) })?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(broken)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| Unanswered::Unreadable {
                why: error.to_string(),
            })?;

        let answer = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| Unanswered::Unreadable {
                    why: error.to_string(),
                })?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may be closed in the same moment in which the answer is complete.
            _ = driver => answer.await,
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;

    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        let uri: Option<Uri> = text.parse().ok();
        let authority = uri
            .filter(|it| {
                it.scheme_str() == Some("http") && it.path() == "/" && it.query().is_none()
            })
            .filter(|it| it.port().is_some())
            .and_then(|it| it.authority().map(ToString::to_string))
            .filter(|it| !it.contains('@'));
        match authority {
            Some(authority) => Ok(Self { authority }),
            None => Err(InvalidEndpoint { text }),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// `text` as one segment of a path or one value of a query: everything that could mean something
/// else there is written as `%XX` (RFC 3986, section 2.1).
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What a daemon said about a question that it did not answer: the `error` of its JSON, or its
/// first line.
fn complaint(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Complaint {
        error: String,
    }
    match serde_json::from_slice(body) {
        Ok(Complaint { error }) => error,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

fn broken(error: hyper::Error) -> Unanswered {
    Unanswered::Unreachable {
        why: error.to_string(),
    }
}

/// The common errors without the operating system's numbers.
fn plain(error: &io::Error) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of IO errors are not ours, and the others describe themselves"
    )]
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no way to the host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "no way to its network".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_admin_addresses_only() {
        check("http://192.0.2.10:9962", true);
        check("http://[2001:db8::1]:9962", true);
        check("http://eu-control:9962/", true);
        check("https://192.0.2.10:9962", false);
        check("192.0.2.10:9962", false);
        check("http://192.0.2.10", false);
        check("http://192.0.2.10:9962/v1", false);
        check("http://user@192.0.2.10:9962", false);
        check("", false);
    }

    #[test]
    fn escapes_what_would_end_a_segment_or_a_value() {
        assert_eq!(escape("shop.global.example"), "shop.global.example");
        assert_eq!(escape("a/b?c&d=e é"), "a%2Fb%3Fc%26d%3De%20%C3%A9");
    }

    #[test]
    fn reads_a_complaint_in_either_form() {
        assert_eq!(complaint(br#"{"error":"no such node"}"#), "no such node");
        assert_eq!(complaint(b"bad gateway\nmore"), "bad gateway");
        assert_eq!(complaint(b""), "");
    }

    #[track_caller]
    fn check(text: &str, accepted: bool) {
        assert_eq!(
            Endpoint::try_from(text.to_owned()).is_ok(),
            accepted,
            "{text}"
        );
    }
}
