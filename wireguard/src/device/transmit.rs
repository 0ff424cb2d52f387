//! A door: carries packets from the interface to the network.

use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::readings::is;
use super::{End, Shared};
use crate::egress::Network;
use crate::outbox::Burst;

/// Reads packets until the interface is gone.
pub(super) fn run(shared: &Arc<Shared>) {
    loop {
        match shared.readings.carry(shared) {
            Ok(()) => (),
            // Nothing more for the moment, or an interface that is down for the moment.
            Err(error) if is(&error, Errno::AGAIN) || is(&error, Errno::IO) => {
                // An interrupted wait is a short one.
                let _ = poll(&mut [PollFd::new(&shared.tun, PollFlags::IN)], None);
            }
            Err(error) if is(&error, Errno::INTR) => (),
            Err(error) => {
                tracing::info!(interface = shared.interface, %error, "interface gone");
                return shared.end(End::InterfaceGone);
            }
        }
    }
}

impl Network for &Shared {
    /// Hands datagrams to the network; what it does not take at once is lost.
    fn send(&mut self, burst: Burst<'_>) -> bool {
        let sockets = self.sockets.load();
        match sockets.as_ref().map(|it| it.send(burst)) {
            Some(Ok(())) => true,
            outcome => {
                tracing::trace!(to = %burst.to.address, ?outcome, "datagrams not sent");
                false
            }
        }
    }
}
