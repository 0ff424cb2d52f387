//! A door: carries datagrams from the network to the interface.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::sockets::{Family, Sockets};
use super::transmit::send;
use super::{Shared, clock};
use crate::configuration::Inbound;
use crate::tunnel::BUFFER_BYTES;

/// Keeps an error that does not go away from taking a whole processor.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Reads one family's datagrams until `sockets` are retired.
pub(super) fn run(shared: &Shared, sockets: &Arc<Sockets>, family: Family) {
    let mut datagram = vec![0; BUFFER_BYTES];
    let mut opened = vec![0; BUFFER_BYTES];
    while let Some(received) = sockets.receive(family, &mut datagram) {
        match received {
            Ok((length, source)) => carry(shared, &datagram[..length], source, &mut opened),
            Err(error) => {
                tracing::debug!(%error, "cannot receive");
                thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
}

fn carry(shared: &Shared, datagram: &[u8], source: SocketAddr, opened: &mut [u8]) {
    let configuration = shared.configuration.load();
    let now = clock::now();
    let (inbound, peer) = configuration.inbound(datagram, source, opened, now);
    match inbound {
        Inbound::Nothing => (),
        Inbound::Deliver(packet) => deliver(shared, packet),
        Inbound::Drop(dropped) => shared.drops.count(dropped),
        Inbound::Reply(reply) => send(shared, reply),
    }

    let Some(peer) = peer else {
        return;
    };
    loop {
        // Locked for one packet at a time, so that sending never waits behind a lock.
        let queued = peer.tunnel().next_queued(opened, now);
        match queued {
            Some(datagram) => send(shared, datagram),
            None => break,
        }
    }
}

fn deliver(shared: &Shared, packet: &[u8]) {
    if let Err(error) = shared.tun.send(packet) {
        tracing::trace!(%error, "packet not delivered");
        shared.drops.count_undeliverable();
    }
}
