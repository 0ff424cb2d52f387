//! A door: writes what operators order into the mesh's store, for all authorities.

use std::time::Duration;

use anyhow::Context as _;
use kvstore::store::{Link, Store};
use tokio::time::timeout;
use tracing::warn;

/// Who waits for it is a person.
const LIMIT: Duration = Duration::from_secs(2);

/// Puts `value` under `key`, or takes the key away.
pub(super) async fn write(store: &Store, key: &str, value: Option<Vec<u8>>) -> anyhow::Result<()> {
    let written = timeout(LIMIT, attempt(store, key, value)).await;
    written.context("the mesh's store does not answer in time")?
}

async fn attempt(store: &Store, key: &str, value: Option<Vec<u8>>) -> anyhow::Result<()> {
    let mut client = store
        .connect(&Link::default())
        .await
        .map_err(|it| anyhow::anyhow!("the mesh's store does not answer: {}", it.reason))?;
    match value {
        Some(value) => drop(client.put(key, value, None).await?),
        None => drop(client.delete(key, None).await?),
    }
    Ok(())
}

/// Takes keys away that say nothing any more; whoever is first does it for all.
pub(super) fn forget(store: Store, keys: Vec<String>) {
    tokio::spawn(async move {
        for key in keys {
            if let Err(error) = write(&store, &key, None).await {
                warn!(
                    key,
                    error = format!("{error:#}"),
                    "cannot take an undone drain out of the store"
                );
            }
        }
    });
}
