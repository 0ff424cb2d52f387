//! Queries over UDP: several sockets on one address, each with a task of its own.
//!
//! A socket on `0.0.0.0` or `[::]` hears what is sent to any address of the machine, and a resolver
//! drops an answer from another address than the one it asked. So each query comes with the address
//! it was sent to, and its answer leaves from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use daemon::Drain;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
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
    match address {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
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
            let (length, way) = match receive(&socket, &mut query) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error about an earlier answer, which nobody waits for.
                Err(error) => {
                    debug!(%error, "receiving failed");
                    continue;
                }
            };
            let query = &query[..length];
            if responder.respond(query, way.client.ip(), Transport::Udp, &mut response)
                && let Err(error) = send(&socket, &response, &way).await
            {
                debug!(%error, client = %way.client, "an answer could not be sent");
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Between whom a query went, which its answer goes back.
#[derive(Clone, Copy, Debug)]
struct Way {
    client: SocketAddr,
    /// `None` if the system does not tell, and may choose.
    asked: Option<Asked>,
}

/// The address that a query was sent to, as the system tells it and wants it back.
#[derive(Clone, Copy, Debug)]
enum Asked {
    V4(in_pktinfo),
    /// Also of an IPv4 query to a socket on `[::]`, as a mapped address.
    V6(in6_pktinfo),
}

/// The next query: its length in `query`, and its way.
fn receive(socket: &UdpSocket, query: &mut [u8]) -> io::Result<(usize, Way)> {
    // The larger of the two, for either.
    let mut control = cmsg_space!(in6_pktinfo);
    socket.try_io(Interest::READABLE, || {
        let mut parts = [IoSliceMut::new(query)];
        let descriptor = socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg(descriptor, &mut parts, Some(&mut control), flags)?;
        let client = message.address.as_ref().and_then(socket_address);
        let client = client.ok_or(io::ErrorKind::InvalidData)?;
        let asked = message.cmsgs()?.find_map(asked);
        Ok((message.bytes, Way { client, asked }))
    })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| (*it).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|it| (*it).into()))
}

fn asked(message: ControlMessageOwned) -> Option<Asked> {
    // The interface is left to the routes: the way back may be another one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is asked for")]
    match message {
        ControlMessageOwned::Ipv4PacketInfo(it) => Some(Asked::V4(in_pktinfo {
            ipi_ifindex: 0,
            ..it
        })),
        ControlMessageOwned::Ipv6PacketInfo(it) => Some(Asked::V6(in6_pktinfo {
            ipi6_ifindex: 0,
            ..it
        })),
        _ => None,
    }
}

async fn send(socket: &UdpSocket, response: &[u8], way: &Way) -> io::Result<()> {
    let from = way.asked.as_ref().map(|it| match it {
        Asked::V4(it) => ControlMessage::Ipv4PacketInfo(it),
        Asked::V6(it) => ControlMessage::Ipv6PacketInfo(it),
    });
    let client = SockaddrStorage::from(way.client);
    let attempt = || {
        let (parts, flags) = ([IoSlice::new(response)], MsgFlags::empty());
        let descriptor = socket.as_raw_fd();
        sendmsg(descriptor, &parts, from.as_slice(), flags, Some(&client))?;
        Ok(())
    };
    socket.async_io(Interest::WRITABLE, attempt).await
}
