//! A door: carries packets from the interface to the network.

use std::sync::Arc;

use rustix::io::Errno;

use super::{End, Shared, clock};
use crate::outgoing::Outgoing;
use crate::tunnel::{BUFFER_BYTES, Datagram};

/// Reads packets until the interface is gone.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut packet = vec![0; BUFFER_BYTES];
    let mut sealed = vec![0; BUFFER_BYTES];
    loop {
        match shared.tun.recv(&mut packet) {
            Ok(length) => carry(shared, &mut packet, length, &mut sealed),
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => (),
            Err(error) => {
                tracing::info!(interface = shared.interface, %error, "interface gone");
                return shared.end(End::InterfaceGone);
            }
        }
    }
}

fn carry(shared: &Shared, packet: &mut [u8], length: usize, sealed: &mut [u8]) {
    let outgoing = Outgoing::new(packet, length, shared.mtu());
    let configuration = shared.configuration.load();
    match configuration.outbound(outgoing, sealed, clock::now()) {
        Ok(Some(datagram)) => send(shared, datagram),
        Ok(None) => (),
        Err(dropped) => shared.drops.count(dropped),
    }
}

/// Hands a datagram to the network; if it does not take it at once, the datagram is lost.
pub(super) fn send(shared: &Shared, datagram: Datagram<'_>) {
    let sockets = shared.sockets.load();
    let sent = sockets.as_ref().map(|it| it.send(datagram));
    if !matches!(sent, Some(Ok(()))) {
        tracing::trace!(to = %datagram.to, ?sent, "datagram not sent");
        shared.drops.count_undeliverable();
    }
}
