//! Pods that ask pods of the other region, all the time and whatever comes of it.

use anyhow::Result;
use lab::{Follower, Lab, Place, Process, Program, Region, binaries};

use crate::HANG;
use crate::mesh::run;

/// Where a pod's server listens.
const PORT: u16 = 8080;

/// A pod that asks an address; dropping it ends that.
pub(crate) struct Client {
    place: Place,
    process: Process,
    follower: Follower,
}

/// Starts the server of every shop pod of a region.
pub(crate) fn start_shops(lab: &Lab, region: &Region) -> Result<Vec<Process>> {
    let shops = region.pods.iter().filter(|it| it.app == "shop");
    let shops = shops.map(|pod| {
        let program = Program::new("lab-pod", binaries::find("lab-pod")?)
            .arguments(["--region", &*region.name, "--pod", &*pod.name])
            .arguments(["--node", &*region.node_name(pod.node)]);
        lab.spawn(&region.pod(pod), program)
    });
    shops.collect()
}

impl Client {
    /// Asks the shop on node `node` of `peer`, from the same node of `region`.
    pub(crate) fn start(lab: &Lab, region: &Region, peer: &Region, node: u8) -> Result<Self> {
        let shop = peer.pod_address(peer.pod_named(&format!("shop-{node}")));
        Self::ask(lab, region, node, &shop.to_string(), 100)
    }

    /// Asks any address over and over, `interval` milliseconds apart.
    pub(crate) fn ask(
        lab: &Lab,
        region: &Region,
        node: u8,
        address: &str,
        interval: u64,
    ) -> Result<Self> {
        let place = region.pod(region.pod_named(&format!("client-{node}")));
        let (url, interval) = (format!("http://{address}:{PORT}/"), interval.to_string());
        let name = format!("asks-{address}");
        let program = Program::new(name, binaries::find("lab-client")?)
            .arguments(["http", "--url", &*url])
            .arguments(["--interval-ms", &*interval, "--timeout-ms", "1000"]);
        let process = lab.spawn(&place, program)?;
        let follower = Follower::new(process.stdout());
        Ok(Self {
            place,
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
/// from `servers`.
pub(crate) fn stop(lab: &Lab, clients: Vec<Client>, servers: &[Place]) -> Result<()> {
    let mut places = servers.to_owned();
    for mut client in clients {
        client.process.stop()?;
        places.push(client.place);
    }
    for place in places {
        lab::wait_for(&format!("connections of {place} to end"), HANG, || {
            let filter = ["-Htn", "state", "connected", "exclude", "time-wait"];
            let open = run(lab, &place, "ss", &filter)?;
            Ok(open.trim().is_empty().then_some(()))
        })?;
    }
    Ok(())
}
