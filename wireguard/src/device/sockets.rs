//! A door: the UDP sockets of a device, one for each address family, on one port.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv6DontFrag, RcvBufForce, SndBufForce};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, SockRef, Socket, Type};

use super::wait::wait;
use crate::congestion::Ecn;
use crate::ingress::Arrival;
use crate::lookout::Lookout;
use crate::outbox::Burst;
use crate::tunnel::Endpoint;

pub(super) struct Sockets {
    v4: Half,
    /// Absent where the system has no IPv6.
    v6: Option<Half>,
    port: u16,
    retired: AtomicBool,
}

/// One family's socket, and what the kernel lets us do with it.
struct Half {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// What one wait brought, in groups of datagrams from one place.
pub(super) struct Arrivals {
    buffer: Box<[u8]>,
    groups: Vec<RecvMeta>,
    count: usize,
    lookout: Lookout,
}

/// Groups that one call may bring: for datagrams that the kernel did not join.
const GROUPS_MAX: usize = 16;

/// What the kernel joins at most.
const GROUP_BYTES_MAX: usize = 65_536;

/// A burst of about 3000 full datagrams, which is what a peer may send while we are not scheduled.
const BUFFER_BYTES: usize = 4 << 20;

/// How often another port is tried when the system's choice is free in one family only.
const RANDOM_PORT_ATTEMPTS_MAX: usize = 16;

/// How often a port is asked for that somebody has: a device that is ending, of the same interface in its
/// last life, gives its port back last.
const PORT_ATTEMPTS_MAX: usize = 20;

const PORT_PAUSE: Duration = Duration::from_millis(50);

impl Sockets {
    /// Binds both families to `port`, or to one port of the system's choice if it is 0.
    pub(super) fn bind(port: u16, mark: u32) -> io::Result<Self> {
        let (mut attempts_left, pause) = match port {
            0 => (RANDOM_PORT_ATTEMPTS_MAX, Duration::ZERO),
            _ => (PORT_ATTEMPTS_MAX, PORT_PAUSE),
        };
        loop {
            attempts_left -= 1;
            match Self::bind_once(port, mark) {
                Err(error) if 0 < attempts_left && error.kind() == io::ErrorKind::AddrInUse => {
                    thread::sleep(pause);
                }
                outcome => return outcome,
            }
        }
    }

