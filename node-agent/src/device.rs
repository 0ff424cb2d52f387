//! A door: keeps the WireGuard device's peers as they are wanted, and reports what it sees there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};
use wireguard::PublicKey;
use wireguard::uapi::{ClientError, DeviceState, Interface, Update};

use crate::desired::Desired;
use crate::tunnels;

/// How often the device is looked at: also how fast a device that was restarted gets its peers.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the device should be given.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `None` until the mesh has been read.
    pub desired: Option<Arc<Desired>>,
    /// Whether peers that nobody asks for stay, because the mesh is not known whole.
    pub keep_unknown: bool,
}

/// What was last seen of the device: its state, or why there is none.
pub type Seen = Result<Arc<DeviceState>, String>;

/// The first look at the device, so that nothing is said of it that nobody has seen. A device that
/// is silent for longer than [`FIRST_LOOK`] counts as missing until it answers.
pub async fn look(interface: &Interface) -> Seen {
    let state = match timeout(FIRST_LOOK, get(interface)).await {
        Ok(state) => state,
        Err(_elapsed) => Err("the WireGuard device has not answered yet".to_owned()),
    };
    state
        .map(Arc::new)
        .inspect_err(|reason| warn!(%reason, "no tunnels; trying again every second"))
}

/// It answers in microseconds; a start does not wait for one that is stuck.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Follows `wanted` until its sender is gone. A device that is missing or silent delays nobody
/// else, and is tried again every second.
pub async fn follow(
    interface: Interface,
    mut wanted: watch::Receiver<Wanted>,
    seen: watch::Sender<Seen>,
) {
    let mut endpoints = BTreeMap::new();
    loop {
        let now = wanted.borrow_and_update().clone();
        let state = adjust(&interface, &now, &mut endpoints).await;
        seen.send_if_modified(|it| {
            let differs = *it != state;
            match (&*it, &state) {
                (Err(_), Ok(_)) => info!("the WireGuard device answers"),
                (_, Err(reason)) if differs => {
                    warn!(%reason, "no tunnels; trying again every second");
                }
                (_, Ok(_) | Err(_)) => (),
            }
            *it = state;
            differs
        });
        if let Ok(Err(_sender_gone)) = timeout(INTERVAL, wanted.changed()).await {
            return;
        }
    }
}

/// Looks at the device, changes what must change, and looks again if something did.
async fn adjust(
    interface: &Interface,
    wanted: &Wanted,
    endpoints: &mut BTreeMap<PublicKey, SocketAddr>,
) -> Seen {
    let state = get(interface).await?;
    let Some(desired) = &wanted.desired else {
        return Ok(state.into());
    };
    let Some(update) = tunnels::plan(&state, desired, endpoints, wanted.keep_unknown) else {
        return Ok(state.into());
    };
    let peers = update.peers.len();
    set(interface, update).await?;
    *endpoints = desired
        .peers
        .iter()
        .map(|(key, it)| (*key, it.endpoint))
        .collect();
    info!(peers, "changed tunnels");
    Ok(get(interface).await?.into())
}

async fn get(interface: &Interface) -> Result<DeviceState, String> {
    let interface = interface.clone();
    ask(move || interface.get()).await
}

async fn set(interface: &Interface, update: Update) -> Result<(), String> {
    let interface = interface.clone();
    ask(move || interface.set(&update)).await
}

/// The client blocks, at most for its own timeouts, so it is kept off the runtime's threads.
async fn ask<T: Send + 'static>(
    request: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(request).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// The error with its causes, in one line.
fn chain(error: &ClientError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
