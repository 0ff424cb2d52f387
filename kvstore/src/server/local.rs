//! Reaches the server from its own process: the same services without a socket, and a shorter way
//! for many writes.

use std::fmt;
use std::sync::Arc;

use axum::http::Request;
use etcd_client::{Channel, Client};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

use super::database::{Database, StorageOptions};
use super::gate::{Authority, Gate};
use super::limits::Limits;
use super::routes::services;
use super::usage::Usage;
use crate::auth::Auth;
use crate::mvcc::BatchOperation;
use crate::storage::StorageError;

/// A client's way to the store in this process. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    database: Arc<Database>,
    routes: Routes,
}

impl Local {
    /// A store without an address, that lives as long as a handle does. Whoever has one may do
    /// everything.
    pub fn start(name: &str, storage: StorageOptions) -> Result<Self, StorageError> {
        let database = Database::start(name.to_owned(), String::new(), storage)?;
        let authority = Arc::new(Authority::new(Auth::default()));
        Ok(Self::of(database, authority))
    }

    pub(super) fn of(database: Arc<Database>, authority: Arc<Authority>) -> Self {
        let gate = Gate::process(authority);
        let services = services(&database, &gate, &Usage::new(&Limits::none()));
        let routes = Routes::from(services);
        Self { database, routes }
    }

    /// The services as a client calls them.
    pub fn channel(&self) -> Channel {
        let service = ServiceExt::<Request<Body>>::map_err(self.routes.clone(), BoxError::from);
        Channel::Custom(BoxCloneSyncService::new(service))
    }

    pub(crate) async fn connect(&self) -> Result<Client, etcd_client::Error> {
        Client::from_channel(self.channel(), None).await
    }

    /// Writes `operations` in one revision, and returns it; nobody encodes or copies anything.
    pub(crate) async fn write(&self, operations: Vec<BatchOperation>) -> Result<i64, Status> {
        self.database.admitted().await;
        let revision = self.database.with(|store| store.batch(operations))?;
        let settled = self.database.settled().await;
        settled.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(revision)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
