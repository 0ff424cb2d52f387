//! A door: gives every tunnel its time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Shared, clock};
use crate::egress::Egress;

/// Far below every timer of the protocol, far above what a tick costs.
const TICK: Duration = Duration::from_millis(100);

/// Ticks until the device itself until the process ends.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut egress = Egress::new(shared.mtu());
    let mut network = &**shared;
    loop {
        if let Ok(mtu) = shared.tun.mtu() {
            shared.mtu.store(mtu, Ordering::Relaxed);
        }
        let configuration = shared.configuration.load_full();
        let now = clock::now();
        shared.marks.keep_up(configuration.stamper(), now.unix);
        egress.tick(&configuration, now, &mut network);
        shared.drops.count(egress.take_dropped());
        thread::sleep(TICK);
    }
}
