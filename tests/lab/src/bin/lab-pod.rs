//! A small web server for a pod, which says who it is.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lab::record::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// Answers who it is on `/`, 200 on `/healthz`, and the posted body on `/echo`.
#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    #[arg(long)]
    region: String,
    #[arg(long)]
    node: String,
    #[arg(long)]
    pod: String,
}

/// The largest body that is echoed, in bytes.
const LARGEST_BODY: usize = 16 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::binaries::exit(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let Options {
        listen,
        region,
        node,
        pod,
    } = options;
    let who = serde_json::to_vec(&Server { region, node, pod })?;
    let who = Bytes::from(who);
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(serve(stream, who.clone()));
            }
        }
    }
}

async fn serve(stream: TcpStream, who: Bytes) {
    let service = service_fn(move |request| answer(request, who.clone()));
    let connection = hyper::server::conn::http1::Builder::new();
    // A client that hangs up is not of interest.
    let _hung_up = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, who: Bytes) -> hyper::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    Ok(match (parts.method, parts.uri.path()) {
        (Method::GET, "/healthz") => response(StatusCode::OK, Bytes::from_static(b"ok\n")),
        (Method::GET, "/") => {
            let mut response = response(StatusCode::OK, who);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        (Method::POST, "/echo") => match Limited::new(body, LARGEST_BODY).collect().await {
            Ok(body) => response(StatusCode::OK, body.to_bytes()),
            Err(_) => response(StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()),
        },
        _ => response(StatusCode::NOT_FOUND, Bytes::new()),
    })
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}
