//! A way to a store that is not ours to know: whoever makes it decides how messages travel.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Channel, Client};
use tokio::time::timeout;

use super::Loss;

/// Opens connections, each time that it is asked to. Cheap to clone.
#[derive(Clone)]
pub struct Way(Arc<dyn Fn() -> Dialing + Send + Sync>);

/// A connection that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = Result<Channel, Loss>> + Send>>;

impl Way {
    pub fn new(dial: impl Fn() -> Dialing + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }

    pub(super) async fn connect(&self, limit: Duration) -> Result<Client, Loss> {
        let dialed = timeout(limit, (self.0)()).await;
        let silent = || Loss::silent(format!("no connection within {limit:?}"));
        let channel = dialed.unwrap_or_else(|_| Err(silent()))?;
        let client = Client::from_channel(channel, None).await;
        client.map_err(|error| Loss::of(&error))
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}
