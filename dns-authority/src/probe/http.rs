//! Asks for a URL, and judges the answer. Whatever the target does costs bounded time and memory.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::describe;
use crate::check::HttpProbe;

/// What is read of a target before it is looked at, all headers included: more than any health
/// endpoint says, and little enough for a thousand probes at once.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Sends the request, and judges the response.
pub(super) async fn exchange<S>(stream: S, probe: &HttpProbe) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|it| describe(&it))?;
    let request = request(probe)?;

    let mut connection = std::pin::pin!(connection);
    let judged = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|it| describe(&it))?;
        judge(response, probe).await
    };
    let mut judged = std::pin::pin!(judged);
    tokio::select! {
        outcome = &mut judged => outcome,
        // The target may close as soon as it has answered, which leaves the answer to be judged.
        _ = &mut connection => judged.await,
    }
}

fn request(probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(&probe.path)
        .header(header::HOST, &probe.authority)
        .header(header::USER_AGENT, &probe.user_agent)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|it| it.to_string())?;
    for (name, value) in probe.headers.iter() {
        let unfit = || format!("`{name}` cannot be sent as a header");
        let name = HeaderName::try_from(name).map_err(|_| unfit())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| unfit())?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<(), String> {
    let status = response.status().as_u16();
    if !probe.expected_status.contains(status) {
        return Err(format!(
            "status {status} instead of {}",
            probe.expected_status
        ));
    }
    match probe.body_contains.as_deref() {
        None | Some("") => Ok(()),
        Some(wanted) => look_for(wanted, response.into_body(), probe.body_bytes_max).await,
    }
}

/// Reads up to `most` octets of the body until they hold `wanted`.
async fn look_for(wanted: &str, mut body: Incoming, most: usize) -> Result<(), String> {
    let mut seen = Vec::new();
    while seen.len() < most
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(|it| describe(&it))?.into_data() else {
            continue;
        };
        // What was seen before is not looked through again: a body may come octet by octet.
        let fresh = seen.len().saturating_sub(wanted.len() - 1);
        seen.extend_from_slice(&data[..data.len().min(most - seen.len())]);
        let mut windows = seen[fresh..].windows(wanted.len());
        if windows.any(|it| it == wanted.as_bytes()) {
            return Ok(());
        }
    }
    Err(format!("the body does not contain `{wanted}`"))
}
