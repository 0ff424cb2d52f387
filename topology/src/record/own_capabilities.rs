//! What a cluster speaks beyond the records of upstream.

use serde::{Deserialize, Serialize};

/// `causeway/capabilities/<cluster>`: ours. A peer that has none speaks upstream's records only.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct OwnCapabilities {
    /// Services stand in `causeway/delta/` too, large ones in parts.
    pub deltas: bool,
    /// Records for named peers stand in `causeway/export/<peer>/`.
    pub exports: bool,
    /// `causeway/pulse/<cluster>` is written.
    pub pulse: bool,
}
