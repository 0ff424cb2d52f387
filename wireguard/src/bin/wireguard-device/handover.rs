//! A door: takes over what a service manager opened: the configuration socket, and the interface.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::Context as _;
use rustix::fs::fcntl_setfl;
use rustix::io::FdFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, RawPid, getpid, pidfd_getfd, pidfd_open};

use crate::config::Handover;

/// The first descriptor that a service manager hands over.
const FIRST: i32 = 3;

/// What the socket is called among several.
const NAME: &str = "uapi";

/// Whether something was handed over to this very process, which its manager watches.
pub(crate) fn is_for_us(handover: &Handover) -> bool {
    handover.wg_uapi_fd.is_some() || handover.listen_pid == Some(getpid().as_raw_pid())
}

/// The listener that the environment names, if it names one.
///
/// # Errors
///
/// What is named is no listening socket, or is none that this program can use.
pub(crate) fn listener(handover: &Handover) -> anyhow::Result<Option<UnixListener>> {
    let Some(number) = descriptor(handover, getpid().as_raw_pid())? else {
        return Ok(None);
    };
    let socket = take(number)?;
    let is_listening = rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false)
        && rustix::net::sockopt::socket_domain(&socket)? == rustix::net::AddressFamily::UNIX;
    anyhow::ensure!(
        is_listening,
        "descriptor {number} is no listening Unix socket; name that one {NAME:?} in the .socket unit"
    );
    // As a service manager leaves it, accepting might not wait.
    let flags = rustix::fs::fcntl_getfl(&socket)? - rustix::fs::OFlags::NONBLOCK;
    fcntl_setfl(&socket, flags)?;
    Ok(Some(socket.into()))
}

/// The interface that the environment names, if it names one; whether it is one is not known here.
///
/// # Errors
///
/// There is no such descriptor.
pub(crate) fn interface(handover: &Handover) -> anyhow::Result<Option<OwnedFd>> {
    handover.wg_tun_fd.map(take).transpose()
}

fn descriptor(handover: &Handover, own_pid: RawPid) -> anyhow::Result<Option<i32>> {
    if handover.wg_uapi_fd.is_some() {
        return Ok(handover.wg_uapi_fd);
    }
    let count = handover.listen_fds.unwrap_or(0);
    if count == 0 || handover.listen_pid.is_some_and(|it| it != own_pid) {
        return Ok(None);
    }
    let names: Vec<&str> = match &handover.listen_fdnames {
        Some(names) => names.split(':').collect(),
        None => Vec::new(),
    };
    let named = (FIRST..).zip(&names).find(|(_, name)| **name == NAME);
    match named {
        Some((number, _)) => Ok(Some(number)),
        // One alone needs no name.
        None if count == 1 => Ok(Some(FIRST)),
        None => anyhow::bail!(
            "none of the {count} sockets handed over is called {NAME:?}; say FileDescriptorName={NAME} in its .socket unit"
        ),
    }
}

/// A copy of our own descriptor of this number. The number itself stays taken until the end.
fn take(number: i32) -> anyhow::Result<OwnedFd> {
    let copy = || {
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        let copy = pidfd_getfd(own, number, PidfdGetfdFlags::empty())?;
        rustix::io::fcntl_setfd(&copy, FdFlags::CLOEXEC).map(|()| copy)
    };
    copy().with_context(|| format!("cannot take over descriptor {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_socket_that_is_meant() {
        let handover = |fds, names: Option<&str>, pid| Handover {
            listen_fds: fds,
            listen_fdnames: names.map(str::to_owned),
            listen_pid: pid,
            ..Handover::default()
        };
        let found = |it: &Handover| descriptor(it, 7).ok().flatten();
        assert_eq!(found(&handover(None, None, None)), None);
        assert_eq!(found(&handover(Some(1), None, Some(7))), Some(3));
        assert_eq!(found(&handover(Some(1), Some("wg0.socket"), None)), Some(3));
        assert_eq!(
            found(&handover(Some(2), Some("udp:uapi"), Some(7))),
            Some(4)
        );
        assert_eq!(found(&handover(Some(1), None, Some(8))), None, "for others");
        assert!(descriptor(&handover(Some(2), None, None), 7).is_err());
        let direct = Handover {
            wg_uapi_fd: Some(9),
            ..handover(Some(1), None, Some(7))
        };
        assert_eq!(found(&direct), Some(9));
    }
}
