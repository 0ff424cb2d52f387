//! Queries over TCP (RFC 7766): each with its length before it, any number per connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use daemon::Drain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::Responder;
use crate::message::Transport;

/// Each holds a file descriptor and some kilobytes; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1000;
/// Queries are short; who announces more only wants the memory.
const QUERY_BYTES_MAX: usize = 4096;
/// A client that says nothing for so long gives its place to another, and much sooner while others
/// may need it (RFC 7766 section 6.2.3).
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX_IN_A_CROWD: Duration = Duration::from_secs(1);
/// The pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(listener: TcpListener, responder: Responder, mut drain: Drain) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = drain.started() => return,
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
                listener.accept().await.map(|(stream, _)| (stream, place))
            } => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (responder, drain) = (responder.clone(), drain.named("tcp connection"));
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &place, responder, drain).await {
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

/// Answers one query after the other until the client leaves, falls silent or the drain starts.
async fn converse(
    stream: TcpStream,
    place: &OwnedSemaphorePermit,
    mut responder: Responder,
    mut drain: Drain,
) -> io::Result<()> {
    let client = stream.peer_addr()?.ip();
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (mut query, mut response, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let patience = patience(place.semaphore().available_permits());
        tokio::select! {
            () = drain.started() => return Ok(()),
            read = tokio::time::timeout(patience, read(&mut reader, &mut query)) => {
                if !read?? {
                    return Ok(());
                }
            }
        }
        if !responder.respond(&query, client, Transport::Tcp, &mut response) {
            return Ok(());
        }
        let length = u16::try_from(response.len()).expect("messages are at most 65,535 octets");
        framed.clear();
        framed.extend(length.to_be_bytes());
        framed.extend_from_slice(&response);
        tokio::time::timeout(patience, writer.write_all(&framed)).await??;
    }
}

/// How long a client may take for a query or an answer while so many places are free.
fn patience(free: usize) -> Duration {
    match free < CONNECTIONS_MAX / 2 {
        true => IDLE_MAX_IN_A_CROWD,
        false => IDLE_MAX,
    }
}

/// Reads the next query; false at the end of the connection, or of what is believed to be one.
async fn read(
    reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>,
    query: &mut Vec<u8>,
) -> io::Result<bool> {
    let length = match reader.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > QUERY_BYTES_MAX {
        return Ok(false);
    }
    query.resize(length, 0);
    reader.read_exact(query).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_clients_make_room_sooner_when_others_may_need_it() {
        assert_eq!(patience(CONNECTIONS_MAX - 1), IDLE_MAX);
        assert_eq!(patience(0), IDLE_MAX_IN_A_CROWD);
    }
}
