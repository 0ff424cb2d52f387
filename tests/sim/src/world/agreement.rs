//! Decides whether a mesh has come to agree.

use super::World;
use crate::check::{Fault, backends, compare};
use crate::input::address;
use crate::site::name;

impl World {
    /// Whether every store shows what is true of every cluster.
    pub(super) fn agree(&self) -> Result<(), Fault> {
        for site in &self.sites {
            let others = self.sites.iter().filter(|it| it.index != site.index);
            let prefix = format!("cilium/state/services/v1/{}/", name(site.index));
            let published = backends(&site.shown.table(&prefix));
            let truth = site.truth.iter().flat_map(|(service, backends)| {
                let address = |it: &u8| address(site.index, *service, *it);
                backends
                    .iter()
                    .map(move |it| (format!("s{service}"), address(it), site.id))
            });
            if published != truth.collect() {
                return Err(format!("c{} does not publish what is true", site.index));
            }
            for other in others {
                compare(site.index, &site.shown, &other.shown)
                    .map_err(|fault| format!("in c{}: {fault}", other.index))?;
            }
        }
        Ok(())
    }
}
