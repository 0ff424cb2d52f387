//! Decides who a request comes from, and so what it may do.

mod authority;

use std::sync::Arc;

use tonic::Request;

use super::peer::Peer;
use crate::access::Permission;

pub(super) use authority::{Authority, Changes};

/// Stands before every service.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    authority: Arc<Authority>,
    entrance: Entrance,
}

#[derive(Clone, Copy, Debug)]
enum Entrance {
    /// By which clients come, each known by its token or its certificate.
    Network,
    /// For this process itself, which may do everything.
    Process,
}

/// Who makes a request, or holds a stream open. What it may do can change at any time.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    authority: Arc<Authority>,
    who: Who,
}

#[derive(Clone, Debug)]
enum Who {
    /// A token that stands for nobody, or no more.
    BadToken,
    /// Neither token nor certificate.
    Nameless,
    Process,
    User(Arc<str>),
}

impl Gate {
    pub(super) fn network(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            entrance: Entrance::Network,
        }
    }

    pub(super) fn process(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            entrance: Entrance::Process,
        }
    }

    /// A token counts more than a certificate, as in etcd.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Caller {
        let who = match (self.entrance, token(request)) {
            (Entrance::Process, _) => Who::Process,
            (Entrance::Network, Some(token)) if self.authority.is_enabled() => {
                let user = self.authority.user_of_token(token);
                user.map_or(Who::BadToken, Who::User)
            }
            (Entrance::Network, _) => certified_name(request).map_or(Who::Nameless, Who::User),
        };
        Caller {
            authority: Arc::clone(&self.authority),
            who,
        }
    }

    /// What the request may do now. Where it matters that nothing changes between this and the deed,
    /// ask the [`caller`](Self::caller) while the store is locked.
    pub(super) fn permission<T>(&self, request: &Request<T>) -> Arc<Permission> {
        self.caller(request).permission()
    }

    pub(super) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }
}

impl Caller {
    pub(super) fn permission(&self) -> Arc<Permission> {
        self.authority.permission(&self.who)
    }

    /// Wakes whenever [`permission`](Self::permission) may have become another.
    pub(super) fn changes(&self) -> Changes {
        self.authority.changes()
    }

    /// The user's name, if the client has one.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.who {
            Who::User(user) => Some(user),
            Who::BadToken | Who::Nameless | Who::Process => None,
        }
    }
}

/// Clients of etcd send it under the first name, and gateways under the second.
fn token<T>(request: &Request<T>) -> Option<&str> {
    let metadata = request.metadata();
    let token = metadata
        .get("token")
        .or_else(|| metadata.get("authorization"))?;
    // What is no text stands for nobody.
    Some(token.to_str().unwrap_or_default())
}

/// The user that the client's certificate names.
fn certified_name<T>(request: &Request<T>) -> Option<Arc<str>> {
    request.extensions().get::<Peer>()?.common_name.clone()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::auth::{Auth, Command, Refusal};

    #[test]
    fn lets_nobody_pass_who_shows_nothing_once_authentication_is_enabled() {
        let authority = Arc::new(Authority::new(Auth::default()));
        let gate = Gate::network(Arc::clone(&authority));
        let nobody = gate.caller(&Request::new(()));
        let mut with_token = Request::new(());
        with_token
            .metadata_mut()
            .insert("token", "x".parse().unwrap());
        let stranger = gate.caller(&with_token);
        for caller in [&nobody, &stranger] {
            assert_eq!(*caller.permission(), Permission::Everything);
        }
        let mut changes = nobody.changes();

        let process = Gate::process(Arc::clone(&authority));
        let process = process.caller(&Request::new(()));
        let root = || "root".to_owned();
        let user_add = Command::UserAdd {
            user: root(),
            password: None,
        };
        let grant = Command::UserGrantRole {
            user: root(),
            role: root(),
        };
        for command in [user_add, grant, Command::Enable] {
            authority.change(&process, command).unwrap();
        }

        assert!(changes.next().now_or_never().is_some());
        assert!(changes.next().now_or_never().is_none());
        let refused = |refusal| Permission::Nothing(refusal);
        assert_eq!(*nobody.permission(), refused(Refusal::UserNameEmpty));
        let stranger = gate.caller(&with_token);
        assert_eq!(*stranger.permission(), refused(Refusal::InvalidAuthToken));
        assert_eq!(
            authority.change(&nobody, Command::Disable),
            Err(Refusal::UserNameEmpty)
        );
        assert_eq!(*process.permission(), Permission::Everything);
    }
}
