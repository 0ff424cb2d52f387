//! Queries over HTTPS (RFC 8484), over HTTP/1.1 and HTTP/2.

mod exchange;
mod lifetime;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use daemon::Drain;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Responder;
use super::places::{Place, Places};
use super::tcp::{accept, encrypt};
use exchange::exchange;

/// What clients may choose, the better first.
pub(super) const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Requests that a connection may have at once; RFC 9113 section 5.1.2 asks for so many.
const STREAMS_MAX: u32 = 100;
/// What a request's head may take: a query in an address, and the headers of browsers.
const HEAD_BYTES_MAX: u32 = 16 << 10;
/// What an HTTP/2 stream may take of a query before it is read.
const WINDOW_BYTES: u32 = 16 << 10;

pub(super) async fn serve(
    listener: TcpListener,
    places: Places,
    tls: Arc<ServerConfig>,
    responder: Responder,
    drain: Drain,
) {
    accept(listener, places, drain, |stream, place, drain| {
        let (responder, tls) = (responder.clone(), Arc::clone(&tls));
        async move {
            let client = stream.peer_addr()?.ip();
            let stream = encrypt(stream, tls, &place).await?;
            converse(stream, client, &place, responder, drain).await
        }
    })
    .await;
}

async fn converse(
    stream: TlsStream<TcpStream>,
    client: IpAddr,
    place: &Place,
    responder: Responder,
    drain: Drain,
) -> io::Result<()> {
    let is_second = stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0].as_bytes());
    let (sender, requests) = watch::channel(());
    let patience = place.patience();
    let service = service_fn(move |request| {
        sender.send_replace(());
        exchange(request, client, patience, responder.clone())
    });
    let stream = TokioIo::new(stream);
    if is_second {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .initial_stream_window_size(WINDOW_BYTES)
            .max_send_buf_size(usize::from(u16::MAX))
            .serve_connection(stream, service);
        let stop = http2::Connection::graceful_shutdown;
        supervise(pin!(connection), stop, requests, place, drain).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_header_size(HEAD_BYTES_MAX.try_into().unwrap_or(usize::MAX))
            .serve_connection(stream, service);
        let stop = http1::Connection::graceful_shutdown;
        supervise(pin!(connection), stop, requests, place, drain).await
    }
}

/// Drives a connection until it ends, falls silent or the drain starts; what is under way then gets the
/// time to end.
async fn supervise<Connection: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut Connection>,
    stop: fn(Pin<&mut Connection>),
    mut requests: watch::Receiver<()>,
    place: &Place,
    mut drain: Drain,
) -> io::Result<()> {
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = drain.started() => break,
            request = timeout(place.patience(), requests.changed()) => {
                if !matches!(request, Ok(Ok(()))) {
                    break;
                }
            }
        }
    }
    stop(connection.as_mut());
    let ended = timeout(place.patience(), connection).await?;
    ended.map_err(io::Error::other)
}
