//! The Auth service: users and roles, and tokens for passwords.

mod routes;
mod status;

use std::sync::Arc;

use etcd_client::proto::{
    PbAuthRoleGetRequest, PbAuthRoleGetResponse, PbAuthUserAddRequest, PbAuthUserAddResponse,
    PbAuthUserChangePasswordRequest, PbAuthUserChangePasswordResponse, PbAuthUserGetRequest,
    PbAuthUserGetResponse, PbAuthenticateRequest, PbAuthenticateResponse, PbResponseHeader,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use super::database::Database;
use super::gate::{Caller, Gate};
use crate::auth::{Auth, Command, PasswordHash, Refusal};

pub(super) use routes::add;

/// Passwords hashed at a time: each takes a processor for a tenth of a second, and clients with a
/// certificate should not feel it.
const HASHINGS_MAX: usize = 2;

/// Those that are hashed or wait for it; who comes later is told to come again.
const HASHINGS_WAITING_MAX: usize = 64;

/// How often a password is looked at again because it changed meanwhile.
const CHECKS_MAX: usize = 3;

#[derive(Debug)]
pub(super) struct Service {
    database: Arc<Database>,
    gate: Gate,
    hashings: Semaphore,
    waiting: Semaphore,
}

impl Service {
    pub(super) fn new(database: Arc<Database>, gate: Gate) -> Self {
        Self {
            database,
            gate,
            hashings: Semaphore::new(HASHINGS_MAX),
            waiting: Semaphore::new(HASHINGS_WAITING_MAX),
        }
    }

    async fn authenticate(
        self: Arc<Self>,
        _caller: Caller,
        request: PbAuthenticateRequest,
    ) -> Result<PbAuthenticateResponse, Status> {
        let PbAuthenticateRequest { name, password } = request;
        for _ in 0..CHECKS_MAX {
            let hash = self.look(|auth| {
                if !auth.is_enabled() {
                    return Err(Refusal::AuthenticationNotEnabled);
                }
                Ok(auth.user(&name).ok().and_then(|it| it.password().cloned()))
            })?;
            let (given, known) = (password.clone(), hash.clone());
            let right = self.hash(move || PasswordHash::verify(known.as_ref(), &given));
            let right = right.await?;
            let Some(hash) = hash.filter(|_| right) else {
                return Err(Refusal::AuthenticationFailed.into());
            };
            if let Some(token) = self.gate.authority().give_token(&name, &hash) {
                return Ok(PbAuthenticateResponse {
                    header: self.header(),
                    token,
                });
            }
        }
        Err(Refusal::OldRevision.into())
    }

    async fn user_add(
        self: Arc<Self>,
        caller: Caller,
        request: PbAuthUserAddRequest,
    ) -> Result<PbAuthUserAddResponse, Status> {
        // Before the costly part; the command checks it again.
        caller.permission().check_everything()?;
        let password = if request.options.is_some_and(|it| it.no_password) {
            None
        } else {
            let password = request.password;
            Some(self.hash(move || PasswordHash::of(&password)).await?)
        };
        let user = request.name;
        let header = self.command(&caller, Command::UserAdd { user, password })?;
        Ok(PbAuthUserAddResponse { header })
    }

    async fn user_change_password(
        self: Arc<Self>,
        caller: Caller,
        request: PbAuthUserChangePasswordRequest,
    ) -> Result<PbAuthUserChangePasswordResponse, Status> {
        caller.permission().check_everything()?;
        let PbAuthUserChangePasswordRequest { name, password, .. } = request;
        let password = self.hash(move || PasswordHash::of(&password)).await?;
        let command = Command::UserChangePassword {
            user: name,
            password,
        };
        let header = self.command(&caller, command)?;
        Ok(PbAuthUserChangePasswordResponse { header })
    }

    /// Everybody may see the own roles.
    fn user_get(
        &self,
        caller: &Caller,
        request: PbAuthUserGetRequest,
    ) -> Result<PbAuthUserGetResponse, Status> {
        let permitted = caller.permission().check_everything();
        let roles = self.look(|auth| {
            if caller.user() != Some(&*request.name) {
                permitted?;
            }
            let user = auth.user(&request.name)?;
            Ok::<_, Refusal>(user.roles().map(str::to_owned).collect())
        })?;
        Ok(PbAuthUserGetResponse {
            header: self.header(),
            roles,
        })
    }

    /// Everybody may see what the own roles permit.
    fn role_get(
        &self,
        caller: &Caller,
        request: PbAuthRoleGetRequest,
    ) -> Result<PbAuthRoleGetResponse, Status> {
        let permitted = caller.permission().check_everything();
        let mut response = PbAuthRoleGetResponse {
            header: self.header(),
            ..PbAuthRoleGetResponse::default()
        };
        self.look(|auth| {
            let own = caller.user().and_then(|it| auth.user(it).ok());
            if !own.is_some_and(|it| it.has_role(&request.role)) {
                permitted?;
            }
            for (keys, access) in auth.role(&request.role)?.permissions() {
                // etcd-client exports no name for the message, so it is made where its type is known.
                response.perm.push(Default::default());
                if let Some(last) = response.perm.last_mut() {
                    last.perm_type = access.number();
                    last.key.clone_from(&keys.key);
                    last.range_end.clone_from(&keys.range_end);
                }
            }
            Ok::<_, Refusal>(())
        })?;
        Ok(response)
    }

    fn command(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<Option<PbResponseHeader>, Status> {
        // Inside the store's lock, so that every request comes before the change or after it.
        let revision = self.database.with(|store| {
            let authority = self.gate.authority();
            authority.change(caller, command)?;
            store.set_auth_state(authority.look(Auth::to_bytes).into());
            Ok::<_, Refusal>(store.revision())
        })?;
        Ok(self.database.header(revision))
    }

    fn look<T>(&self, look: impl FnOnce(&Auth) -> T) -> T {
        self.gate.authority().look(look)
    }

    /// Runs what hashes a password where it holds up nobody.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| Refusal::TooManyRequests)?;
        let _turn: Result<SemaphorePermit<'_>, _> = self.hashings.acquire().await;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Status::internal("etcdserver: a password could not be hashed"))
    }

    fn header(&self) -> Option<PbResponseHeader> {
        let revision = self.database.with(|store| store.revision());
        self.database.header(revision)
    }
}
