//! A client's connection that has shown what it wants: TLS is up, and the first bytes are here.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::limits::Place;
use super::peer::{Peer, common_name};

/// What every HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct Connection {
    transport: Transport,
    opening: Opening,
    peer: Peer,
    /// Free for another connection when this one ends.
    _place: Place,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The bytes read while greeting, which the server reads again.
struct Opening {
    bytes: [u8; PREFACE.len()],
    length: usize,
    passed_on: usize,
}

impl Connection {
    /// Greets a client: TLS if there is a configuration for it, then the HTTP/2 preface, or the
    /// beginning of an HTTP/1 request. Takes as long as the client likes.
    pub(super) async fn greet(
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        place: Place,
    ) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (mut transport, common_name) = match tls {
            None => (Transport::Plain(stream), None),
            Some(config) => {
                let stream = TlsAcceptor::from(config).accept(stream).await?;
                // The client's own certificate comes first.
                let certificates = stream.get_ref().1.peer_certificates();
                let name = certificates
                    .and_then(|it| it.first())
                    .and_then(|it| common_name(it));
                (Transport::Tls(Box::new(stream)), name)
            }
        };
        let opening = Opening::read(&mut transport).await?;
        Ok(Self {
            transport,
            opening,
            peer: Peer {
                address,
                common_name,
            },
            _place: place,
        })
    }
}

impl Opening {
    async fn read(transport: &mut Transport) -> Result<Self> {
        let mut opening = Self {
            bytes: [0; PREFACE.len()],
            length: 0,
            passed_on: 0,
        };
        // Whoever begins otherwise speaks HTTP/1, where requests have a time limit of their own.
        while opening.length < PREFACE.len() && PREFACE.starts_with(opening.rest()) {
            let count = transport.read(&mut opening.bytes[opening.length..]).await?;
            if count == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "it said nothing"));
            }
            opening.length += count;
        }
        Ok(opening)
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.passed_on..self.length]
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let rest = self.opening.rest();
        if rest.is_empty() {
            return Pin::new(&mut self.transport).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.opening.passed_on += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        match &mut self.transport {
            Transport::Plain(it) => Pin::new(it).poll_write(context, bytes),
            Transport::Tls(it) => Pin::new(it).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match &mut self.transport {
            Transport::Plain(it) => Pin::new(it).poll_write_vectored(context, slices),
            Transport::Tls(it) => Pin::new(it).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(it) => it.is_write_vectored(),
            Transport::Tls(it) => it.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.transport {
            Transport::Plain(it) => Pin::new(it).poll_flush(context),
            Transport::Tls(it) => Pin::new(it).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.transport {
            Transport::Plain(it) => Pin::new(it).poll_shutdown(context),
            Transport::Tls(it) => Pin::new(it).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match &mut *self {
            Self::Plain(it) => Pin::new(it).poll_read(context, buffer),
            Self::Tls(it) => Pin::new(it).poll_read(context, buffer),
        }
    }
}
