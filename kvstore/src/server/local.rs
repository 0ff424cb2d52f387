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

use super::database::Database;
use crate::mvcc::BatchOperation;

/// A client's way to the store in this process. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    database: Arc<Database>,
    routes: Routes,
}

impl Local {
    pub(super) fn new(database: Arc<Database>, routes: Routes) -> Self {
        Self { database, routes }
    }

    pub(crate) async fn connect(&self) -> Result<Client, etcd_client::Error> {
        let service = ServiceExt::<Request<Body>>::map_err(self.routes.clone(), BoxError::from);
        Client::from_channel(Channel::Custom(BoxCloneSyncService::new(service)), None).await
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
