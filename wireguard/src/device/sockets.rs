//! A door: the UDP sockets of a device, one for each address family, on one port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use socket2::{Domain, Socket, Type};

use crate::tunnel::Datagram;

pub(super) struct Sockets {
    v4: std::net::UdpSocket,
    /// Absent where the system has no IPv6.
    v6: Option<std::net::UdpSocket>,
    port: u16,
    retired: AtomicBool,
}

/// A burst of about 3000 full datagrams, which is what a peer may send while we are not scheduled.
const BUFFER_BYTES: usize = 4 << 20;

/// How often another port is tried when the system's choice is free in one family only.
const RANDOM_PORT_ATTEMPTS_MAX: usize = 16;

impl Sockets {
    /// Binds both families to `port`, or to one port of the system's choice if it is 0.
    pub(super) fn bind(port: u16, mark: u32) -> io::Result<Self> {
        let mut attempts_left = RANDOM_PORT_ATTEMPTS_MAX;
        loop {
            attempts_left -= 1;
            match Self::bind_once(port, mark) {
                Err(error)
                    if port == 0
                        && 0 < attempts_left
                        && error.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
    }

    fn bind_once(port: u16, mark: u32) -> io::Result<Self> {
        let v4 = bind(Ipv4Addr::UNSPECIFIED.into(), port, mark)?;
        let port = v4.local_addr()?.port();
        let v6 = match bind(Ipv6Addr::UNSPECIFIED.into(), port, mark) {
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
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            socket2::SockRef::from(socket).set_mark(mark)?;
        }
        Ok(())
    }

    /// Sends without waiting: a full buffer is an error, and the datagram is lost.
    pub(super) fn send(&self, datagram: Datagram<'_>) -> io::Result<()> {
        let socket = match datagram.to {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        sendto(socket, datagram.payload, SendFlags::DONTWAIT, &datagram.to)?;
        Ok(())
    }

    /// Waits for a datagram; `None` once the sockets are retired.
    pub(super) fn receive(
        &self,
        family: Family,
        buffer: &mut [u8],
    ) -> Option<io::Result<(usize, SocketAddr)>> {
        let socket = match family {
            Family::V4 => &self.v4,
            Family::V6 => self.v6.as_ref()?,
        };
        let received = receive_from(socket, buffer);
        (!self.retired.load(Ordering::Acquire)).then_some(received)
    }

    /// Wakes whoever waits, for the last time.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            // Linux wakes the readers of an unconnected socket and complains nevertheless.
            socket2::SockRef::from(socket).shutdown(Shutdown::Both).ok();
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

fn bind(address: IpAddr, port: u16, mark: u32) -> io::Result<std::net::UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if mark != 0 {
        socket.set_mark(mark)?;
    }
    // The system may grant less; a smaller buffer only loses more of a burst.
    socket.set_recv_buffer_size(BUFFER_BYTES).ok();
    socket.set_send_buffer_size(BUFFER_BYTES).ok();
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// As the standard library does it, which however panics when a socket that shuts down reads as an
/// empty datagram from nowhere.
fn receive_from(
    socket: &std::net::UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    let (length, _, source) = recvfrom(socket, buffer, RecvFlags::empty())?;
    let source = source.ok_or(io::ErrorKind::NotConnected)?;
    Ok((length, source.try_into()?))
}

fn has_no_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}
