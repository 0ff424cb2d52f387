//! Reads and changes the users and roles of a store, wherever it is.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{
    Client, Error, Permission, PermissionType, RoleRevokePermissionOptions, UserAddOptions,
};

use crate::auth::{Access, Command, Keys};
use crate::store::{Link, Loss, Store};

/// A connection as an administrator: while authentication is enabled, others are refused.
#[derive(Clone)]
pub struct Administrator {
    client: Client,
}

impl Administrator {
    pub async fn connect(store: &Store, link: &Link) -> Result<Self, Loss> {
        let client = store.connect(link).await?;
        Ok(Self { client })
    }

    /// Whether the store asks who its clients are.
    pub async fn is_enabled(&self) -> Result<bool, Loss> {
        // A login that must fail: etcd 3.4 has no other question for it that changes nothing.
        let mut client = self.client.auth_client();
        match client.authenticate(String::new(), String::new()).await {
            Ok(_) => Ok(true),
            Err(Error::GRpcStatus(status)) if status.message() == FAILED => Ok(true),
            Err(Error::GRpcStatus(status)) if status.message() == NOT_ENABLED => Ok(false),
            Err(error) => Err(Loss::of(&error)),
        }
    }

    pub async fn users(&self) -> Result<Vec<String>, Loss> {
        let answer = self.client.auth_client().user_list().await;
        answer
            .map(|it| it.users().to_vec())
            .map_err(|it| Loss::of(&it))
    }

    pub async fn roles(&self) -> Result<Vec<String>, Loss> {
        let answer = self.client.auth_client().role_list().await;
        answer
            .map(|it| it.roles().to_vec())
            .map_err(|it| Loss::of(&it))
    }

    /// The user's roles.
    pub async fn user(&self, name: &str) -> Result<BTreeSet<String>, Loss> {
        let answer = self.client.auth_client().user_get(name).await;
        let answer = answer.map_err(|it| Loss::of(&it))?;
        Ok(answer.roles().iter().cloned().collect())
    }

    /// What the role permits. Kinds of access that are unknown here are left out.
    pub async fn role(&self, name: &str) -> Result<BTreeMap<Keys, Access>, Loss> {
        let answer = self.client.auth_client().role_get(name).await;
        let answer = answer.map_err(|it| Loss::of(&it))?;
        let permissions = answer.permissions();
        Ok(permissions.iter().filter_map(permission).collect())
    }

    /// Carries out a command. Passwords are not among what it can set: users are added without one.
    pub async fn command(&self, command: Command) -> Result<(), Loss> {
        let outcome = carry_out(&mut self.client.clone(), command).await;
        outcome.map_err(|it| Loss::of(&it))
    }
}

const FAILED: &str = "etcdserver: authentication failed, invalid user ID or password";
const NOT_ENABLED: &str = "etcdserver: authentication is not enabled";

fn permission(found: &Permission) -> Option<(Keys, Access)> {
    let keys = Keys {
        key: found.key().to_vec(),
        range_end: found.range_end().to_vec(),
    };
    Some((keys, Access::of_number(found.get_type())?))
}

async fn carry_out(client: &mut Client, command: Command) -> Result<(), Error> {
    match command {
        Command::Disable => client.auth_disable().await.map(drop),
        Command::Enable => client.auth_enable().await.map(drop),
        Command::RoleAdd { role } => client.role_add(role).await.map(drop),
        Command::RoleDelete { role } => client.role_delete(role).await.map(drop),
        Command::RoleGrantPermission { role, keys, access } => {
            let kind = match access {
                Access::Read => PermissionType::Read,
                Access::ReadWrite => PermissionType::Readwrite,
                Access::Write => PermissionType::Write,
            };
            let permission = Permission::new(kind, keys.key).with_range_end(keys.range_end);
            client
                .role_grant_permission(role, permission)
                .await
                .map(drop)
        }
        Command::RoleRevokePermission { role, keys } => {
            let options = RoleRevokePermissionOptions::new().with_range_end(keys.range_end);
            let options = Some(options);
            client
                .role_revoke_permission(role, keys.key, options)
                .await
                .map(drop)
        }
        Command::UserAdd { user, .. } => {
            let options = Some(UserAddOptions::new().with_no_pwd());
            client.user_add(user, "", options).await.map(drop)
        }
        Command::UserChangePassword { .. } => Ok(()),
        Command::UserDelete { user } => client.user_delete(user).await.map(drop),
        Command::UserGrantRole { user, role } => client.user_grant_role(user, role).await.map(drop),
        Command::UserRevokeRole { user, role } => {
            client.user_revoke_role(user, role).await.map(drop)
        }
    }
}
