//! Queries over UDP: several sockets on one address, each with a task of its own.

use std::io;
use std::net::SocketAddr;

use daemon::Drain;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tracing::debug;

use super::Responder;
use crate::message::Transport;

/// Queries are short; what is longer is cut and cannot be read.
const QUERY_BYTES_MAX: usize = 4096;
/// Holds bursts while the task is elsewhere: some thousand queries.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// Other tasks get a turn after this many queries in a row.
const BURST_MAX: usize = 64;

/// A socket that shares `address` with others of its kind; the system spreads clients over them.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Less than asked for is no reason not to serve.
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        debug!(%error, "the receive buffer stays as it is");
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

pub(super) async fn serve(socket: UdpSocket, mut responder: Responder, mut drain: Drain) {
    let mut query = vec![0; QUERY_BYTES_MAX];
    let mut response = Vec::with_capacity(QUERY_BYTES_MAX);
    loop {
        tokio::select! {
            () = drain.started() => return,
            ready = socket.readable() => if let Err(error) = ready {
                debug!(%error, "the socket has an error");
            }
        }
        for _ in 0..BURST_MAX {
            let (length, client) = match socket.try_recv_from(&mut query) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error about an earlier answer, which nobody waits for.
                Err(error) => {
                    debug!(%error, "receiving failed");
                    continue;
                }
            };
            let query = &query[..length];
            if responder.respond(query, client.ip(), Transport::Udp, &mut response)
                && let Err(error) = socket.send_to(&response, client).await
            {
                debug!(%error, %client, "an answer could not be sent");
            }
        }
        tokio::task::yield_now().await;
    }
}
