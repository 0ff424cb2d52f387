//! Decides who a request comes from, and so what it may do.

use std::sync::Arc;

use tonic::Request;

use super::peer::Peer;
use crate::access::{Permission, Rules};

/// Stands before every service.
#[derive(Clone, Debug)]
pub(super) enum Gate {
    /// For this process itself, and for plaintext, where nobody has a name.
    Open,
    /// For clients with a certificate, whose common name is the user.
    Guarded(Arc<Rules>),
}

impl Gate {
    pub(super) fn permission<T>(&self, request: &Request<T>) -> Permission {
        match self {
            Self::Open => Permission::everything(),
            Self::Guarded(rules) => {
                let peer = request.extensions().get::<Peer>();
                rules.permission(peer.and_then(|it| it.common_name.as_deref()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_nobody_pass_who_shows_no_certificate() {
        let gate = Gate::Guarded(Arc::default());
        assert_eq!(gate.permission(&Request::new(())), Permission::nothing());
    }
}
