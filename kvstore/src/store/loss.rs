//! Decides what the end of a connection, or the lack of one, says of the other side.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use etcd_client::Error;

use crate::server::error_chain;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Loss {
    /// One line for operators.
    pub reason: String,
    /// Nothing came back. Otherwise somebody is there, who closed or refused the connection.
    pub silent: bool,
}

impl Loss {
    pub(crate) fn silent(reason: String) -> Self {
        Self {
            reason,
            silent: true,
        }
    }

    /// Somebody said so, or we did.
    pub(crate) fn told(reason: String) -> Self {
        Self {
            reason,
            silent: false,
        }
    }

    /// What an error of the client means, with its causes.
    pub(crate) fn of(error: &Error) -> Self {
        if let Error::TransportError(error) = error {
            return Self {
                reason: error_chain(error),
                silent: is_unreachable(error),
            };
        }
        let Error::GRpcStatus(status) = error else {
            return Self::told(error.to_string());
        };
        match status.source() {
            Some(source) => Self {
                reason: format!("{}: {}", status.message(), error_chain(source)),
                silent: is_unreachable(source),
            },
            None => Self::told(status.message().to_owned()),
        }
    }
}

/// Whether the cause is that packets do not arrive. Whoever says so then is not the other side.
fn is_unreachable(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let kind = error.kind();
            return kind == ErrorKind::HostUnreachable
                || kind == ErrorKind::NetworkUnreachable
                || kind == ErrorKind::TimedOut;
        }
        cause = error.source();
    }
    false
}
