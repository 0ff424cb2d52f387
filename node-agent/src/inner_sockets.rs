//! A door: the sockets of a node's inner addresses, one for each family of addresses.
//!
//! They are bound to the WireGuard interface: nothing that comes from the underlay is ever read, nothing
//! leaves there, and a sender is whom the tunnel lets be it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// What the sockets are bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ground {
    /// The index of the WireGuard interface: another one after it was made anew.
    pub link: u32,
    pub address: Option<Ipv4Addr>,
    pub address_v6: Option<Ipv6Addr>,
}

#[derive(Debug, Default)]
pub struct InnerSockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl InnerSockets {
    /// Binds `port` of the node's addresses, of which two of these cannot have the same; `prepare` sets
    /// each socket's options for its address.
    pub fn open(
        ground: Ground,
        port: u16,
        prepare: impl Fn(&Socket, IpAddr) -> io::Result<()>,
    ) -> io::Result<Self> {
        let link = NonZeroU32::new(ground.link);
        let open = |address: IpAddr| {
            let domain = Domain::for_address((address, port).into());
            let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
            match address {
                IpAddr::V4(_) => socket.bind_device_by_index_v4(link)?,
                IpAddr::V6(_) => {
                    socket.set_only_v6(true)?;
                    socket.bind_device_by_index_v6(link)?;
                }
            }
            prepare(&socket, address)?;
            socket.bind(&SocketAddr::from((address, port)).into())?;
            UdpSocket::from_std(socket.into())
        };
        let v4 = ground.address.map(IpAddr::V4);
        let v6 = ground.address_v6.map(IpAddr::V6);
        Ok(Self {
            v4: v4.map(open).transpose()?,
            v6: v6.map(open).transpose()?,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &UdpSocket> {
        self.v4.iter().chain(&self.v6)
    }

    /// The one that reaches an address, if there is one.
    pub fn towards(&self, address: IpAddr) -> Option<&UdpSocket> {
        match address {
            IpAddr::V4(_) => self.v4.as_ref(),
            IpAddr::V6(_) => self.v6.as_ref(),
        }
    }

    /// The length and the sender of a datagram, or the error of an earlier one, if any has come.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddr)>> {
        let mut received = self.iter().map(|it| it.try_recv_from(buffer));
        received.find(|it| {
            let error = it.as_ref().err().map(io::Error::kind);
            error != Some(io::ErrorKind::WouldBlock)
        })
    }

    /// Returns once there may be something to receive: never without sockets.
    pub async fn readable(&self) {
        tokio::select! {
            () = readable(self.v4.as_ref()) => (),
            () = readable(self.v6.as_ref()) => (),
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
