//! Owns users, roles and tokens at run time: one short lock, and word to whoever waits for changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng as _;
use rand::distr::Alphabetic;
use tokio::sync::watch;

use super::super::database::Database;
use super::{Caller, Who};
use crate::access::Permission;
use crate::auth::{Auth, Command, PasswordHash, Refusal, Tokens};

/// As etcd's tokens begin: 91 bits that nobody guesses.
const TOKEN_LETTERS: usize = 16;

/// The lock is taken inside the store's and never the other way round, so that what a request may do
/// cannot change between the check and the deed.
#[derive(Debug)]
pub(in super::super) struct Authority {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// Word of changes that came after it was asked for.
#[derive(Debug)]
pub(in super::super) struct Changes(watch::Receiver<()>);

#[derive(Debug, Default)]
struct State {
    auth: Auth,
    tokens: Tokens,
    /// By user, as far as they were asked for since the last change. Only of users that exist.
    permissions: BTreeMap<String, Arc<Permission>>,
    tokens_given: u64,
}

impl Authority {
    pub(in super::super) fn new(auth: Auth) -> Self {
        Self {
            state: Mutex::new(State {
                auth,
                ..State::default()
            }),
            changed: watch::Sender::new(()),
        }
    }

    /// Applies what an administrator commands. The one place where users and roles change.
    pub(in super::super) fn change(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.permission(&caller.who).check_everything()?;
        let user = user_with_stale_tokens(&command).map(str::to_owned);
        state.auth.apply(command)?;
        state.permissions.clear();
        if let Some(user) = user {
            state.tokens.forget(&user);
        }
        if !state.auth.is_enabled() {
            state.tokens.clear();
        }
        drop(state);
        self.changed.send_replace(());
        Ok(())
    }

    /// Looks at users and roles as they are now.
    pub(in super::super) fn look<T>(&self, look: impl FnOnce(&Auth) -> T) -> T {
        look(&self.lock().auth)
    }

    /// A token for `user`, whose password hash was `checked` just now; `None` if the hash is another
    /// by now, or the user is gone.
    pub(in super::super) fn give_token(
        &self,
        user: &str,
        checked: &PasswordHash,
    ) -> Option<String> {
        let mut state = self.lock();
        if state.auth.user(user).ok()?.password() != Some(checked) {
            return None;
        }
        let letters = rand::rng().sample_iter(Alphabetic).take(TOKEN_LETTERS);
        let letters: String = letters.map(char::from).collect();
        state.tokens_given += 1;
        let token = format!("{letters}.{}", state.tokens_given);
        let now = Database::now();
        state.tokens.insert(token.clone(), user.to_owned(), now);
        Some(token)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.lock().auth.is_enabled()
    }

    pub(super) fn user_of_token(&self, token: &str) -> Option<Arc<str>> {
        let mut state = self.lock();
        state.tokens.user(token, Database::now()).map(Arc::from)
    }

    pub(super) fn permission(&self, who: &Who) -> Arc<Permission> {
        self.lock().permission(who)
    }

    pub(super) fn changes(&self) -> Changes {
        Changes(self.changed.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside is a bug there, and no reason to forget who may do what.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Completes with the next change, or at once if there were some since the last time.
    pub(in super::super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The server is gone, and with it what could change.
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    fn permission(&mut self, who: &Who) -> Arc<Permission> {
        let user = match who {
            Who::BadToken if self.auth.is_enabled() => {
                return Arc::new(Permission::Nothing(Refusal::InvalidAuthToken));
            }
            Who::BadToken | Who::Nameless => return Arc::new(self.auth.permission(None)),
            Who::Process => return Arc::new(Permission::Everything),
            Who::User(user) => user,
        };
        if let Some(known) = self.permissions.get(&**user) {
            return Arc::clone(known);
        }
        let permission = Arc::new(self.auth.permission(Some(user)));
        if self.auth.user(user).is_ok() {
            let permission = Arc::clone(&permission);
            self.permissions.insert(user.to_string(), permission);
        }
        permission
    }
}

/// Who must prove anew who they are.
fn user_with_stale_tokens(command: &Command) -> Option<&str> {
    match command {
        Command::UserChangePassword { user, .. } | Command::UserDelete { user } => Some(user),
        Command::Disable
        | Command::Enable
        | Command::RoleAdd { .. }
        | Command::RoleDelete { .. }
        | Command::RoleGrantPermission { .. }
        | Command::RoleRevokePermission { .. }
        | Command::UserAdd { .. }
        | Command::UserGrantRole { .. }
        | Command::UserRevokeRole { .. } => None,
    }
}
