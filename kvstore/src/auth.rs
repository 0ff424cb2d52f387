//! Decides who a store's users are and what their roles permit, as etcd's authentication does.
//!
//! A value and the commands that change it: no clock, no lock, no request. Beside it the tokens that
//! stand for a password that was checked.

mod bytes;
mod password;
mod refusal;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use crate::access::Permission;
use crate::mvcc::{KeyRange, end_of_prefix};

pub use bytes::DecodeError;
pub use password::PasswordHash;
pub use refusal::Refusal;
pub use token::Tokens;

/// The user without whom authentication cannot be enabled, and the role that permits everything. Who
/// has the role is an administrator, whatever the name.
pub const ROOT: &str = "root";

/// Users, roles, and permissions of all roles together. A mesh has at most 511 clusters, with a user,
/// a role and a permission each; the rest is an administrator's, who must not fill the memory.
const ENTRIES_MAX: usize = 16_384;

/// Users and roles, and whether anybody asks for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    enabled: bool,
    /// Rises with every change of a user or a role, and when authentication is disabled.
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Who has none is known by a certificate only.
    password: Option<PasswordHash>,
    roles: BTreeSet<String>,
}

/// What a role permits, by the ranges exactly as they were granted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Role {
    permissions: BTreeMap<Keys, Access>,
}

/// A range of keys in etcd's notation: no end means one key, an end of one zero byte means no bound.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Keys {
    pub key: Vec<u8>,
    pub range_end: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    Read,
    ReadWrite,
    Write,
}

