//! Sends probes: real connections, requests and echoes to the targets of checks.

mod grpc;
mod http;
mod icmp;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::check::{Check, Endpoint, Method};
use tls::Tls;

/// What all probes share.
#[derive(Clone)]
pub struct Prober {
    tls: Tls,
}

/// Enough of an error to understand it. Parts of it may come from the target.
const ERROR_CHARACTERS_MAX: usize = 200;

impl Prober {
    /// A prober that verifies certificates, where checks ask for that, by the PEM file `roots`.
    pub fn new(roots: Option<&Path>) -> anyhow::Result<Self> {
        let roots = roots.map(|it| {
            tls::roots(it).with_context(|| format!("cannot read --probe-roots {}", it.display()))
        });
        Ok(Self {
            tls: Tls::new(roots.transpose()?)?,
        })
    }

    /// Probes once; the error says in a few words why the target does not count as healthy.
    pub async fn probe(&self, check: &Check) -> Result<(), String> {
        let limit = check.timing.timeout;
        match tokio::time::timeout(limit, self.attempt(check)).await {
            Ok(outcome) => outcome.map_err(|it| it.chars().take(ERROR_CHARACTERS_MAX).collect()),
            Err(_) => Err(format!("no answer within {}", seconds(limit))),
        }
    }

    async fn attempt(&self, check: &Check) -> Result<(), String> {
        let target = resolve(&check.target).await?;
        if check.method == Method::Icmp {
            return icmp::echo(target.ip(), check.source).await;
        }
        let stream = connect(check, target).await.map_err(|it| describe(&it))?;
        match &check.method {
            Method::Icmp | Method::Tcp => Ok(()),
            Method::Http(probe) => match &probe.tls {
                None => http::exchange(stream, probe).await,
                Some(wanted) => {
                    let stream = self.tls.connect(stream, wanted, tls::Speaks::Http1).await?;
                    http::exchange(stream, probe).await
                }
            },
            Method::Grpc(probe) => match &probe.tls {
                None => grpc::ask(stream, probe).await,
                Some(wanted) => {
                    let stream = self.tls.connect(stream, wanted, tls::Speaks::Http2).await?;
                    grpc::ask(stream, probe).await
                }
            },
        }
    }
}

/// The first address, as for most programs.
async fn resolve(target: &Endpoint) -> Result<SocketAddr, String> {
    let (host, port) = match target {
        Endpoint::Address(address) => return Ok(*address),
        Endpoint::Named { host, port } => (host, *port),
    };
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let found = found.map_err(|it| format!("cannot look {host} up: {it}"))?;
    { found }
        .next()
        .ok_or_else(|| format!("{host} has no address"))
}

async fn connect(check: &Check, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = match target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = check.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    if check.method == Method::Tcp {
        // There is nothing to say, so neither end has to wait for the other's farewell, and no port
        // of ours stays taken for a minute.
        socket.set_zero_linger()?;
    }
    socket.connect(target).await
}

/// The innermost reason of an error, which says the most.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
