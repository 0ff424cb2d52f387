//! Opens all sockets, and has each served.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Drain;
use daemon::bind::BindError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::{debug, info};

use super::options::Options;
use super::places::Places;
use super::udp::Bell;
use super::{Service, https, quic, tcp, udp};
use crate::message::Transport;
use crate::tls::Certificate;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// All sockets of the authority.
#[derive(Debug)]
pub struct Sockets {
    plain: Vec<Plain>,
    tls: Vec<TcpListener>,
    https: Vec<TcpListener>,
    quic: Vec<quinn::Endpoint>,
    certificate: Option<Arc<Certificate>>,
}

/// The sockets of one address, for TCP and UDP.
#[derive(Debug)]
struct Plain {
    tcp: TcpListener,
    udp: Vec<UdpSocket>,
}

impl Sockets {
    /// Opens what `options` name.
    ///
    /// # Errors
    ///
    /// One cannot be opened. That a system has no IPv6 is no error if there is another address.
    pub fn bind(
        options: &Options,
        certificate: Option<Arc<Certificate>>,
    ) -> Result<Self, BindError> {
        let count = options.udp_sockets();
        let quic = |address, only_v6| {
            let certificate = certificate.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
            quic::listen(address, only_v6, certificate.server(&quic::PROTOCOLS))
        };
        let plain = |address, only_v6| Plain::bind(address, only_v6, count);
        Ok(Self {
            plain: open(&options.listen, "--listen", plain)?,
            tls: open(&options.listen_tls, "--listen-tls", listen)?,
            https: open(&options.listen_https, "--listen-https", listen)?,
            quic: open(&options.listen_quic, "--listen-quic", quic)?,
            certificate,
        })
    }

    /// Where queries are answered: plain, over TLS, HTTPS and QUIC.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let streams = self.plain.iter().map(|it| &it.tcp);
        let streams = streams.chain(&self.tls).chain(&self.https);
        let streams = streams.filter_map(|it| it.local_addr().ok());
        let quic = self.quic.iter().filter_map(|it| it.local_addr().ok());
        streams.chain(quic).collect()
    }

    /// Answers until the drain starts.
    ///
    /// # Errors
    ///
    /// The system gives no threads.
    pub fn serve(self, service: &Service, drain: &Drain) -> anyhow::Result<()> {
        raise_descriptors();
        let bell = Bell::new().context("cannot make an eventfd")?;
        let tcp = service.open(Transport::Tcp);
        let places = Places::new(Arc::clone(&tcp.tally));
        for plain in self.plain {
            let address = plain.tcp.local_addr().context("a socket has no address")?;
            udp::report(address, &plain.udp);
            for socket in plain.udp {
                let drain = drain.named(format!("udp socket of {address}"));
                udp::spawn(socket, service.open(Transport::Udp), bell.clone(), drain)
                    .context("cannot start a thread")?;
            }
            let drain = drain.named("tcp listener");
            tokio::spawn(tcp::serve(plain.tcp, places.clone(), tcp.clone(), drain));
        }
        tokio::spawn(bell.ring_at_the_end(drain.named("bell")));

        let Some(certificate) = self.certificate else {
            return Ok(());
        };
        let config =
            |protocols: &[&str]| -> Arc<ServerConfig> { certificate.server(protocols).into() };
        let open = |transport| {
            let responder = service.open(transport);
            let places = places.beside(Arc::clone(&responder.tally));
            (responder, places)
        };
        for listener in self.tls {
            let (responder, places) = open(Transport::Tls);
            let (tls, drain) = (config(&tcp::TLS_PROTOCOLS), drain.named("tls listener"));
            tokio::spawn(tcp::serve_tls(listener, places, tls, responder, drain));
        }
        for listener in self.https {
            let (responder, places) = open(Transport::Https);
            let (tls, drain) = (config(&https::PROTOCOLS), drain.named("https listener"));
            tokio::spawn(https::serve(listener, places, tls, responder, drain));
        }
        for endpoint in self.quic {
            let (responder, places) = open(Transport::Quic);
            let drain = drain.named("quic listener");
            tokio::spawn(quic::serve(endpoint, places, responder, drain));
        }
        Ok(())
    }
}

impl Plain {
    /// TCP comes first: its port cannot be shared, so that a second authority is noticed although
    /// UDP's could be. With port 0 the system chooses one for both.
    fn bind(address: SocketAddr, only_v6: bool, sockets: usize) -> io::Result<Self> {
        let tcp = listen(address, only_v6)?;
        let address = tcp.local_addr()?;
        let udp = (0..sockets).map(|_| udp::bind(address, only_v6));
        let udp = udp.collect::<Result<_, _>>()?;
        Ok(Self { tcp, udp })
    }
}

/// Connections and probes need more descriptors than most systems let a process have that does not ask.
fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Opens a socket for each of `addresses`, which `flag` names.
fn open<Opened>(
    addresses: &[SocketAddr],
    flag: &'static str,
    open: impl Fn(SocketAddr, bool) -> io::Result<Opened>,
) -> Result<Vec<Opened>, BindError> {
    let mut opened = Vec::with_capacity(addresses.len());
    for address in addresses {
        match open(*address, needs_only_v6(*address, addresses)) {
            Ok(socket) => opened.push(socket),
            Err(error) if !opened.is_empty() && has_no_v6(*address, &error) => {
                info!(%address, "not listening there: this machine has no IPv6");
            }
            Err(error) => return Err(BindError::new(error, *address, flag)),
        }
    }
    Ok(opened)
}

/// Listens for TCP.
fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // The connections of the process before this one may linger.
    socket.set_reuse_address(true)?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether another of `all` addresses wants IPv4 on the port of `address`, which hears that as well else.
fn needs_only_v6(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let mut others = all.iter().filter(|it| it.is_ipv4());
    address.is_ipv6() && others.any(|it| it.port() == address.port())
}

fn has_no_v6(address: SocketAddr, error: &io::Error) -> bool {
    let codes = [nix::libc::EAFNOSUPPORT, nix::libc::EADDRNOTAVAIL];
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    is_any && error.raw_os_error().is_some_and(|it| codes.contains(&it))
}
