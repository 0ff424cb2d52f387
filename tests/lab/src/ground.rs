//! Where the lab keeps its things on the machine, and the gate that closes when it is torn down.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Everything that is not a namespace, a control group or a mount.
pub(crate) const DIRECTORY: &str = "/run/causeway-lab";

/// Held while a lab exists.
pub(crate) const LOCK: &str = "/run/causeway-lab.lock";

/// Where `wg` and the WireGuard devices meet. The path is fixed, so each host sees its own there.
pub(crate) const WIREGUARD_SOCKETS: &str = "/run/wireguard";

/// Where `ip` keeps the names of network namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// A directory or file of the lab.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Waits for permission to create something outside the process.
///
/// An interrupt takes it for good before it cleans up, so that nothing is created behind its back.
pub(crate) fn permission() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}
