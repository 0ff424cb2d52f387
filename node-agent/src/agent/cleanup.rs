//! A door: takes back everything that an agent left on the node.

use anyhow::Context as _;
use tracing::info;
use wireguard::uapi::{Interface, PeerUpdate, Update};

use crate::config::Config;
use crate::datapath::Datapath;
use crate::memory::Memory;
use crate::netlink::Netlink;

/// Detaches and unpins the datapath, takes our peers from the WireGuard device, and deletes our
/// routes and addresses. What is gone already is as good as removed. The node's WireGuard key stays:
/// others know the node by it.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let datapath =
        tokio::task::block_in_place(|| Datapath::remove(&config.bpffs, &config.interface))?;
    Memory::forget(&config.encryption.state_dir)?;
    let netlink = Netlink::open()?;
    let changes = netlink.clean_up().await.context("cannot clean up")?;
    let peers = tokio::task::block_in_place(|| remove_peers(config))?;
    info!(
        datapath,
        routes_and_addresses = changes,
        peers,
        "cleaned up"
    );
    Ok(())
}

/// Returns how many there were; a device that does not run has none.
fn remove_peers(config: &Config) -> anyhow::Result<usize> {
    let interface = Interface::served_by(config.backend, &config.wireguard);
    let Ok(device) = interface.get() else {
        return Ok(0);
    };
    let update = Update {
        peers: device
            .peers
            .keys()
            .map(|it| PeerUpdate::removal(*it))
            .collect(),
        ..Update::default()
    };
    interface.set(&update).context("cannot remove peers")?;
    Ok(device.peers.len())
}
