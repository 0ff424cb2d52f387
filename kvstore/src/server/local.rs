//! Reaches the server from its own process: the same services, without a socket.

use std::fmt;

use axum::http::Request;
use etcd_client::{Channel, Client};
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};

/// A client's way to the store in this process. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    routes: Routes,
}

impl Local {
    pub(super) fn new(routes: Routes) -> Self {
        Self { routes }
    }

    pub(crate) async fn connect(&self) -> Result<Client, etcd_client::Error> {
        let service = ServiceExt::<Request<Body>>::map_err(self.routes.clone(), BoxError::from);
        Client::from_channel(Channel::Custom(BoxCloneSyncService::new(service)), None).await
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
