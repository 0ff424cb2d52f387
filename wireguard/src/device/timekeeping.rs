//! A door: gives every tunnel its time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::transmit::send;
use super::{Shared, clock};
use crate::tunnel::BUFFER_BYTES;

/// Far below every timer of the protocol, far above what a tick costs.
const TICK: Duration = Duration::from_millis(100);

/// Ticks until the device itself until the process ends.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        tick(shared, &mut buffer);
        thread::sleep(TICK);
    }
}

fn tick(shared: &Shared, buffer: &mut [u8]) {
    if let Ok(mtu) = shared.tun.mtu() {
        shared.mtu.store(mtu.into(), Ordering::Relaxed);
    }
    let configuration = shared.configuration.load_full();
    configuration.reset_limits();
    for peer in configuration.peers() {
        let due = peer.tunnel().tick(buffer, clock::now());
        if let Some(datagram) = due {
            send(shared, datagram);
        }
    }
}
