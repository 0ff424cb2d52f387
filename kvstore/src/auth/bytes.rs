//! Decides how users and roles look as bytes, so that they outlive the process.

use prost::Message as _;

use super::{Access, Auth, Keys, PasswordHash, Role, User};

/// The bytes are not what [`Auth::to_bytes`] wrote.
#[derive(Debug, thiserror::Error)]
#[error("stored users and roles cannot be read: {0}; restore the data directory, or remove it")]
pub struct DecodeError(String);

impl Auth {
    /// All of it as one value. Tokens are not in it: they end with the process, as in etcd.
    pub fn to_bytes(&self) -> Vec<u8> {
        let users = self.users.iter().map(|(name, user)| StoredUser {
            name: name.clone(),
            password: user.password.as_ref().map(|it| it.text().to_owned()),
            roles: user.roles.iter().cloned().collect(),
        });
        let roles = self.roles.iter().map(|(name, role)| StoredRole {
            name: name.clone(),
            permissions: role.permissions().map(stored_permission).collect(),
        });
        Stored {
            enabled: self.enabled,
            revision: self.revision,
            users: users.collect(),
            roles: roles.collect(),
        }
        .encode_to_vec()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let stored = Stored::decode(bytes).map_err(|it| DecodeError(it.to_string()))?;
        let users = stored.users.into_iter().map(|it| {
            let user = User {
                password: it.password.map(PasswordHash::from_text),
                roles: it.roles.into_iter().collect(),
            };
            (it.name, user)
        });
        let roles = stored.roles.into_iter().map(|it| {
            let permissions = it.permissions.into_iter().map(permission);
            let permissions = permissions.collect::<Result<_, _>>()?;
            Ok((it.name, Role { permissions }))
        });
        Ok(Self {
            enabled: stored.enabled,
            revision: stored.revision,
            users: users.collect(),
            roles: roles.collect::<Result<_, DecodeError>>()?,
        })
    }
}

fn stored_permission((keys, access): (&Keys, Access)) -> StoredPermission {
    StoredPermission {
        access: access.number(),
        key: keys.key.clone(),
        range_end: keys.range_end.clone(),
    }
}

fn permission(stored: StoredPermission) -> Result<(Keys, Access), DecodeError> {
    let access = Access::of_number(stored.access)
        .ok_or_else(|| DecodeError(format!("{} is no kind of access", stored.access)))?;
    let keys = Keys {
        key: stored.key,
        range_end: stored.range_end,
    };
    Ok((keys, access))
}

impl Access {
    /// As etcd's messages number them.
    pub fn number(self) -> i32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::ReadWrite => 2,
        }
    }

    pub fn of_number(number: i32) -> Option<Self> {
        [Self::Read, Self::Write, Self::ReadWrite]
            .into_iter()
            .find(|it| it.number() == number)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(message, repeated, tag = "3")]
    users: Vec<StoredUser>,
    #[prost(message, repeated, tag = "4")]
    roles: Vec<StoredRole>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredUser {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, optional, tag = "2")]
    password: Option<String>,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredRole {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    permissions: Vec<StoredPermission>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredPermission {
    #[prost(int32, tag = "1")]
    access: i32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    range_end: Vec<u8>,
}
