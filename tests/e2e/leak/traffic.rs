//! Pods that ask pods of the other region, all the time and whatever comes of it.

use anyhow::Result;
use lab::{Follower, Lab, Place, Process, Program, Region, Site, binaries};

use crate::HANG;
use crate::mesh::run;

/// Where a pod's server listens.
const PORT: u16 = 8080;

/// Between two requests, in milliseconds.
const INTERVAL_MS: u32 = 100;

/// A pod that asks an address; dropping it ends that.
pub(crate) struct Client {
    place: Place,
    address: String,
    process: Process,
    follower: Follower,
}

/// A node of a region.
pub(crate) type Node<'a> = (&'a Region, u8);

/// Starts the server of every shop pod of a region.
pub(crate) fn start_shops(lab: &Lab, region: &Region) -> Result<Vec<Process>> {
    let site = Site::new(lab, region);
    let shops = region.pods.iter().filter(|it| it.app == "shop");
    shops
        .map(|pod| lab.spawn(&region.pod(pod), site.shop(pod)?))
        .collect()
}

/// The pod that serves on a node.
pub(crate) fn shop((region, node): Node<'_>) -> Place {
    region.pod(region.pod_named(&format!("shop-{node}")))
}

impl Client {
    /// Asks the shop on one node from another.
    pub(crate) fn start(lab: &Lab, from: Node<'_>, (region, node): Node<'_>) -> Result<Self> {
        let shop = region.pod_address(region.pod_named(&format!("shop-{node}")));
        Self::ask(lab, from, &shop.to_string())
    }

    /// Asks any address over and over from a node.
    pub(crate) fn ask(lab: &Lab, (region, node): Node<'_>, address: &str) -> Result<Self> {
        let place = region.pod(region.pod_named(&format!("client-{node}")));
        let (url, interval) = (format!("http://{address}:{PORT}/"), INTERVAL_MS.to_string());
        let name = format!("asks-{address}");
        let program = Program::new(name, binaries::find("lab-client")?)
            .arguments(["http", "--url", &*url])
            .arguments(["--interval-ms", &*interval, "--timeout-ms", "1000"]);
        let process = lab.spawn(&place, program)?;
        // One that asked the same before has left its records in the same file.
        let mut follower = Follower::new(process.stdout());
        follower.read()?;
        Ok(Self {
            place,
            address: address.to_owned(),
            process,
            follower,
        })
    }

    /// Passes over what came of the requests so far.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.follower.read().map(drop)
    }

    /// Waits until so many requests that were not looked at yet were answered, or else failed.
    pub(crate) fn wait_for(&mut self, count: usize, served: bool) -> Result<()> {
        let what = format!(
            "{} on {}: {count} {served}",
            self.process.name(),
            self.place
        );
        let mut seen = 0;
        lab::wait_for(&what, HANG, || {
            self.process.check()?;
            let records = self.follower.read()?;
            seen += records.iter().filter(|it| it.failed() != served).count();
            Ok((count <= seen).then_some(()))
        })
    }
}

/// Ends the requests, and returns once no packet of them can follow, neither from those who asked nor
/// from `servers`, which nobody else may ask meanwhile.
pub(crate) fn stop(lab: &Lab, clients: Vec<Client>, servers: &[Place]) -> Result<()> {
    let mut ends = Vec::new();
    for mut client in clients {
        client.process.stop()?;
        ends.push((client.place, vec!["dst".to_owned(), client.address]));
    }
    ends.extend(servers.iter().map(|it| (it.clone(), Vec::new())));
    for (place, which) in ends {
        lab::wait_for(&format!("connections of {place} to end"), HANG, || {
            let mut filter = vec!["-Htn", "state", "connected", "exclude", "time-wait"];
            filter.extend(which.iter().map(String::as_str));
            let open = run(lab, &place, "ss", &filter)?;
            Ok(open.trim().is_empty().then_some(()))
        })?;
    }
    Ok(())
}
