//! Queries over UDP: several sockets on one address, each with a thread of its own that takes many
//! queries with one call and sends their answers with another.

mod batch;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::cache::Cache;
use daemon::Drain;
use nix::sys::socket::{setsockopt, sockopt};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Handle;
use tracing::{debug, error, info};

use super::Responder;
use batch::Batch;

/// Holds what arrives while the thread is not scheduled: some ten thousand queries.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The same for what a slow device has not taken yet.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// Answers that no device takes for so long are lost: the client has given up.
const SEND_PATIENCE: Duration = Duration::from_secs(1);
/// The bell is heard after this many batches in a row.
const BATCHES_MAX: usize = 64;
/// A thread that hears nothing lets go of an old world after so long, which may be large.
const STALE_MAX: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A socket that shares `address` with others of its kind; the system spreads clients over them.
///
/// `only_v6` leaves IPv4 to another socket on the same port.
pub(super) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_port(true)?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    // A socket on one address answers from it anyway.
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    widen(&socket);
    socket.set_write_timeout(Some(SEND_PATIENCE))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes the buffers as large as the system lets us. Less than asked for is no reason not to serve.
fn widen(socket: &Socket) {
    // The system's limits are for those who may not go beyond them.
    let receive = setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_ok()
        || socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).is_ok();
    let send = setsockopt(socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_ok()
        || socket.set_send_buffer_size(SEND_BUFFER_BYTES).is_ok();
    if !receive || !send {
        debug!("the buffers of a UDP socket stay as they are");
    }
}

/// The octets that `socket` holds while nobody reads, which the system counts with its own overhead.
pub(super) fn receive_buffer_bytes(socket: &UdpSocket) -> usize {
    socket2::SockRef::from(socket)
        .recv_buffer_size()
        .unwrap_or_default()
}

/// Says how large the buffer of each of `sockets` is, with the remedy if that is little.
pub(super) fn report(address: SocketAddr, sockets: &[UdpSocket]) {
    let bytes = sockets.iter().map(receive_buffer_bytes).min().unwrap_or(0);
    let sockets = sockets.len();
    info!(%address, sockets, receive_buffer_bytes = bytes, "listening for datagrams");
    // The system doubles what it is asked for.
    if bytes < RECEIVE_BUFFER_BYTES {
        info!(
            %address,
            "bursts may be lost; raise net.core.rmem_max to {RECEIVE_BUFFER_BYTES}, or grant CAP_NET_ADMIN"
        );
    }
}

/// Tells the threads to end.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(descriptor)))
    }

    /// Rings once the drain starts. Nobody silences the bell, so that every thread hears it.
    pub(super) async fn ring_at_the_end(self, mut drain: Drain) {
        drain.started().await;
        if let Err(error) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            error!(%error, "cannot tell the threads of UDP to end");
        }
    }
}

/// Answers what comes to `socket`, in a thread of its own, until the bell rings.
pub(super) fn spawn(
    socket: UdpSocket,
    responder: Responder,
    bell: Bell,
    drain: Drain,
) -> io::Result<()> {
    let runtime = Handle::current();
    let thread = thread::Builder::new().name("dns udp".to_owned());
    thread.spawn(move || {
        if let Err(error) = serve(socket, &responder, &bell, &runtime) {
            error!(%error, "a UDP socket is served no longer");
        }
        drop(drain);
    })?;
    Ok(())
}

fn serve(
    socket: UdpSocket,
    responder: &Responder,
    bell: &Bell,
    runtime: &Handle,
) -> io::Result<()> {
    let socket = &Arc::new(socket);
    let mut chance = SmallRng::from_os_rng();
    let mut batch = Batch::new(socket.local_addr()?);
    let mut world = Cache::new(responder.world());
    loop {
        let is_ending = wait(socket, bell)?;
        world.load();
        for _ in 0..BATCHES_MAX {
            if !batch.receive(socket) {
                break;
            }
            let mut turn = responder.turn(world.load());
            batch.answer(|query, client, answer| {
                turn.respond(query, client, chance.next_u64(), answer)
            });
            turn.end();
            batch.send(socket);
            batch.errands(socket).for_each(|errand| {
                runtime.spawn_blocking(errand);
            });
            // A full batch means that more waits, probably.
            if !batch.is_full() {
                break;
            }
        }
        if is_ending {
            return Ok(());
        }
    }
}

/// Waits until something came, for a while; returns whether the bell rang.
fn wait(socket: &UdpSocket, bell: &Bell) -> io::Result<bool> {
    let mut events = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(&bell.0, PollFlags::IN),
    ];
    match poll(&mut events, Some(&STALE_MAX)) {
        Ok(_) | Err(Errno::INTR) => Ok(!events[1].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}
