//! Queries over QUIC (RFC 9250): each on a stream of its own, with its length before it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use daemon::Drain;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::places::{PATIENCE, Place, Places};
use super::{Outcome, Responder};
use crate::wire::query::{Received, read};

/// RFC 9250 section 4.1.1.
pub(super) const PROTOCOLS: [&str; 1] = ["doq"];

/// Queries that a connection may have at once.
const STREAMS_MAX: u32 = 100;
/// Queries are short; who sends more only wants the memory.
const QUERY_BYTES_MAX: usize = 4096;
/// What a connection may have of answers that the client did not take yet.
const SEND_BYTES_MAX: u64 = 128 << 10;
/// Handshakes at once, over all clients.
const HANDSHAKES_MAX: usize = 256;

/// RFC 9250 section 4.3.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// Listens for QUIC.
pub(super) fn listen(
    address: SocketAddr,
    only_v6: bool,
    tls: rustls::ServerConfig,
) -> io::Result<Endpoint> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    let config = config(tls)?;
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new(
        EndpointConfig::default(),
        Some(config),
        socket.into(),
        runtime,
    )
}

fn config(tls: rustls::ServerConfig) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    let window = u32::try_from(QUERY_BYTES_MAX).unwrap_or(u32::MAX) + 2;
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(window.into())
        .receive_window((window * STREAMS_MAX / 4).into())
        .send_window(SEND_BYTES_MAX)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(PATIENCE).ok());
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES_MAX);
    Ok(config)
}

/// Answers until the drain starts.
pub(super) async fn serve(
    endpoint: Endpoint,
    places: Places,
    responder: Responder,
    mut drain: Drain,
) {
    loop {
        let incoming = tokio::select! {
            () = drain.started() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let Some(incoming) = admit(incoming, &places) else {
            continue;
        };
        let Some(place) = places.take(incoming.remote_address().ip()) else {
            incoming.refuse();
            continue;
        };
        let (responder, drain) = (responder.clone(), drain.named("connection over quic"));
        tokio::spawn(async move {
            if let Err(error) = greet(incoming, &place, responder, drain).await {
                debug!(%error, "a connection ended early");
            }
        });
    }
    // What connections have to say at their end is sent by the endpoint.
    let ended = timeout(places.patience(), endpoint.wait_idle()).await;
    if ended.is_err() {
        debug!("connections over QUIC did not say goodbye");
    }
}

/// In a crowd, whoever does not show to be where he says he is has to come again.
fn admit(incoming: Incoming, places: &Places) -> Option<Incoming> {
    if !places.is_crowded() || incoming.remote_address_validated() || !incoming.may_retry() {
        return Some(incoming);
    }
    if incoming.retry().is_err() {
        debug!("a client over QUIC cannot be asked to come again");
    }
    None
}

async fn greet(
    incoming: Incoming,
    place: &Place,
    responder: Responder,
    drain: Drain,
) -> io::Result<()> {
    let connection = timeout(place.patience(), incoming.accept()?).await??;
    converse(&connection, place, responder, drain).await;
    Ok(())
}

/// Answers until the client leaves, falls silent or breaks the rules, or the drain starts.
async fn converse(connection: &Connection, place: &Place, responder: Responder, mut drain: Drain) {
    let client = connection.remote_address().ip();
    let mut answering = JoinSet::new();
    let code = loop {
        let patience = place.patience();
        tokio::select! {
            () = drain.started() => break NO_ERROR,
            Some(answered) = answering.join_next() => match answered {
                Ok(Ok(())) => (),
                Ok(Err(Misuse)) => break PROTOCOL_ERROR,
                Err(error) => debug!(%error, "a query was not answered"),
            },
            accepted = timeout(patience, connection.accept_bi()) => match accepted {
                Ok(Ok((send, receive))) => {
                    let exchange = exchange(send, receive, client, responder.clone());
                    answering.spawn(async move {
                        // Who is too slow loses the stream, and may ask again.
                        timeout(patience, exchange).await.unwrap_or(Ok(()))
                    });
                }
                // The client is gone, in whatever way.
                Ok(Err(_)) => return,
                Err(_) if answering.is_empty() => break NO_ERROR,
                Err(_) => break EXCESSIVE_LOAD,
            },
        }
    };
    let is_over = timeout(place.patience(), async {
        while answering.join_next().await.is_some() {}
    });
    if code == NO_ERROR && is_over.await.is_err() {
        debug!("answers over QUIC were not taken");
    }
    connection.close(code, b"");
}

/// The client breaks the rules of RFC 9250.
#[derive(Debug, PartialEq, Eq)]
struct Misuse;

/// Answers the query of one stream.
async fn exchange(
    mut send: SendStream,
    mut receive: RecvStream,
    client: IpAddr,
    responder: Responder,
) -> Result<(), Misuse> {
    let Ok(bytes) = receive.read_to_end(2 + QUERY_BYTES_MAX).await else {
        return Ok(());
    };
    let query = query(&bytes)?;
    let mut answer = vec![0; 2];
    let mut message = Vec::new();
    let outcome = responder.respond(query, client, &mut message);
    if !matches!(outcome, Outcome::Answered) {
        return Err(Misuse);
    }
    let length = u16::try_from(message.len()).expect("messages are at most 65,535 octets");
    answer[..2].copy_from_slice(&length.to_be_bytes());
    answer.append(&mut message);
    // The client may have left.
    if send.write_all(&answer).await.is_ok() && send.finish().is_ok() {
        let _taken = send.stopped().await;
    }
    Ok(())
}

/// The one query of a stream (RFC 9250 sections 4.2, 4.2.1 and 5.5.2).
fn query(bytes: &[u8]) -> Result<&[u8], Misuse> {
    let (length, query) = bytes.split_first_chunk().ok_or(Misuse)?;
    let is_whole = usize::from(u16::from_be_bytes(*length)) == query.len();
    let has_id = query.get(..2).is_none_or(|it| it != [0, 0]);
    let wants_patience = match read(query) {
        Received::Query(query) => query.edns.is_some_and(|it| it.wants_patience),
        Received::Malformed(_) | Received::Nothing | Received::Other(_) => false,
    };
    if !is_whole || has_id || wants_patience {
        return Err(Misuse);
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

    #[test]
    fn a_stream_has_one_query_without_an_id() {
        let framed = [&[0, 19], QUERY].concat();
        assert_eq!(query(&framed), Ok(QUERY));

        let with_id = [&framed[..2], &[0, 7], &framed[4..]].concat();
        let longer = [&framed[..], &[0]].concat();
        for bad in [&framed[..20], &longer, &with_id, &[], &[0], &[0, 0]] {
            assert_eq!(query(bad), Err(Misuse), "{bad:?}");
        }
    }

    #[test]
    fn a_client_must_not_ask_how_long_a_connection_lasts() {
        let mut asking = [&[0, 34], QUERY].concat();
        asking[13] = 1;
        asking.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0");
        assert_eq!(query(&asking), Err(Misuse));
        let head = asking.len() - 4;
        asking[head..].copy_from_slice(&[0, 3, 0, 0]);
        assert_eq!(query(&asking), Ok(&asking[2..]));
    }
}
