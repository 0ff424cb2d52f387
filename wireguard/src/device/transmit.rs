//! A door: carries packets from the interface to the network.

use std::io;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{End, Shared, clock};
use crate::egress::{Egress, Network};
use crate::offload::VnetHeader;
use crate::outbox::Burst;

/// The largest packet, and what the interface says of it.
const FRAME_BYTES_MAX: usize = 65_536 + VnetHeader::BYTES;

/// Reads packets until the interface is gone.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut egress = Egress::new(shared.mtu());
    let mut frame = vec![0; FRAME_BYTES_MAX];
    let mut network = &**shared;
    loop {
        match shared.tun.recv(&mut frame) {
            Ok(length) => {
                let configuration = shared.configuration.load();
                egress.set_mtu(shared.mtu());
                let frame = &mut frame[..length];
                egress.carry(&configuration, frame, clock::now(), &mut network);
            }
            // Nothing more for the moment, or an interface that is down for the moment.
            Err(error) if is(&error, Errno::AGAIN) || is(&error, Errno::IO) => {
                if !egress.is_empty() {
                    let configuration = shared.configuration.load();
                    egress.flush(&configuration, clock::now(), &mut network);
                }
                shared.drops.count(egress.take_dropped());
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

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
