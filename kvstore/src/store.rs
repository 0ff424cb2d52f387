//! Opens connections to a store, wherever it is, and notices when they die.

mod dial;
mod loss;
mod way;

use std::path::Path;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error, GetOptions};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint as Transport, Identity};

use crate::config::{Endpoint, EtcdConfig};
use crate::server::{Local, error_chain};

pub use loss::Loss;
pub use way::{Dialing, Way};

/// A store that can be followed and written to.
#[derive(Clone, Debug)]
pub enum Store {
    /// An etcd somewhere else.
    Etcd(EtcdConfig),
    /// The server in this process, without a socket.
    Local(Local),
    /// A store somewhere else, to which the caller knows the way.
    Via(Way),
}

/// How a connection is opened and how its death is noticed.
///
/// The defaults notice a silent link within 2 seconds: one until the next probe, one more until it
/// counts as unanswered. Probes are small reads and not HTTP/2 pings, because etcd takes more than
/// one ping in five seconds for an attack and hangs up.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Bounds one attempt to connect, TLS handshake included; a configured `dial-timeout` wins.
    pub connect_timeout: Duration,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    /// The first pause between two attempts; it doubles up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(400),
        }
    }
}

impl Store {
    /// Opens a fresh connection; certificates are read from disk now.
    pub async fn connect(&self, link: &Link) -> Result<Client, Loss> {
        self.connect_beginning_at(0, link).await
    }

    /// Like [`connect`](Self::connect), and tries the endpoint with index `first` first, counted
    /// round: after a loss, another than the one that was lost.
    pub(crate) async fn connect_beginning_at(
        &self,
        first: usize,
        link: &Link,
    ) -> Result<Client, Loss> {
        match self {
            Self::Local(local) => local.connect().await.map_err(|it| Loss::of(&it)),
            Self::Etcd(config) => {
                let limit = config.dial_timeout.unwrap_or(link.connect_timeout);
                connect_to_any(config, first, limit).await
            }
            Self::Via(way) => way.connect(link.connect_timeout).await,
        }
    }

    /// Completes as soon as the store behind `client` no longer answers.
    ///
    /// `key` is one that the client may read; it need not exist.
    pub(crate) async fn silence(&self, client: &Client, key: &[u8], link: &Link) -> Loss {
        match self {
            // What is in the process cannot be cut off.
            Self::Local(_) => std::future::pending().await,
            Self::Etcd(_) | Self::Via(_) => silence(client, key, link).await,
        }
    }
}

/// The gRPC code, if the store itself refused.
pub(crate) fn code(error: &Error) -> Option<Code> {
    if let Error::GRpcStatus(status) = error {
        Some(status.code())
    } else {
        None
    }
}

async fn connect_to_any(
    config: &EtcdConfig,
    first: usize,
    limit: Duration,
) -> Result<Client, Loss> {
    let mut problems = Vec::new();
    let mut silent = true;
    let count = config.endpoints.len();
    let endpoints = config.endpoints.iter().cycle();
    for endpoint in endpoints.skip(first % count.max(1)).take(count) {
        let problem = match timeout(limit, connect(config, endpoint)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(problem)) => problem,
            Err(_) => Loss::silent(format!("no connection within {limit:?}")),
        };
        silent &= problem.silent;
        problems.push(format!("{endpoint}: {problem}"));
    }
    let reason = problems.join("; ");
    Err(Loss { reason, silent })
}

async fn connect(config: &EtcdConfig, endpoint: &Endpoint) -> Result<Client, Loss> {
    let mut transport = Transport::from_shared(endpoint.to_string())
        .map_err(|error| Loss::told(error_chain(&error)))?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if endpoint.tls {
        let problem = |error| format!("the TLS files do not fit: {}", error_chain(&error));
        let tls = tls(config, endpoint).map_err(Loss::told)?;
        transport = transport
            .tls_config(tls)
            .map_err(|error| Loss::told(problem(error)))?;
    }

    let addresses = dial::resolve(config, endpoint).await.map_err(Loss::told)?;
    let connecting = transport.connect_with_connector(dial::connector(addresses));
    let channel = connecting
        .await
        .map_err(|error| Loss::of(&Error::TransportError(error)))?;

    let mut options = ConnectOptions::new().with_require_leader(true);
    if let Some(user) = &config.user {
        options = options.with_user(&user.name, &user.password);
    }
    let client = Client::from_channel(Channel::Tonic(channel), Some(options));
    client.await.map_err(|error| Loss::of(&error))
}

/// Bytes in flight. A stream that nobody reads fills only its own part, and leaves room for probes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

fn tls(config: &EtcdConfig, endpoint: &Endpoint) -> Result<ClientTlsConfig, String> {
    let mut tls = ClientTlsConfig::new().domain_name(&endpoint.host);
    if let Some(ca) = &config.trusted_ca_file {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let Some(client) = &config.client_certificate {
        tls = tls.identity(Identity::from_pem(
            read(&client.cert_file)?,
            read(&client.key_file)?,
        ));
    }
    Ok(tls)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

async fn silence(client: &Client, key: &[u8], link: &Link) -> Loss {
    let mut kv = client.kv_client();
    loop {
        sleep(link.probe_interval).await;
        let read = kv.get(
            key,
            Some(GetOptions::new().with_serializable().with_keys_only()),
        );
        match timeout(link.probe_timeout, read).await {
            Ok(Ok(_)) => (),
            // A refusal is an answer.
            Ok(Err(error)) if code(&error) == Some(Code::PermissionDenied) => (),
            Ok(Err(error)) => return Loss::of(&error),
            Err(_) => return Loss::silent(format!("no answer within {:?}", link.probe_timeout)),
        }
    }
}
