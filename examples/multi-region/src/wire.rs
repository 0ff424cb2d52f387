//! Listens on the wires of a region for what only WireGuard may carry.

use anyhow::Result;
use lab::inspect::Secrets;
use lab::{Capture, Lab, Region};

use crate::report::Measure;
use crate::telling;

/// What must never be readable on a wire.
pub(crate) const MARKER: &str = "causeway-marker-5f3a9c";

/// A wire that is being listened to.
#[derive(Debug)]
pub(crate) struct Wire {
    name: String,
    capture: Capture,
    secrets: Secrets,
}

impl Wire {
    /// Starts to listen on an interface of the region's router: `wan0` is its link to the internet,
    /// where no pod's address belongs at all; `lan0` is what connects its hosts, where only those
    /// of other regions do not.
    pub(crate) fn tap(lab: &Lab, region: &Region, interface: &str) -> Result<Self> {
        let own_pods_allowed = interface == "lan0";
        let regions = lab.plan().regions.iter();
        let secret = regions.filter(|it| !own_pods_allowed || it.name != region.name);
        Ok(Self {
            name: format!("{} {interface}", region.name),
            capture: Capture::start(lab, &region.router(), interface)?,
            secrets: Secrets {
                marker: MARKER.as_bytes().to_owned(),
                prefixes: secret
                    .flat_map(|it| [it.pod_range(), it.service_range()])
                    .collect(),
            },
        })
    }

    /// Stops listening and says what was heard. Silence proves nothing: without a packet of
    /// WireGuard the measure is not as it should be.
    pub(crate) fn measure(self) -> Result<Measure> {
        let heard = self.capture.stop()?.inspect(&self.secrets)?;
        let value = match heard.leaks.first() {
            None => format!("0 of {} packets", heard.packets),
            Some(leak) => format!("{} of {}: {leak}", heard.leak_count, heard.packets),
        };
        let what = format!("readable on {}", self.name);
        Ok(telling::none(&what, &value, heard.is_proof()))
    }
}
