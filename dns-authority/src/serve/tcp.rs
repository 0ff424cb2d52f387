//! Accepts connections, as many as there are places, plain and encrypted (RFC 7858).

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use daemon::Drain;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::Responder;
use super::places::{Place, Places};
use super::stream::{Peer, converse};

/// What clients over TLS may choose; most do not.
pub(super) const TLS_PROTOCOLS: [&str; 1] = ["dot"];

/// The pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Has every connection served by `serve`, each in a task of its own, until the drain starts.
pub(super) async fn accept<Served>(
    listener: TcpListener,
    places: Places,
    mut drain: Drain,
    serve: impl Fn(TcpStream, Place, Drain) -> Served,
) where
    Served: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = drain.started() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                // Refused by closing; there is no other way to say no.
                let Some(place) = places.take(client.ip()) else {
                    continue;
                };
                let served = serve(stream, place, drain.named("connection"));
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        debug!(%error, "a connection ended early");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers over plain connections.
pub(super) async fn serve(
    listener: TcpListener,
    places: Places,
    responder: Responder,
    drain: Drain,
) {
    accept(listener, places, drain, |stream, place, drain| {
        let responder = responder.clone();
        async move {
            let address = stream.peer_addr()?.ip();
            stream.set_nodelay(true)?;
            let peer = Peer { address, place };
            converse(stream, &peer, responder, drain).await
        }
    })
    .await;
}

/// Answers over encrypted connections.
pub(super) async fn serve_tls(
    listener: TcpListener,
    places: Places,
    tls: Arc<ServerConfig>,
    responder: Responder,
    drain: Drain,
) {
    accept(listener, places, drain, |stream, place, drain| {
        let (responder, tls) = (responder.clone(), Arc::clone(&tls));
        async move {
            let address = stream.peer_addr()?.ip();
            let stream = encrypt(stream, tls, &place).await?;
            let peer = Peer { address, place };
            converse(stream, &peer, responder, drain).await
        }
    })
    .await;
}

/// Shakes hands, in the time that a query may take.
pub(super) async fn encrypt(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    place: &Place,
) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    timeout(place.patience(), TlsAcceptor::from(tls).accept(stream)).await?
}
