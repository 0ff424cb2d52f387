//! Waits until something real has happened, for a bounded time.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock;

/// How often a condition is looked at: often enough for measured times in tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `probe` finds something, and returns it.
///
/// # Errors
///
/// If `probe` fails, or finds nothing within `timeout`; the message names `what`.
pub fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = clock::now() + timeout;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if deadline <= clock::now() {
            bail!("waited {timeout:?} in vain for {what}");
        }
        thread::sleep(PAUSE);
    }
}
