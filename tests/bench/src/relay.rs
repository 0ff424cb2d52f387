//! Passes connections on and counts the bytes that come back: what a mirror costs the link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A running relay; it ends with the runtime.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    returned: Arc<AtomicU64>,
}

impl Relay {
    /// Listens on a free address and passes everything on to `target`.
    ///
    /// # Errors
    ///
    /// If there is no free address.
    pub(crate) async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let returned = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&returned);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // A connection that breaks is the business of its ends.
                drop(tokio::spawn(pass(connection, target, Arc::clone(&counter))));
            }
        });
        Ok(Self { address, returned })
    }

    /// Bytes that came from the target until now, as TLS sends them.
    pub(crate) fn returned_bytes(&self) -> u64 {
        self.returned.load(Ordering::Relaxed)
    }
}

async fn pass(client: TcpStream, target: SocketAddr, returned: Arc<AtomicU64>) -> Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forth = tokio::io::copy(&mut from_client, &mut to_server);
    let back = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let bytes = from_server.read(&mut buffer).await?;
            if bytes == 0 {
                return Ok(());
            }
            returned.fetch_add(bytes as u64, Ordering::Relaxed);
            to_client.write_all(&buffer[..bytes]).await?;
        }
    };
    tokio::select! {
        outcome = forth => outcome.map(drop).map_err(Into::into),
        outcome = back => outcome,
    }
}
