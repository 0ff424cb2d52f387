//! A small ingress: passes requests on to a pod that is well.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// Answers 200 on `/healthz` while an upstream does, and passes everything else on to one.
#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// A pod; can be given several times.
    #[arg(long, required = true)]
    upstream: Vec<SocketAddr>,
}

/// From the end of one probe of an upstream to the next; with the timeout, no answer on `/healthz`
/// is older than half a second.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

type Body = Either<Incoming, Full<Bytes>>;

#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    well: AtomicBool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::binaries::exit(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let upstreams = options.upstream.into_iter();
    let upstreams: Arc<[Upstream]> = upstreams
        .map(|address| Upstream {
            address,
            well: AtomicBool::new(false),
        })
        .collect();
    for index in 0..upstreams.len() {
        tokio::spawn(probe_for_ever(Arc::clone(&upstreams), index));
    }

    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(serve(stream, Arc::clone(&upstreams)));
            }
        }
    }
}

async fn probe_for_ever(upstreams: Arc<[Upstream]>, index: usize) {
    let upstream = &upstreams[index];
    loop {
        let request = Request::get("/healthz")
            .header("host", "pod")
            .body(Empty::<Bytes>::new());
        let well = match request {
            Ok(request) => timeout(PROBE_TIMEOUT, forward(upstream.address, request)).await,
            Err(_) => return,
        };
        let well = matches!(well, Ok(Ok(response)) if response.status() == StatusCode::OK);
        upstream.well.store(well, Ordering::Relaxed);
        sleep(PROBE_INTERVAL).await;
    }
}

async fn serve(stream: TcpStream, upstreams: Arc<[Upstream]>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&upstreams)));
    let connection = hyper::server::conn::http1::Builder::new();
    // A client that hangs up is not of interest.
    let _hung_up = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    upstreams: Arc<[Upstream]>,
) -> hyper::Result<Response<Body>> {
    let Some(upstream) = upstreams.iter().find(|it| it.well.load(Ordering::Relaxed)) else {
        return Ok(short(StatusCode::SERVICE_UNAVAILABLE));
    };
    if request.uri().path() == "/healthz" {
        return Ok(short(StatusCode::OK));
    }
    let response = forward(upstream.address, request).await;
    Ok(response.map_or_else(
        |_| short(StatusCode::BAD_GATEWAY),
        |it| it.map(Either::Left),
    ))
}

/// Sends a request on a connection of its own.
async fn forward<B>(address: SocketAddr, request: Request<B>) -> Result<Response<Incoming>>
where
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn short(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::new())));
    *response.status_mut() = status;
    response
}
