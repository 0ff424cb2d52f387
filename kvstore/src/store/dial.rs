//! Opens TCP connections so that neither a dead address nor a lost packet costs much time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::http::Uri;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;
use tower::Service;

use crate::config::{Endpoint, EtcdConfig};

/// After this time without an answer another attempt starts beside the first: a link that comes back
/// is used at once, although the kernel repeats a lost SYN only after a second.
const STAGGER: Duration = Duration::from_millis(250);

/// Attempts under way at a time; the caller's timeout ends them all.
const ATTEMPTS_MAX: usize = 16;

/// The configured aliases of the endpoint's host, or what the DNS says.
pub(super) async fn resolve(
    config: &EtcdConfig,
    endpoint: &Endpoint,
) -> Result<Vec<SocketAddr>, String> {
    let aliases = config.aliases_of(&endpoint.host);
    if !aliases.is_empty() {
        return Ok(aliases
            .iter()
            .map(|ip| SocketAddr::new(*ip, endpoint.port))
            .collect());
    }

    let found = lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| format!("cannot resolve {}: {error}", endpoint.host))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(format!("{} has no address", endpoint.host));
    }
    Ok(addresses)
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

/// Dials one of `addresses` whenever the transport asks for a connection.
pub(super) fn connector(
    addresses: Vec<SocketAddr>,
) -> impl Service<Uri, Response = TokioIo<TcpStream>, Error = io::Error, Future = Connecting>
+ Send
+ 'static {
    tower::service_fn(move |_: Uri| -> Connecting {
        let addresses = addresses.clone();
        Box::pin(async move {
            let stream = dial(&addresses).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    })
}

/// The first connection that succeeds; fails once every address has refused.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut untried = addresses.iter().cycle();
    let mut refusals = 0;
    loop {
        if attempts.len() < ATTEMPTS_MAX
            && let Some(address) = untried.next()
        {
            attempts.push(TcpStream::connect(*address));
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    refusals += 1;
                    if addresses.len() <= refusals {
                        return Err(error);
                    }
                }
            },
            () = sleep(STAGGER) => (),
        }
    }
}
