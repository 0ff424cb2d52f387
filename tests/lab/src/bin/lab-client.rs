//! A load client for a pod: asks over and over, and writes down what came of it.
#![expect(clippy::print_stdout, reason = "the records are the program's output")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use lab::record::{Outcome, Record, Server};
use lab::{dns_message, now, unix_microseconds};
use tokio::net::{TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Writes one line of JSON per request until SIGTERM, or until the count is reached.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    target: Target,
    /// From one request to the next, whether answered or not.
    #[arg(long, global = true, default_value_t = 100)]
    interval_ms: u64,
    /// How long an answer may take.
    #[arg(long, global = true, default_value_t = 1_000)]
    timeout_ms: u64,
    /// How many requests to send; without it, there is no end.
    #[arg(long, global = true)]
    count: Option<u64>,
}

#[derive(Clone, Debug, Subcommand)]
enum Target {
    /// Asks a web server, on a new connection each time.
    Http {
        /// With an IPv4 address for a host.
        #[arg(long)]
        url: Uri,
    },
    /// Asks a name server for an IPv4 address, over UDP, from a new port each time.
    Dns {
        #[arg(long)]
        server: SocketAddrV4,
        #[arg(long)]
        name: String,
    },
}

/// How many requests may be without an answer; above it, a request fails at once.
const MOST_AT_ONCE: usize = 256;

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 64 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::binaries::exit(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let patience = Duration::from_millis(options.timeout_ms);
    let mut ticks = interval(Duration::from_millis(options.interval_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut terminate = signal(SignalKind::terminate())?;
    let slots = Arc::new(Semaphore::new(MOST_AT_ONCE));

    for _ in 0..options.count.unwrap_or(u64::MAX) {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = ticks.tick() => (),
        }
        let (slot, target) = (
            Arc::clone(&slots).try_acquire_owned(),
            options.target.clone(),
        );
        tokio::spawn(async move {
            let (at_microseconds, start) = (unix_microseconds(), now());
            let outcome = match &slot {
                Ok(_) => timeout(patience, ask(&target)).await,
                Err(_) => Ok(Err(anyhow::anyhow!("too many requests without an answer"))),
            };
            let outcome = outcome.unwrap_or_else(|_| bail!("timeout"));
            let duration = u64::try_from((now() - start).as_micros()).unwrap_or(u64::MAX);
            print(&Record {
                at_microseconds,
                duration_microseconds: duration,
                outcome: outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
            });
        });
    }
    // Whoever still waits for an answer gets it, or its timeout.
    let all = u32::try_from(MOST_AT_ONCE).unwrap_or(u32::MAX);
    let _closed = slots.acquire_many(all).await;
    Ok(())
}

async fn ask(target: &Target) -> Result<Outcome> {
    match target {
        Target::Http { url } => ask_web(url).await.map(Outcome::Served),
        Target::Dns { server, name } => ask_names(*server, name).await,
    }
}

async fn ask_web(url: &Uri) -> Result<Server> {
    let host: Ipv4Addr = url
        .host()
        .unwrap_or_default()
        .parse()
        .context("not an IPv4 address")?;
    let address = SocketAddr::from((host, url.port_u16().unwrap_or(80)));
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |it| it.as_str());
    let request = Request::get(path).header("host", host.to_string());
    let request = request
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("no answer")?;
    if response.status() != StatusCode::OK {
        bail!("status {}", response.status().as_u16());
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow::anyhow!("half an answer: {error}"))?;
    serde_json::from_slice(&body.to_bytes()).context("an answer from somebody else")
}

async fn ask_names(server: SocketAddrV4, name: &str) -> Result<Outcome> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    let id = rand::random();
    let query = dns_message::query(id, name).context("not a name")?;
    socket.send(&query).await.context("cannot send")?;
    let mut buffer = [0; 1_500];
    loop {
        let length = socket.recv(&mut buffer).await.context("no answer")?;
        match dns_message::answer(id, &buffer[..length]) {
            Err(dns_message::BadAnswer::Unrelated) => (),
            answer => {
                let dns_message::Answer {
                    addresses,
                    ttl_seconds,
                } = answer?;
                return Ok(Outcome::Resolved {
                    addresses,
                    ttl_seconds,
                });
            }
        }
    }
}

/// Standard output writes every line at once.
fn print(record: &Record) {
    match serde_json::to_string(record) {
        Ok(line) => println!("{line}"),
        Err(error) => tracing::error!(%error, "cannot write a record"),
    }
}
