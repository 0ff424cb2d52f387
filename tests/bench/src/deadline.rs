//! Bounds how long a measurement may take, so that one that never ends is a result too.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lab::now;
use tokio::time::sleep;

/// Ten times what the slowest implementation needs for the largest row.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// How often something is asked for; small against every figure, and cheap to answer.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `is_so`.
///
/// # Errors
///
/// If it does not become so, or cannot be found out.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = now() + PATIENCE;
    while !is_so().await? {
        if deadline <= now() {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Seconds from `start` until now.
pub(crate) fn since(start: Instant) -> f64 {
    (now() - start).as_secs_f64()
}
