//! A door: keeps the WireGuard device's peers as they are wanted, and reports what it sees there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};
use wireguard::uapi::{ClientError, DeviceState, Interface, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::desired::Desired;
use crate::preshared::Secrets;
use crate::search::{self, Search};
use crate::tunnels::{self, Wish};

/// How often the device is looked at: also how fast a device that was restarted gets its peers.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the device should be given.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `None` until the mesh has been read.
    pub desired: Option<Arc<Desired>>,
    pub manner: Manner,
}

/// How it is given that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    /// Whether peers that nobody asks for stay, because the mesh is not known whole.
    pub keep_unknown: bool,
    /// The node's key; `None` leaves the device with what it has.
    pub key: Option<PrivateKey>,
    pub secrets: Secrets,
    /// Whether others reach this node only where its operator says.
    pub is_behind_nat: bool,
    /// Whether something tries every tunnel all the time.
    pub is_probed: bool,
    /// Peers whose tunnels do not answer that.
    pub unhealthy: BTreeSet<PublicKey>,
}

impl Wanted {
    /// What is derived once is the same only if it is one.
    pub fn is_same(&self, other: &Self) -> bool {
        let address = |it: &Self| it.desired.as_ref().map(Arc::as_ptr);
        address(self) == address(other) && self.manner == other.manner
    }
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
    let mut given = Given::default();
    loop {
        let now = wanted.borrow_and_update().clone();
        let state = adjust(&interface, &now, &mut given).await;
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

/// What is remembered of the device between two looks.
#[derive(Debug, Default)]
struct Given {
    search: Search,
    /// It refused what other implementations do not know: a peer that succeeds another, an alternate
    /// secret, or that a prefix is shared.
    is_plain: bool,
}

/// Looks at the device, changes what must change, and looks again if something did.
///
/// The key comes last: a handshake may begin the moment after, and needs the secrets that go with it.
async fn adjust(interface: &Interface, wanted: &Wanted, given: &mut Given) -> Seen {
    let looked = get(interface).await;
    // One without peers may have come in its place.
    given.is_plain &= looked.as_ref().is_ok_and(|it| !it.peers.is_empty());
    let state = looked?;
    let are_peers_changed = adjust_peers(interface, &state, wanted, given).await?;
    let key = wanted.manner.key.as_ref();
    let identity = key.and_then(|it| tunnels::identity(&state, it));
    let is_key_changed = identity.is_some();
    if let Some(update) = identity {
        set(interface, update).await?;
        info!("gave the WireGuard device its key and port");
    }
    if are_peers_changed || is_key_changed {
        return Ok(get(interface).await?.into());
    }
    Ok(state.into())
}

/// Returns whether something was changed.
async fn adjust_peers(
    interface: &Interface,
    state: &DeviceState,
    wanted: &Wanted,
    given: &mut Given,
) -> Result<bool, String> {
    let Some(desired) = &wanted.desired else {
        return Ok(false);
    };
    let manner = &wanted.manner;
    let seen = search::Seen {
        peers: &state.peers,
        unhealthy: &manner.unhealthy,
        now: Clock.now(),
        now_unix_seconds: Clock.unix_milliseconds() / 1_000,
    };
    let places = given.search.places(desired, seen);
    let key = manner.key.as_ref().map(PrivateKey::public_key);
    let wish = Wish {
        desired,
        places: &places,
        secrets: &manner.secrets,
        key: key.or_else(|| state.public_key()),
        is_behind_nat: manner.is_behind_nat,
        is_probed: manner.is_probed,
        keep_unknown: manner.keep_unknown,
        is_plain: given.is_plain,
    };
    let Some(update) = tunnels::plan(state, &wish) else {
        return Ok(false);
    };
    let peers = update.peers.len();
    let is_extended = tunnels::is_extended(&update);
    match set(interface, update).await {
        Err(reason) if is_extended => {
            info!(%reason, "the WireGuard device does no more than any other: a change of a key costs a moment, and each prefix is one peer's");
            given.is_plain = true;
            let wish = Wish {
                is_plain: true,
                ..wish
            };
            if let Some(update) = tunnels::plan(state, &wish) {
                set(interface, update).await?;
            }
        }
        result => result?,
    }
    info!(peers, "changed tunnels");
    Ok(true)
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
