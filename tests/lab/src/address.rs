//! Decides where a server listens that cannot be given port 0, as it must know its address before it
//! starts, or starts again on the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::{Mutex, PoisonError};

/// Below the ports that Linux gives to clients and to whoever asks for port 0, from 32768 on, so that
/// none of them has taken the port when the server starts, or starts again.
const PORTS: Range<u16> = 12_000..32_000;

/// An address on loopback that nobody uses, and that nobody else gets from here while this process
/// lives.
///
/// # Panics
///
/// If every port is taken.
pub fn free_address() -> SocketAddr {
    static TAKEN: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let mut ports = PORTS.cycle().skip(rand::random_range(0..PORTS.len()));
    let (address, claim) = ports
        .by_ref()
        .take(PORTS.len())
        .filter_map(|port| Some((SocketAddr::from((Ipv4Addr::LOCALHOST, port)), claim(port)?)))
        .find(|(address, _)| TcpListener::bind(address).is_ok())
        .expect("twenty thousand ports are not all in use");
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.push(claim);
    address
}

/// Claims a port among all processes that look for one here. The claim is a name without a file, which
/// ends with the process however that ends, and belongs to a network namespace as ports do.
fn claim(port: u16) -> Option<UnixDatagram> {
    let name = UnixAddress::from_abstract_name(format!("causeway-lab-port-{port}")).ok()?;
    UnixDatagram::bind_addr(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_every_address_once() {
        let first: Vec<SocketAddr> = (0..100).map(|_| free_address()).collect();

        for address in &first {
            assert!(claim(address.port()).is_none(), "{address}");
            assert!(TcpListener::bind(address).is_ok(), "{address}");
        }
    }
}
