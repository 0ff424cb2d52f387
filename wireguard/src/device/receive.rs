//! A door: carries datagrams from the network to the interface.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::sockets::{Arrivals, Family, Sockets};
use super::{Shared, clock};
use crate::ingress::{Ingress, Interface};
use crate::offload::Frame;

/// Keeps an error that does not go away from taking a whole processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Reads one family's datagrams until `sockets` are retired.
pub(super) fn run(shared: &Shared, sockets: &Arc<Sockets>, family: Family) {
    let mut ingress = Ingress::new(shared.tun.offloads, shared.mtu());
    let mut arrivals = Arrivals::new();
    let (mut network, mut interface) = (shared, shared);
    let mut adopted = false;
    while let Some(received) =
        sockets.receive(family, &mut arrivals, adopted.then_some(&shared.tun))
    {
        match received {
            Ok(()) => {
                let configuration = shared.configuration.load();
                ingress.set_mtu(shared.mtu());
                let (buffer, groups) = arrivals.parts();
                let now = clock::now();
                ingress.carry(
                    &configuration,
                    buffer,
                    groups,
                    now,
                    &mut network,
                    &mut interface,
                );
                shared.drops.count(ingress.take_dropped());
                adopted = shared.readings.carry_beside(shared, family, adopted);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot receive");
                thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
    shared.readings.give_back(family);
}

impl Interface for &Shared {
    fn write(&mut self, frame: &Frame<'_>, buffer: &[u8]) -> bool {
        self.tun.write(frame, buffer).is_ok()
    }
}
