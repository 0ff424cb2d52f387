//! Serves the store over etcd's gRPC API, to the network and to this process.

mod accept;
mod certificates;
mod cluster;
mod connection;
mod database;
mod gate;
mod kv;
mod lease;
mod limits;
mod local;
mod maintenance;
mod peer;
mod status;
mod watch;
mod watches;
mod web;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{
    PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer,
};
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use limits::Limits;
pub use local::Local;

use crate::access::Rules;
use crate::mvcc::REQUEST_BYTES_MAX;
use accept::Accept;
use certificates::Certificates;
use database::Database;
use gate::Gate;

/// Room for a message's fields around the largest request, as etcd allows.
const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + (512 << 10);

/// Requests and watch streams of one connection at a time.
const STREAMS_MAX: u32 = 1_024;

/// A client that answers no ping for this long is gone; its streams and watches are freed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes in flight, so that a distant reader is not held to 64 KiB per round trip.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// How long connections may take to end once asked to.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Without it, everyone who reaches the address may read and write.
    pub tls: Option<ServerTls>,
    /// The member name that `etcdctl member list` shows.
    pub name: String,
    pub limits: Limits,
}

/// PEM files, and what clients may do. Clients without a certificate of `client_ca` are refused.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
    /// By the common name of a client's certificate.
    pub rules: Rules,
}

/// A server that has its address and does not accept connections yet.
#[derive(Debug)]
pub struct Server {
    database: Arc<Database>,
    accept: Accept,
    address: SocketAddr,
    gate: Gate,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        address: SocketAddr,
        problem: String,
    },
    #[error("{}: {problem}", file.display())]
    Tls { file: PathBuf, problem: String },
}

/// The server ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the store's server failed: {0}")]
pub struct ServeError(String);

impl Options {
    /// In plaintext, and with the usual limits.
    pub fn new(listen: SocketAddr, name: impl Into<String>) -> Self {
        Self {
            listen,
            tls: None,
            name: name.into(),
            limits: Limits::default(),
        }
    }
}

impl Server {
    /// Starts the store, and takes the address. [`local`](Self::local) works from here on.
    pub async fn bind(options: Options) -> Result<Self, StartError> {
        let Options {
            listen,
            tls,
            name,
            limits,
        } = options;
        let gate = tls.as_ref().map_or(Gate::Open, ServerTls::gate);
        let certificates = tls.as_ref().map(Certificates::load).transpose()?;
        let listen_error = |error: std::io::Error| StartError::Listen {
            address: listen,
            problem: listen_problem(&error),
        };
        let listener = TcpListener::bind(listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;

        let scheme = if certificates.is_some() {
            "https"
        } else {
            "http"
        };
        let database = Database::start(name, format!("{scheme}://{address}"));
        Ok(Self {
            database,
            accept: Accept::new(listener, certificates, &limits),
            address,
            gate,
        })
    }

    /// The address in use, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reaches the store as long as the handle lives, whether the server still runs or not. May do
    /// everything.
    pub fn local(&self) -> Local {
        Local::new(routes(&self.database, &Gate::Open))
    }

    /// Accepts connections until `shutdown` completes; then ends watches and connections.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut builder = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX);

        let (draining, drained) = tokio::sync::oneshot::channel();
        let database = Arc::clone(&self.database);
        let serving = builder
            .add_routes(routes(&self.database, &self.gate))
            .serve_with_incoming_shutdown(self.accept.connections(), async move {
                shutdown.await;
                database.stop();
                let _ = draining.send(());
            });
        let deadline = async {
            let _ = drained.await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            result = serving => result.map_err(|error| ServeError(error_chain(&error))),
            () = deadline => Ok(()),
        }
    }
}

impl ServerTls {
    fn gate(&self) -> Gate {
        Gate::Guarded(Arc::new(self.rules.clone()))
    }
}

fn routes(database: &Arc<Database>, gate: &Gate) -> Routes {
    let (database, gate) = (|| Arc::clone(database), || gate.clone());
    let kv = PbKvServer::new(kv::Kv::new(database(), gate()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let maintenance = maintenance::Maintenance::new(database(), gate());
    let routes = Routes::new(kv)
        .add_service(PbWatchServer::new(watch::Watch::new(database(), gate())))
        .add_service(PbLeaseServer::new(lease::Lease::new(database(), gate())))
        .add_service(PbClusterServer::new(cluster::Cluster::new(
            database(),
            gate(),
        )))
        .add_service(PbMaintenanceServer::new(maintenance));
    Routes::from(web::add(routes.into_axum_router()))
}

fn listen_problem(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::AddrInUse {
        return format!(
            "{error}; stop the process that has it (`ss -ltnp` names it) or choose another port"
        );
    }
    if error.kind() == ErrorKind::AddrNotAvailable {
        return format!("{error}; choose an address of this machine");
    }
    if error.kind() == ErrorKind::PermissionDenied {
        return format!("{error}; ports below 1024 need root");
    }
    error.to_string()
}

/// An error with its causes, in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