/// Everything that changes users and roles.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Disable,
    Enable,
    RoleAdd {
        role: String,
    },
    RoleDelete {
        role: String,
    },
    RoleGrantPermission {
        role: String,
        keys: Keys,
        access: Access,
    },
    RoleRevokePermission {
        role: String,
        keys: Keys,
    },
    UserAdd {
        user: String,
        password: Option<PasswordHash>,
    },
    /// Of a user without a password it changes nothing.
    UserChangePassword {
        user: String,
        password: PasswordHash,
    },
    UserDelete {
        user: String,
    },
    UserGrantRole {
        user: String,
        role: String,
    },
    UserRevokeRole {
        user: String,
        role: String,
    },
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// Changes all that the command asks for, or nothing.
    pub fn apply(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Disable => {
                self.disable();
                Ok(())
            }
            Command::Enable => self.enable(),
            Command::RoleAdd { role } => self.role_add(role),
            Command::RoleDelete { role } => self.role_delete(&role),
            Command::RoleGrantPermission { role, keys, access } => {
                self.role_grant(&role, keys, access)
            }
            Command::RoleRevokePermission { role, keys } => self.role_revoke(&role, &keys),
            Command::UserAdd { user, password } => self.user_add(user, password),
            Command::UserChangePassword { user, password } => {
                self.user_change_password(&user, password)
            }
            Command::UserDelete { user } => self.user_delete(&user),
            Command::UserGrantRole { user, role } => self.user_grant(&user, role),
            Command::UserRevokeRole { user, role } => self.user_revoke(&user, &role),
        }
    }

    /// What somebody known as `user` may do now; a client whom nobody knows has no name.
    pub fn permission(&self, user: Option<&str>) -> Permission {
        if !self.enabled {
            return Permission::Everything;
        }
        let Some(user) = user.filter(|it| !it.is_empty()) else {
            return Permission::Nothing(Refusal::UserNameEmpty);
        };
        let Some(user) = self.users.get(user) else {
            return Permission::Nothing(Refusal::PermissionDenied);
        };
        if user.roles.contains(ROOT) {
            return Permission::Everything;
        }
        let roles = user.roles.iter().filter_map(|it| self.roles.get(it));
        let granted: Vec<(&Keys, &Access)> = roles.flat_map(|it| &it.permissions).collect();
        let of = |accesses: [Access; 2]| {
            let granted = granted.iter().filter(move |it| accesses.contains(it.1));
            // One that ends before it starts holds no key, and must not be taken for its start.
            let ranges = granted.map(|(keys, _)| keys.range());
            ranges.filter(|it| !it.is_empty())
        };
        Permission::ranges(
            of([Access::Read, Access::ReadWrite]),
            of([Access::Write, Access::ReadWrite]),
        )
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Result<&User, Refusal> {
        self.users.get(name).ok_or(Refusal::UserNotFound)
    }

    pub fn role(&self, name: &str) -> Result<&Role, Refusal> {
        self.roles.get(name).ok_or(Refusal::RoleNotFound)
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    fn enable(&mut self) -> Result<(), Refusal> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Refusal::RootUserNotExist)?;
        if !root.roles.contains(ROOT) {
            return Err(Refusal::RootRoleNotExist);
        }
        // As in etcd no change of the revision: users and roles are what they were.
        self.enabled = true;
        Ok(())
    }

    fn disable(&mut self) {
        if self.enabled {
            self.enabled = false;
            self.change();
        }
    }

    fn user_add(&mut self, name: String, password: Option<PasswordHash>) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::UserNameEmpty);
        }
        if self.users.contains_key(&name) {
            return Err(Refusal::UserAlreadyExist);
        }
        self.check_room()?;
        let user = User {
            password,
            roles: BTreeSet::new(),
        };
        self.users.insert(name, user);
        self.change();
        Ok(())
    }

    fn user_delete(&mut self, name: &str) -> Result<(), Refusal> {
        // Nobody could ever disable authentication again.
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        self.change();
        Ok(())
    }

    fn user_change_password(&mut self, name: &str, new: PasswordHash) -> Result<(), Refusal> {
        if let Some(password) = &mut self.user_mut(name)?.password {
            *password = new;
        }
        self.change();
        Ok(())
    }

    fn user_grant(&mut self, name: &str, role: String) -> Result<(), Refusal> {
        self.user(name)?;
        // The role that permits everything need not be there as one.
        if role != ROOT {
            self.role(&role)?;
        }
        if self.user_mut(name)?.roles.insert(role) {
            self.change();
        }
        Ok(())
    }

    fn user_revoke(&mut self, name: &str, role: &str) -> Result<(), Refusal> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        if !self.user_mut(name)?.roles.remove(role) {
            return Err(Refusal::RoleNotGranted);
        }
        self.change();
        Ok(())
    }

    fn role_add(&mut self, name: String) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleNameEmpty);
        }
        if self.roles.contains_key(&name) {
            return Err(Refusal::RoleAlreadyExist);
        }
        self.check_room()?;
        self.roles.insert(name, Role::default());
        self.change();
        Ok(())
    }

    fn role_delete(&mut self, name: &str) -> Result<(), Refusal> {
        if self.enabled && name == ROOT {
            return Err(Refusal::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.remove(name);
        }
        self.change();
        Ok(())
    }

    fn role_grant(&mut self, name: &str, keys: Keys, access: Access) -> Result<(), Refusal> {
        self.check_room()?;
        let role = self.roles.get_mut(name).ok_or(Refusal::RoleNotFound)?;
        role.permissions.insert(keys, access);
        self.change();
        Ok(())
    }

    fn role_revoke(&mut self, name: &str, keys: &Keys) -> Result<(), Refusal> {
        let role = self.roles.get_mut(name).ok_or(Refusal::RoleNotFound)?;
        let removed = role.permissions.remove(keys);
        removed.ok_or(Refusal::PermissionNotGranted)?;
        self.change();
        Ok(())
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, Refusal> {
        self.users.get_mut(name).ok_or(Refusal::UserNotFound)
    }

    fn check_room(&self) -> Result<(), Refusal> {
        let permissions: usize = self.roles.values().map(|it| it.permissions.len()).sum();
        if ENTRIES_MAX <= self.users.len() + self.roles.len() + permissions {
            Err(Refusal::TooManyEntries)
        } else {
            Ok(())
        }
    }

    fn change(&mut self) {
        self.revision += 1;
    }
}

impl User {
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str)
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    pub fn password(&self) -> Option<&PasswordHash> {
        self.password.as_ref()
    }
}

impl Role {
    /// In the order of their keys.
    pub fn permissions(&self) -> impl Iterator<Item = (&Keys, Access)> {
        self.permissions
            .iter()
            .map(|(keys, access)| (keys, *access))
    }
}

impl Keys {
    pub fn key(key: &str) -> Self {
        Self {
            key: key.into(),
            range_end: Vec::new(),
        }
    }

    pub fn prefix(prefix: &str) -> Self {
        Self {
            key: prefix.into(),
            range_end: end_of_prefix(prefix.as_bytes()).unwrap_or_else(|| vec![0]),
        }
    }

    pub fn range(&self) -> KeyRange {
        KeyRange::of_request(&self.key, &self.range_end)
    }
}

#[cfg(test)]
mod tests;
