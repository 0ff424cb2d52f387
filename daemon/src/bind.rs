//! Opens listening sockets, and says in one sentence why one cannot be opened and what to do.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};

/// A listening address that cannot be had. `flag` is the command line flag that chose it.
#[derive(Debug, Error)]
pub enum BindError {
    #[error(
        "address {address} is already in use; stop what listens there or choose another with {flag}"
    )]
    InUse {
        address: SocketAddr,
        flag: &'static str,
    },
    #[error(
        "no permission to listen on {address}; run as root, or choose a port above 1023 with {flag}"
    )]
    NotAllowed {
        address: SocketAddr,
        flag: &'static str,
    },
    #[error(
        "this machine has no address {}; add it to an interface or choose another with {flag}",
        .address.ip()
    )]
    NotOurs {
        address: SocketAddr,
        flag: &'static str,
    },
    #[error("cannot listen on {address}, which {flag} names")]
    Other {
        address: SocketAddr,
        flag: &'static str,
        source: io::Error,
    },
}

impl BindError {
    /// Explains why `address`, chosen by `flag` ("--listen"), could not be bound: for sockets that
    /// need options of their own and are therefore not opened here.
    pub fn new(source: io::Error, address: SocketAddr, flag: &'static str) -> Self {
        // `ErrorKind` is open-ended, so the match is on what has a remedy of its own.
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the kinds of IO errors are not ours, and most have no remedy"
        )]
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, flag },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { address, flag },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { address, flag },
            _ => Self::Other {
                address,
                flag,
                source,
            },
        }
    }
}

/// Listens for TCP connections on `address`, which `flag` ("--listen") chose.
pub async fn tcp(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| BindError::new(source, address, flag))
}

/// Listens for UDP datagrams on `address`, which `flag` ("--listen") chose.
pub async fn udp(address: SocketAddr, flag: &'static str) -> Result<UdpSocket, BindError> {
    UdpSocket::bind(address)
        .await
        .map_err(|source| BindError::new(source, address, flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_address_and_flag_of_a_port_in_use() {
        let first = tcp("127.0.0.1:0".parse().unwrap(), "--admin")
            .await
            .unwrap();
        let address = first.local_addr().unwrap();

        let error = tcp(address, "--admin").await.unwrap_err();

        assert_eq!(
            error.to_string(),
            format!(
                "address {address} is already in use; \
                 stop what listens there or choose another with --admin"
            )
        );
    }

    #[tokio::test]
    async fn treats_udp_alike() {
        let first = udp("127.0.0.1:0".parse().unwrap(), "--listen")
            .await
            .unwrap();
        let address = first.local_addr().unwrap();

        let error = udp(address, "--listen").await.unwrap_err();

        assert!(matches!(
            error,
            BindError::InUse {
                flag: "--listen",
                ..
            }
        ));
    }

    #[tokio::test]
    async fn names_an_address_of_another_machine() {
        let error = tcp("192.0.2.77:53".parse().unwrap(), "--listen")
            .await
            .unwrap_err();

        assert_eq!(
            error.to_string(),
            "this machine has no address 192.0.2.77; \
             add it to an interface or choose another with --listen"
        );
    }

    #[test]
    fn names_a_privileged_port() {
        let error = BindError::new(
            io::ErrorKind::PermissionDenied.into(),
            "127.0.0.1:53".parse().unwrap(),
            "--listen",
        );

        assert_eq!(
            error.to_string(),
            "no permission to listen on 127.0.0.1:53; \
             run as root, or choose a port above 1023 with --listen"
        );
    }
}
