//! Accepts connections: within the limits, greeted side by side, each within its time.

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::certificates::Certificates;
use super::connection::Connection;
use super::limits::Places;

/// Waited after an error such as too many open files, which may pass.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Accept {
    listener: TcpListener,
    /// `None` for plaintext.
    certificates: Option<Arc<Certificates>>,
    greeting_timeout: Duration,
    places: Arc<Places>,
    /// As many as there are places, at most.
    greetings: JoinSet<Result<Connection>>,
}

impl Accept {
    pub(super) fn new(
        listener: TcpListener,
        certificates: Option<Arc<Certificates>>,
        greeting_timeout: Duration,
        places: Arc<Places>,
    ) -> Self {
        Self {
            listener,
            certificates,
            greeting_timeout,
            places,
            greetings: JoinSet::new(),
        }
    }

    /// The connections, each ready for its first request. Dropping the stream closes the address and
    /// ends greetings.
    pub(super) fn connections(self) -> impl Stream<Item = Result<Connection>> + Send {
        futures_util::stream::unfold(self, async |mut accept| {
            let connection = accept.next().await;
            Some((Ok(connection), accept))
        })
    }

    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => self.greet(stream, address),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ERROR_PAUSE).await;
                    }
                },
                Some(greeted) = self.greetings.join_next() => match greeted {
                    Ok(Ok(connection)) => return connection,
                    Ok(Err(error)) => tracing::debug!(%error, "a connection ended in its greeting"),
                    Err(error) => tracing::error!(%error, "a greeting failed"),
                },
            }
        }
    }

    /// Refuses by closing: before TLS is up there is no other way to say no.
    fn greet(&mut self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.places.take(address.ip()) else {
            return;
        };
        let tls = self.certificates.as_ref().map(|it| it.current());
        let timeout = self.greeting_timeout;
        self.greetings.spawn(async move {
            let greeting = Connection::greet(stream, address, tls, place);
            tokio::time::timeout(timeout, greeting)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "it is too slow")))
        });
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").finish_non_exhaustive()
    }
}
