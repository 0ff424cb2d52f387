//! A door: the sockets through which this node asks others and answers them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::Socket;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::{Moment, PORT, Peer, Prober, Reports, Said, Transmit};
use crate::inner_sockets::{Ground, InnerSockets};

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
    pub peers: BTreeMap<IpAddr, Peer>,
    /// Of the interface.
    pub mtu_bytes: u16,
}

/// What probes see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    pub reports: Reports,
    pub said: Said,
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
        sockets: InnerSockets::default(),
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
            () = door.sockets.readable() => false,
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

struct Door {
    prober: Prober,
    ground: Option<Ground>,
    sockets: InnerSockets,
    /// Why there are no sockets although there is ground for some.
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
        self.sockets = InnerSockets::default();
        self.ground = probing.ground;
        let open = |it| InnerSockets::open(it, PORT, prepare);
        let problem = match probing.ground.map(open).transpose() {
            Ok(sockets) => {
                self.sockets = sockets.unwrap_or_default();
                None
            }
            Err(error) => Some(error.to_string()),
        };
        match (&self.ground, &problem) {
            (
                Some(Ground {
                    address,
                    address_v6,
                    ..
                }),
                None,
            ) => {
                info!(?address, ?address_v6, "probing through tunnels");
            }
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
            let (bytes, from) = match self.sockets.receive(&mut self.buffer) {
                Some(Ok((bytes, from))) if from.port() == PORT => (bytes, from),
                // The queue of errors says of which datagram it is.
                Some(Ok(_) | Err(_)) => continue,
                None => return,
            };
            let now = self.now();
            let datagram = &self.buffer[..bytes];
            let answer = self.prober.handle_datagram(from.ip(), datagram, now);
            if let Some(answer) = answer {
                self.send(answer);
            }
        }
    }

    fn take_refusals(&mut self) {
        let now = self.now();
        for socket in self.sockets.iter() {
            for _ in 0..BATCH_MAX {
                match next_error(socket) {
                    Some(Some(node)) => self.prober.handle_refusal(node, now),
                    Some(None) => (),
                    None => break,
                }
            }
        }
    }

    /// A datagram that cannot leave is as good as lost on the way.
    fn send(&mut self, transmit: Transmit) {
        let Some(socket) = self.sockets.towards(transmit.to) else {
            return;
        };
        transmit.message.write(&mut self.datagram);
        let to = SocketAddr::new(transmit.to, PORT);
        if let Err(error) = socket.try_send_to(&self.datagram, to) {
            debug!(%to, %error, "a probe cannot be sent");
        }
    }

    fn tell(&self, seen: &watch::Sender<Arc<Sight>>) {
        let sight = Sight {
            reports: self.prober.reports(),
            said: self.prober.said(),
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

/// Nothing is fragmented, whatever the kernel believes of the path: the size is the question.
fn prepare(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => {
            set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
            setsockopt(socket, Ipv4RecvErr, &true)?;
        }
        IpAddr::V6(_) => {
            set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
            setsockopt(socket, Ipv6RecvErr, &true)?;
        }
    }
    Ok(())
}

/// The next of the socket's errors, and if it is one, the node whose kernel itself says that nobody
/// listens there; `None` when there are no more.
fn next_error(socket: &UdpSocket) -> Option<Option<IpAddr>> {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let descriptor = socket.as_raw_fd();
    let message =
        recvmsg::<SockaddrStorage>(descriptor, &mut [], Some(&mut control), flags).ok()?;
    let to = message.address.as_ref().and_then(address);
    let refused = message.cmsgs().ok()?.find_map(|it| {
        let (error, from): (_, IpAddr) =
            if let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = it {
                (error, SockaddrIn::from(from).ip().into())
            } else if let ControlMessageOwned::Ipv6RecvErr(error, Some(from)) = it {
                (error, SockaddrIn6::from(from).ip().into())
            } else {
                return None;
            };
        let is_from_afar =
            [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
        let is_refusal = error.ee_errno == libc::ECONNREFUSED.unsigned_abs();
        (is_from_afar && is_refusal && Some(from) == to).then_some(from)
    });
    Some(refused)
}

fn address(socket: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = socket.as_sockaddr_in().map(|it| it.ip().into());
    v4.or_else(|| socket.as_sockaddr_in6().map(|it| it.ip().into()))
}