    fn bind_once(port: u16, mark: u32) -> io::Result<Self> {
        let v4 = Half::bind(Ipv4Addr::UNSPECIFIED.into(), port, mark)?;
        let port = v4.socket.local_addr()?.port();
        let v6 = match Half::bind(Ipv6Addr::UNSPECIFIED.into(), port, mark) {
            Ok(socket) => Some(socket),
            Err(error) if has_no_ipv6(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            v4,
            v6,
            port,
            retired: AtomicBool::new(false),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn families(&self) -> impl Iterator<Item = Family> {
        let v6 = self.v6.is_some().then_some(Family::V6);
        [Family::V4].into_iter().chain(v6)
    }

    /// Marks what is sent from now on; 0 removes the mark.
    pub(super) fn set_mark(&self, mark: u32) -> io::Result<()> {
        for half in self.halves() {
            SockRef::from(&half.socket).set_mark(mark)?;
        }
        Ok(())
    }

    /// Sends without waiting: what does not fit a full buffer is lost, with an error.
    pub(super) fn send(&self, burst: Burst<'_>) -> io::Result<()> {
        let half = match burst.to.address {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        if burst.bytes.len() <= burst.segment || 1 < half.state.max_gso_segments() {
            match half.send(burst.bytes, Some(burst.segment), &burst) {
                // The path is too narrow for a segment, which has to go in fragments then.
                Err(error) if is_too_wide(&error) => (),
                // The state knows by now if the kernel or the card takes no segments.
                Err(_) if half.state.max_gso_segments() == 1 => (),
                sent => return sent,
            }
        }
        burst
            .bytes
            .chunks(burst.segment)
            .try_for_each(|datagram| half.send(datagram, None, &burst))
    }

    /// Waits for datagrams, or until `other` has something to read, which may bring none; `None` once
    /// the sockets are retired.
    pub(super) fn receive(
        &self,
        family: Family,
        arrivals: &mut Arrivals,
        other: Option<&impl AsFd>,
    ) -> Option<io::Result<()>> {
        let half = match family {
            Family::V4 => &self.v4,
            Family::V6 => self.v6.as_ref()?,
        };
        let received = half.receive(arrivals, other, &self.retired);
        (!self.retired.load(Ordering::Acquire)).then_some(received)
    }

    /// Wakes whoever waits, for the last time.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for half in self.halves() {
            // Linux wakes the readers of an unconnected socket and complains nevertheless.
            SockRef::from(&half.socket).shutdown(Shutdown::Both).ok();
        }
    }

    fn halves(&self) -> impl Iterator<Item = &Half> {
        [Some(&self.v4), self.v6.as_ref()].into_iter().flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Half {
    fn bind(address: IpAddr, port: u16, mark: u32) -> io::Result<Self> {
        let address = SocketAddr::new(address, port);
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if mark != 0 {
            socket.set_mark(mark)?;
        }
        // The system's limits are for those who may not go beyond them. A smaller buffer only loses
        // more of a burst.
        if setsockopt(&socket, RcvBufForce, &BUFFER_BYTES).is_err() {
            socket.set_recv_buffer_size(BUFFER_BYTES).ok();
        }
        if setsockopt(&socket, SndBufForce, &BUFFER_BYTES).is_err() {
            socket.set_send_buffer_size(BUFFER_BYTES).ok();
        }
        socket.bind(&address.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        // A path that is narrower than we were told gets fragments, as from the kernel's device:
        // slow, but not a black hole.
        if address.is_ipv4() {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        } else {
            setsockopt(&socket, Ipv6DontFrag, &false)?;
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
        }
        let socket = socket.into();
        Ok(Self { socket, state })
    }

    /// Sends `bytes` of `burst`.
    fn send(&self, bytes: &[u8], segment: Option<usize>, burst: &Burst<'_>) -> io::Result<()> {
        let transmit = Transmit {
            destination: burst.to.address,
            ecn: codepoint(burst.ecn),
            contents: bytes,
            segment_size: segment.filter(|it| *it < bytes.len()),
            src_ip: burst.to.source,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    fn receive(
        &self,
        arrivals: &mut Arrivals,
        other: Option<&impl AsFd>,
        retired: &AtomicBool,
    ) -> io::Result<()> {
        let is_expectant = arrivals.datagrams() <= 1;
        arrivals.count = 0;
        loop {
            let mut chunks = arrivals.buffer.chunks_mut(GROUP_BYTES_MAX);
            let mut slices: [IoSliceMut<'_>; GROUPS_MAX] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let socket = (&self.socket).into();
            match self.state.recv(socket, &mut slices, &mut arrivals.groups) {
                Ok(count) => {
                    arrivals.count = count;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if retired.load(Ordering::Acquire) {
                        return Err(error);
                    }
                    let mut own = [PollFd::new(&self.socket, PollFlags::IN)];
                    let Some(other) = other else {
                        wait(&mut own, &mut arrivals.lookout, is_expectant)?;
                        continue;
                    };
                    let [own] = own;
                    let mut both = [own, PollFd::new(other, PollFlags::IN)];
                    wait(&mut both, &mut arrivals.lookout, is_expectant)?;
                    if !both[1].revents().is_empty() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; GROUPS_MAX * GROUP_BYTES_MAX].into_boxed_slice(),
            groups: vec![RecvMeta::default(); GROUPS_MAX],
            count: 0,
            lookout: Lookout::default(),
        }
    }

    /// The datagrams, and where each group of them lies.
    pub(super) fn parts(&mut self) -> (&mut [u8], impl Iterator<Item = Arrival>) {
        let groups = self.groups[..self.count].iter().enumerate();
        let groups = groups.map(|(index, group)| {
            let start = index * GROUP_BYTES_MAX;
            Arrival {
                start,
                end: start + group.len,
                segment: group.stride,
                ecn: ecn(group.ecn),
                from: Endpoint {
                    address: group.addr,
                    source: group.dst_ip,
                },
            }
        });
        (&mut self.buffer, groups)
    }

    fn datagrams(&self) -> usize {
        let groups = self.groups[..self.count].iter();
        groups.map(|it| it.len.div_ceil(it.stride.max(1))).sum()
    }
}

fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::Unaware => None,
        Ecn::Capable1 => Some(EcnCodepoint::Ect1),
        Ecn::Capable0 => Some(EcnCodepoint::Ect0),
        Ecn::Congested => Some(EcnCodepoint::Ce),
    }
}

fn ecn(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::Unaware,
        Some(EcnCodepoint::Ect1) => Ecn::Capable1,
        Some(EcnCodepoint::Ect0) => Ecn::Capable0,
        Some(EcnCodepoint::Ce) => Ecn::Congested,
    }
}

fn is_too_wide(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
}

fn has_no_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}
