//! A door: tells a service manager that the device serves.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::Context as _;

/// Says so on the socket that `NOTIFY_SOCKET` names; a name that begins with `@` is abstract.
///
/// # Errors
///
/// Nobody listens there.
pub(crate) fn ready(socket: &str) -> anyhow::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    };
    let sender = UnixDatagram::unbound()?;
    address
        .and_then(|it| sender.send_to_addr(b"READY=1\n", &it))
        .with_context(|| {
            format!("cannot tell {socket} (NOTIFY_SOCKET) that the device is ready")
        })?;
    Ok(())
}
