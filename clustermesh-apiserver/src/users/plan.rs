//! Decides which commands turn the users and roles of a store into the desired ones.

use std::collections::{BTreeMap, BTreeSet};

use kvstore::auth::{Command, ROOT};

use super::{Desired, Permissions, REMOTE, exported_to, peer_of};

/// What a store has: at least the users and roles that are desired, and those that look like a peer's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actual {
    pub enabled: bool,
    pub users: BTreeMap<String, BTreeSet<String>>,
    pub roles: BTreeMap<String, Permissions>,
}

/// Whether a user or role of this name matters to [`plan`].
pub fn is_relevant(name: &str, desired: &Desired, dropped: &BTreeSet<String>) -> bool {
    desired.users.contains_key(name)
        || desired.roles.contains_key(name)
        || dropped.contains(name)
        || peer_of(name).is_some()
}

/// Roles first, then users, and authentication last: nobody is let in with less than his due, and
/// nothing is open to all for longer than it was.
///
/// `dropped` are the users that were desired before. The users of peers that are gone are known by
/// their role, too; all others are left alone.
pub fn plan(desired: &Desired, actual: &Actual, dropped: &BTreeSet<String>) -> Vec<Command> {
    let mut commands = Vec::new();
    for (role, permissions) in &desired.roles {
        plan_role(role, permissions, actual.roles.get(role), &mut commands);
    }
    for (user, roles) in &desired.users {
        plan_user(user, roles, actual.users.get(user), &mut commands);
    }
    plan_removals(desired, actual, dropped, &mut commands);
    if desired.enabled && !actual.enabled {
        commands.push(Command::Enable);
    }
    commands
}

fn plan_role(
    role: &str,
    permissions: &Permissions,
    actual: Option<&Permissions>,
    commands: &mut Vec<Command>,
) {
    if actual.is_none() {
        commands.push(Command::RoleAdd {
            role: role.to_owned(),
        });
    }
    let nothing = Permissions::new();
    let actual = actual.unwrap_or(&nothing);
    let missing = permissions
        .iter()
        .filter(|(keys, access)| actual.get(keys) != Some(access));
    commands.extend(missing.map(|(keys, access)| Command::RoleGrantPermission {
        role: role.to_owned(),
        keys: keys.clone(),
        access: *access,
    }));
    let extra = actual.keys().filter(|it| !permissions.contains_key(it));
    commands.extend(extra.map(|keys| Command::RoleRevokePermission {
        role: role.to_owned(),
        keys: keys.clone(),
    }));
}

fn plan_user(
    user: &str,
    roles: &BTreeSet<String>,
    actual: Option<&BTreeSet<String>>,
    commands: &mut Vec<Command>,
) {
    if actual.is_none() {
        commands.push(Command::UserAdd {
            user: user.to_owned(),
            password: None,
        });
    }
    let nothing = BTreeSet::new();
    let actual = actual.unwrap_or(&nothing);
    let missing = roles.difference(actual);
    commands.extend(missing.map(|role| Command::UserGrantRole {
        user: user.to_owned(),
        role: role.clone(),
    }));
    // An administrator may do everything anyway, and `root` may be somebody else's too.
    if !roles.contains(ROOT) {
        let extra = actual.difference(roles);
        commands.extend(extra.map(|role| Command::UserRevokeRole {
            user: user.to_owned(),
            role: role.clone(),
        }));
    }
}

fn plan_removals(
    desired: &Desired,
    actual: &Actual,
    dropped: &BTreeSet<String>,
    commands: &mut Vec<Command>,
) {
    let stale_roles: BTreeSet<&String> = actual
        .roles
        .iter()
        .filter(|(role, permissions)| {
            !desired.roles.contains_key(*role) && is_of_a_peer(role, permissions)
        })
        .map(|(role, _)| role)
        .collect();
    let stale_users = actual.users.iter().filter(|(user, roles)| {
        let of_a_peer =
            stale_roles.contains(user) && roles.iter().all(|it| it == REMOTE || it == *user);
        !desired.users.contains_key(*user) && (of_a_peer || dropped.contains(*user))
    });
    commands.extend(stale_users.map(|(user, _)| Command::UserDelete { user: user.clone() }));
    commands.extend(
        stale_roles
            .into_iter()
            .map(|role| Command::RoleDelete { role: role.clone() }),
    );
}

/// Whether it is a role as we make it: with what is exported to the peer, and nothing else.
fn is_of_a_peer(role: &str, permissions: &Permissions) -> bool {
    peer_of(role).is_some_and(|peer| *permissions == exported_to(&peer))
}

#[cfg(test)]
mod tests;
