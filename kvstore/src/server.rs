//! Serves the store over etcd's gRPC API, to the network and to this process.

mod accept;
mod auth;
mod certificates;
mod cluster;
mod committer;
mod compaction;
mod connection;
mod database;
mod election;
mod fragments;
mod gate;
mod intake;
mod kv;
mod lease;
mod limits;
mod local;
mod lock;
mod maintenance;
mod metrics;
mod peer;
mod queue;
mod rates;
mod requests;
mod routes;
mod settle;
mod shared;
mod status;
mod usage;
mod vitals;
mod watch;
mod watches;
mod web;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use compaction::Compaction;
pub use database::StorageOptions;
pub use limits::Limits;
pub use local::Local;
pub use vitals::Vitals;

pub use crate::storage::StorageError;
pub use peer::common_name;

use crate::auth::{Auth, DecodeError};
use crate::mvcc::REQUEST_BYTES_MAX;
use accept::Accept;
use certificates::Certificates;
use database::Database;
use gate::{Authority, Gate};
use intake::Intake;
use limits::Places;
use routes::services;
use usage::Usage;

/// Room for a message's fields around the largest request, as etcd allows.
const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + (512 << 10);

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
    /// Without it, whoever reaches the address can read along, passwords included.
    pub tls: Option<ServerTls>,
    /// The member name that `etcdctl member list` shows.
    pub name: String,
    pub limits: Limits,
    pub storage: StorageOptions,
}

/// PEM files. Clients without a certificate of `client_ca` are refused; the common name of a client's
/// certificate is its user. What users may do is in the store, as in etcd: everything, until
/// authentication is enabled.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

/// A server that has its address and does not accept connections yet.
#[derive(Debug)]
pub struct Server {
    database: Arc<Database>,
    accept: Accept,
    address: SocketAddr,
    authority: Arc<Authority>,
    limits: Limits,
    vitals: Arc<Vitals>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        address: SocketAddr,
        problem: String,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Users(#[from] DecodeError),
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
            storage: StorageOptions::default(),
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
            storage,
        } = options;
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
        let database = Database::start(name, format!("{scheme}://{address}"), storage)?;
        let auth = database.with(|store| store.auth_state().map(|it| Auth::from_bytes(it)));
        let authority = Arc::new(Authority::new(auth.transpose()?.unwrap_or_default()));
        if let Some(certificates) = &certificates {
            tokio::spawn(Certificates::keep_fresh(Arc::downgrade(certificates)));
        }
        let places = Places::new(&limits);
        let vitals = Vitals {
            certificates: certificates.clone(),
            database: Arc::clone(&database),
            intake: Intake::new(&limits),
            places: Arc::clone(&places),
            usage: Usage::new(&limits),
        };
        let vitals = Arc::new(vitals);
        tokio::spawn(Vitals::report(Arc::downgrade(&vitals)));
        Ok(Self {
            accept: Accept::new(listener, certificates, limits.greeting_timeout, places),
            address,
            authority,
            database,
            limits,
            vitals,
        })
    }

    /// The address in use, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reaches the store as long as the handle lives, whether the server still runs or not. May do
    /// everything.
    pub fn local(&self) -> Local {
        Local::of(Arc::clone(&self.database), Arc::clone(&self.authority))
    }

    /// The server's numbers, for metrics.
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Accepts connections until `shutdown` completes; then ends watches and connections.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut builder = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(self.limits.streams_per_connection);

        let gate = Gate::network(self.authority);
        let services = services(&self.database, &gate, &self.vitals.usage);
        let routes = web::add_pages(services, Arc::clone(&self.vitals));
        let intake = Arc::clone(&self.vitals.intake);
        let routes = Routes::from(routes.layer(from_fn_with_state(intake, Intake::admit)));

        let (draining, drained) = tokio::sync::oneshot::channel();
        let database = Arc::clone(&self.database);
        let failed = database.failed();
        let serving = builder.add_routes(routes).serve_with_incoming_shutdown(
            self.accept.connections(),
            async move {
                shutdown.await;
                database.stop();
                let _ = draining.send(());
            },
        );
        let deadline = async {
            let _ = drained.await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            failure = failed => Err(ServeError(failure.to_string())),
            result = serving => result.map_err(|error| ServeError(error_chain(&error))),
            () = deadline => Ok(()),
        }
    }
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
