use kvstore::auth::{Access, Auth, Keys};
use proptest::prelude::*;
use topology::id::ClusterName;

use super::*;

#[test]
fn starts_with_nothing_and_then_changes_nothing() {
    let (mut auth, desired) = (Auth::default(), desired(&["us"], true));

    let commands = settle(&mut auth, &desired, &[]);

    assert_eq!(commands.last(), Some(&Command::Enable));
    assert!(auth.is_enabled());
    let users: Vec<&str> = auth.users().collect();
    assert_eq!(
        users,
        ["admin-eu", "local-eu", "remote", "remote-us", "root"]
    );
    assert_eq!(settle(&mut auth, &desired, &[]), []);
}

#[test]
fn leaves_other_users_and_roles_alone() {
    let mut auth = Auth::default();
    for command in [
        user_add("stranger"),
        user_add("remote-africa"),
        role_add("remote-africa"),
        role_add("remote-asia"),
        grant("remote-asia", Keys::prefix("theirs/")),
        user_add("remote-asia"),
        user_grant("remote-asia", "remote-asia"),
        user_add("root"),
        user_grant("root", "root"),
        user_grant("root", "remote-asia"),
    ] {
        auth.apply(command).unwrap();
    }
    let theirs = |auth: &Auth| {
        let users = ["stranger", "remote-africa", "remote-asia"];
        let users = users.map(|it| auth.user(it).cloned());
        let roles = ["remote-africa", "remote-asia"].map(|it| auth.role(it).cloned());
        (users, roles)
    };
    let before = theirs(&auth);

    settle(&mut auth, &desired(&["us"], true), &[]);

    assert_eq!(theirs(&auth), before);
    assert!(auth.user("root").unwrap().has_role("remote-asia"));
    assert!(auth.user("remote-us").is_ok());
}

#[test]
fn gives_agents_of_an_older_store_what_they_may_write() {
    let (mut auth, desired) = (Auth::default(), desired(&["us"], true));
    settle(&mut auth, &desired, &[]);
    let expected = actual(&auth);
    let agents = Keys::prefix("causeway/agents/");
    // As it was before agents wrote anything, and as somebody may have helped himself.
    for command in [
        Command::RoleRevokePermission {
            role: "local".into(),
            keys: agents.clone(),
        },
        grant("local", agents),
    ] {
        auth.apply(command).unwrap();
        assert_ne!(actual(&auth), expected);
        settle(&mut auth, &desired, &[]);
        assert_eq!(actual(&auth), expected);
    }
}

#[test]
fn takes_from_own_roles_and_users_what_they_should_not_have() {
    let (mut auth, desired) = (Auth::default(), desired(&["us"], true));
    settle(&mut auth, &desired, &[]);
    let expected = actual(&auth);
    for command in [
        grant("remote", Keys::prefix("")),
        Command::RoleGrantPermission {
            role: "remote".into(),
            keys: Keys::prefix("cilium/state/"),
            access: Access::ReadWrite,
        },
        Command::RoleGrantPermission {
            role: "local".into(),
            keys: Keys::prefix("causeway/"),
            access: Access::ReadWrite,
        },
        user_grant("remote-us", "root"),
        user_grant("remote", "local"),
        Command::UserRevokeRole {
            user: "remote-us".into(),
            role: "remote-us".into(),
        },
    ] {
        auth.apply(command).unwrap();
    }
    assert_ne!(actual(&auth), expected);

    settle(&mut auth, &desired, &[]);

    assert_eq!(actual(&auth), expected);
}

#[test]
fn removes_the_users_of_peers_that_are_gone() {
    let mut auth = Auth::default();
    settle(&mut auth, &desired(&["us", "asia"], true), &[]);
    auth.apply(user_add("dropped")).unwrap();

    settle(&mut auth, &desired(&["asia"], true), &["dropped"]);

    let fresh = {
        let mut auth = Auth::default();
        settle(&mut auth, &desired(&["asia"], true), &[]);
        actual(&auth)
    };
    assert_eq!(actual(&auth), fresh);
}

#[test]
fn enables_nothing_where_nobody_could_show_who_he_is() {
    let mut auth = Auth::default();
    settle(&mut auth, &desired(&[], false), &[]);
    assert!(!auth.is_enabled());
    assert!(auth.user("remote").is_ok());
}

proptest! {
    #[test]
    fn reaches_any_set_of_peers_from_any_other_and_stays(
        before in prop::sample::subsequence(PEERS.to_vec(), 0..=PEERS.len()),
        after in prop::sample::subsequence(PEERS.to_vec(), 0..=PEERS.len()),
        strange in prop::collection::vec(
            (prop::sample::select(ROLES.to_vec()), prop::sample::select(PREFIXES.to_vec()), access()),
            0..4,
        ),
    ) {
        let mut auth = Auth::default();
        settle(&mut auth, &desired(&before, true), &[]);
        for (role, prefix, access) in strange {
            let keys = Keys::prefix(prefix);
            let role = role.to_owned();
            auth.apply(Command::RoleGrantPermission { role, keys, access }).unwrap();
        }
        let after = desired(&after, true);
        settle(&mut auth, &after, &[]);

        let mut fresh = Auth::default();
        settle(&mut fresh, &after, &[]);
        prop_assert_eq!(actual(&auth), actual(&fresh));
        prop_assert_eq!(settle(&mut auth, &after, &[]), []);
    }
}

const PEERS: [&str; 5] = ["africa", "asia", "us", "us-2", "x"];
const ROLES: [&str; 2] = ["local", "remote"];
const PREFIXES: [&str; 4] = ["", "causeway/", "causeway/agents/", "cilium/state/"];

fn access() -> impl Strategy<Value = Access> {
    prop::sample::select(vec![Access::Read, Access::ReadWrite, Access::Write])
}

fn desired(peers: &[&str], enabled: bool) -> Desired {
    let peers: Vec<ClusterName> = peers.iter().map(|it| it.parse().unwrap()).collect();
    Desired::new(&"eu".parse().unwrap(), &peers, &[], enabled)
}

/// Carries out the plan, which must not ask for what is refused.
#[track_caller]
fn settle(auth: &mut Auth, desired: &Desired, dropped: &[&str]) -> Vec<Command> {
    let dropped = dropped.iter().map(|it| (*it).to_owned()).collect();
    let commands = plan(desired, &actual(auth), &dropped);
    for command in commands.clone() {
        assert_eq!(auth.apply(command.clone()), Ok(()), "{command:?}");
    }
    commands
}

fn actual(auth: &Auth) -> Actual {
    let users = auth.users().map(|name| {
        let roles = auth.user(name).unwrap().roles().map(str::to_owned);
        (name.to_owned(), roles.collect())
    });
    let roles = auth.roles().map(|name| {
        let permissions = auth.role(name).unwrap().permissions();
        let permissions = permissions.map(|(keys, access)| (keys.clone(), access));
        (name.to_owned(), permissions.collect())
    });
    Actual {
        enabled: auth.is_enabled(),
        users: users.collect(),
        roles: roles.collect(),
    }
}

fn user_add(user: &str) -> Command {
    Command::UserAdd {
        user: user.into(),
        password: None,
    }
}

fn user_grant(user: &str, role: &str) -> Command {
    Command::UserGrantRole {
        user: user.into(),
        role: role.into(),
    }
}

fn role_add(role: &str) -> Command {
    Command::RoleAdd { role: role.into() }
}

fn grant(role: &str, keys: Keys) -> Command {
    Command::RoleGrantPermission {
        role: role.into(),
        keys,
        access: Access::Read,
    }
}
