//! A door: the socket through which this node asks others and answers them.
//!
//! It is bound to the node's inner address and to the WireGuard interface, so that nothing that
//! comes from the underlay is ever read, and nothing leaves there.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use nix::sys::socket::sockopt::Ipv4RecvErr;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::{Moment, PORT, Peer, Prober, Reports, Transmit};

/// Deadlines that come this close together are met together.
const TURN: Duration = Duration::from_millis(5);

/// How often what is seen is told, and a socket that cannot be opened is tried again; a change of
/// health is told at once.
const TELL: Duration = Duration::from_secs(1);

/// Datagrams that are read before timers get their turn.
const BATCH_MAX: usize = 256;

/// More than any interface carries.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What should be probed, and from where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probing {
    /// `None` while there is no interface, or no address on it: then nobody can be reached.
    pub ground: Option<Ground>,
    pub peers: BTreeMap<Ipv4Addr, Peer>,
    /// Of the interface.
    pub mtu_bytes: u16,
}

/// What the socket is bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ground {
    pub address: Ipv4Addr,
    /// The index of the WireGuard interface: another one after it was made anew.
    pub link: u32,
}

/// What probes see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    pub reports: Reports,
    /// Why nobody can be asked, if so.
    pub problem: Option<String>,
}

/// Probes what is wanted until its sender is gone, and tells what it sees.
pub async fn follow(
    prober: Prober,
    mut wanted: watch::Receiver<Arc<Probing>>,
    seen: watch::Sender<Arc<Sight>>,
    clock: Clock,
) {
    let mut door = Door {
        prober,
        ground: None,
        socket: None,
        problem: None,
        buffer: vec![0; DATAGRAM_BYTES_MAX],
        datagram: Vec::new(),
        clock,
    };
    let mut transitions = 0;
    let mut tell_at = clock.now();
    loop {
        let soon = clock.now() + TURN;
        let due = door.prober.next_timeout();
        let due = due.map_or(tell_at, |it| it.min(tell_at)).max(soon);
        let moved = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => true,
                Err(_sender_gone) => return,
            },
            () = readable(door.socket.as_ref()) => false,
            () = sleep_until(due.into()) => false,
        };
        let overdue = tell_at <= clock.now();
        if moved || (overdue && door.problem.is_some()) {
            door.take(&Arc::clone(&wanted.borrow_and_update()));
        }
        door.turn();
        if overdue || transitions != door.prober.transitions() {
            transitions = door.prober.transitions();
            tell_at = clock.now() + TELL;
            door.tell(&seen);
        }
    }
}

async fn readable(socket: Option<&UdpSocket>) {
    let ready = match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    };
    // What is wrong with a socket is seen by reading.
    drop(ready);
}

struct Door {
    prober: Prober,
    ground: Option<Ground>,
    socket: Option<UdpSocket>,
    /// Why there is no socket although there is ground for one.
    problem: Option<String>,
    buffer: Vec<u8>,
    datagram: Vec<u8>,
    clock: Clock,
}

impl Door {
    fn take(&mut self, probing: &Probing) {
        self.prober
            .retarget(&probing.peers, probing.mtu_bytes, self.now());
        if self.ground == probing.ground && self.problem.is_none() {
            return;
        }
        // Two sockets cannot have one address.
        self.socket = None;
        self.ground = probing.ground;
        let problem = match probing.ground.map(open).transpose() {
            Ok(socket) => {
                self.socket = socket;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        match (&self.ground, &problem) {
            (Some(ground), None) => info!(address = %ground.address, "probing through tunnels"),
            (None, None) => info!("no interface to probe through"),
            (_, Some(reason)) if problem != self.problem => {
                warn!(%reason, "cannot probe through tunnels; trying again every second");
            }
            (_, Some(_)) => (),
        }
        self.problem = problem;
    }

    /// What has come is read before anything is given up: a process that had to wait has not lost
    /// what waited with it.
    fn turn(&mut self) {
        self.receive();
        self.take_refusals();
        // Who cannot ask learns nothing from silence.
        if self.problem.is_none() {
            let now = self.now();
            self.prober.handle_timeout(now);
        }
        while let Some(transmit) = self.prober.poll_transmit() {
            self.send(transmit);
        }
    }

    fn receive(&mut self) {
        for _ in 0..BATCH_MAX {
            let Some(socket) = &self.socket else {
                return;
            };
            let answer = match socket.try_recv_from(&mut self.buffer) {
                Ok((bytes, SocketAddr::V4(from))) if from.port() == PORT => {
                    let now = self.now();
                    let datagram = &self.buffer[..bytes];
                    self.prober.handle_datagram(*from.ip(), datagram, now)
                }
                Ok(_) => None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of an earlier datagram; the queue of errors says which.
                Err(_) => None,
            };
            if let Some(answer) = answer {
                self.send(answer);
            }
        }
    }

    fn take_refusals(&mut self) {
        let Some(socket) = &self.socket else {
            return;
        };
        let now = self.now();
        for _ in 0..BATCH_MAX {
            match next_error(socket) {
                Some(Some(node)) => self.prober.handle_refusal(node, now),
                Some(None) => (),
                None => return,
            }
        }
    }

    /// A datagram that cannot leave is as good as lost on the way.
    fn send(&mut self, transmit: Transmit) {
        let Some(socket) = &self.socket else {
            return;
        };
        transmit.message.write(&mut self.datagram);
        let to = SocketAddrV4::new(transmit.to, PORT);
        if let Err(error) = socket.try_send_to(&self.datagram, to.into()) {
            debug!(%to, %error, "a probe cannot be sent");
        }
    }

    fn tell(&self, seen: &watch::Sender<Arc<Sight>>) {
        let sight = Sight {
            reports: self.prober.reports(),
            problem: self.problem.clone(),
        };
        seen.send_if_modified(|it| {
            let differs = **it != sight;
            if differs {
                *it = Arc::new(sight);
            }
            differs
        });
    }

    fn now(&self) -> Moment {
        Moment {
            instant: self.clock.now(),
            unix_milliseconds: self.clock.unix_milliseconds(),
        }
    }
}

fn open(ground: Ground) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.bind_device_by_index_v4(NonZeroU32::new(ground.link))?;
    // Never fragmented, whatever the kernel believes of the path: the size is the question.
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    setsockopt(&socket, Ipv4RecvErr, &true)?;
    socket.bind(&SocketAddrV4::new(ground.address, PORT).into())?;
    UdpSocket::from_std(socket.into())
}

/// The next of the socket's errors, and if it is one, the node whose kernel itself says that nobody
/// listens there; `None` when there are no more.
fn next_error(socket: &UdpSocket) -> Option<Option<Ipv4Addr>> {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let descriptor = socket.as_raw_fd();
    let message = recvmsg::<SockaddrIn>(descriptor, &mut [], Some(&mut control), flags).ok()?;
    let to = message.address.map(|it| it.ip());
    let refused = message.cmsgs().ok()?.find_map(|it| {
        let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = it else {
            return None;
        };
        let from = SockaddrIn::from(from).ip();
        let is_refusal = error.ee_origin == libc::SO_EE_ORIGIN_ICMP
            && error.ee_errno == libc::ECONNREFUSED.unsigned_abs();
        (is_refusal && Some(from) == to).then_some(from)
    });
    Some(refused)
}
