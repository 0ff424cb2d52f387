use proptest::prelude::*;

use super::*;

#[test]
fn knows_nobody_until_it_is_enabled() {
    let mut auth = Auth::default();
    assert_eq!(auth.permission(None), Permission::Everything);

    assert_eq!(auth.apply(Command::Enable), Err(Refusal::RootUserNotExist));
    apply(&mut auth, user_add("root"));
    assert_eq!(auth.apply(Command::Enable), Err(Refusal::RootRoleNotExist));
    apply(&mut auth, user_grant("root", "root"));
    apply(&mut auth, Command::Enable);

    let nothing = Permission::Nothing;
    assert_eq!(auth.permission(None), nothing(Refusal::UserNameEmpty));
    assert_eq!(auth.permission(Some("")), nothing(Refusal::UserNameEmpty));
    assert_eq!(
        auth.permission(Some("eve")),
        nothing(Refusal::PermissionDenied)
    );
    assert_eq!(auth.permission(Some("root")), Permission::Everything);
    for forbidden in [
        Command::UserDelete {
            user: "root".into(),
        },
        Command::RoleDelete {
            role: "root".into(),
        },
        user_revoke("root", "root"),
    ] {
        assert_eq!(auth.apply(forbidden), Err(Refusal::InvalidAuthManagement));
    }
    apply(&mut auth, Command::Disable);
    assert_eq!(auth.permission(None), Permission::Everything);
}

#[test]
fn counts_what_changes_somebodys_permissions() {
    let mut auth = enabled();
    let mut expected = auth.revision();
    for (command, changes) in [
        (user_add("eve"), true),
        (role_add("reader"), true),
        (user_grant("eve", "reader"), true),
        (user_grant("eve", "reader"), false),
        (user_grant("eve", "nobody's"), false),
        (role_grant("reader", "a", "b", Access::Read), true),
        (role_grant("reader", "a", "b", Access::Read), true),
        (user_revoke("eve", "reader"), true),
        (user_revoke("eve", "reader"), false),
        (Command::Enable, false),
        (Command::Disable, true),
        (Command::Disable, false),
    ] {
        let _ = auth.apply(command.clone());
        expected += u64::from(changes);
        assert_eq!(auth.revision(), expected, "{command:?}");
    }
}

#[test]
fn takes_a_deleted_role_from_everybody() {
    let mut auth = enabled();
    for command in [
        user_add("eve"),
        role_add("reader"),
        role_grant("reader", "a", "", Access::ReadWrite),
        user_grant("eve", "reader"),
    ] {
        apply(&mut auth, command);
    }
    let key = KeyRange::key("a");
    assert_eq!(auth.permission(Some("eve")).check_write(&key), Ok(()));

    let role = "reader".to_owned();
    apply(&mut auth, Command::RoleDelete { role });
    assert_eq!(auth.user("eve").unwrap().roles().count(), 0);
    let permission = auth.permission(Some("eve"));
    assert_eq!(permission.check_read(&key), Err(Refusal::PermissionDenied));
    assert_eq!(permission.check_known(), Ok(()));
}

#[test]
fn never_holds_more_than_its_limit() {
    let mut auth = enabled();
    apply(&mut auth, role_add("reader"));
    for number in 0..ENTRIES_MAX - 2 {
        let key = number.to_string();
        apply(&mut auth, role_grant("reader", &key, "", Access::Read));
    }
    for command in [
        user_add("eve"),
        role_add("writer"),
        role_grant("reader", "x", "", Access::Read),
    ] {
        assert_eq!(auth.apply(command), Err(Refusal::TooManyEntries));
    }
}

#[test]
fn refuses_bytes_of_something_else() {
    let error = Auth::from_bytes(b"garbage").unwrap_err().to_string();
    assert!(error.contains("restore the data directory"), "{error}");
    let shown = format!(
        "{:?}",
        Command::UserAdd {
            user: "eve".into(),
            password: Some(PasswordHash::from_text("$2b$secret".into())),
        }
    );
    assert!(!shown.contains("secret"), "{shown}");
}

/// The slowest correct answer: whether any permission of any role of the user covers the key.
fn may(auth: &Auth, user: &str, key: &[u8], wanted: Access) -> bool {
    let Ok(user) = auth.user(user) else {
        return false;
    };
    user.has_role(ROOT)
        || user.roles().any(|role| {
            auth.role(role).is_ok_and(|role| {
                role.permissions().any(|(keys, access)| {
                    (access == wanted || access == Access::ReadWrite) && keys.range().contains(key)
                })
            })
        })
}

fn some_command() -> impl Strategy<Value = Command> {
    let user = || prop::sample::select(vec!["root", "eve", "bob"]).prop_map(str::to_owned);
    let role = || prop::sample::select(vec!["root", "reader", "writer"]).prop_map(str::to_owned);
    let bytes = || prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 255]), 1..3);
    let keys = || {
        (bytes(), prop::option::of(bytes())).prop_map(|(key, end)| Keys {
            key,
            range_end: end.unwrap_or_default(),
        })
    };
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    prop_oneof![
        1 => user().prop_map(|user| Command::UserAdd {
            user,
            password: None
        }),
        1 => user().prop_map(|user| Command::UserDelete { user }),
        1 => (user(), role()).prop_map(|(user, role)| Command::UserGrantRole { user, role }),
        1 => (user(), role()).prop_map(|(user, role)| Command::UserRevokeRole { user, role }),
        1 => role().prop_map(|role| Command::RoleAdd { role }),
        1 => role().prop_map(|role| Command::RoleDelete { role }),
        9 => (role(), keys(), access).prop_map(|(role, keys, access)| {
            Command::RoleGrantPermission { role, keys, access }
        }),
        1 => (role(), keys()).prop_map(|(role, keys)| Command::RoleRevokePermission { role, keys }),
        1 => prop_oneof![9 => Just(Command::Enable), 1 => Just(Command::Disable)],
    ]
}

proptest! {
    #[test]
    fn permits_what_some_role_permits_and_survives_as_bytes(
        commands in prop::collection::vec(some_command(), 0..60),
    ) {
        let mut auth = enabled();
        let eve = [role_add("reader"), user_add("eve"), user_grant("eve", "reader")];
        for command in eve.into_iter().chain(commands) {
            let before = auth.clone();
            if auth.apply(command).is_err() {
                prop_assert_eq!(&auth, &before);
            }
            prop_assert!(before.revision() <= auth.revision());
        }

        prop_assert_eq!(&Auth::from_bytes(&auth.to_bytes()).unwrap(), &auth);
        for user in ["root", "eve", "bob"] {
            let permission = auth.permission(Some(user));
            for key in [&b"a"[..], b"a\0", b"b", b"\xff", b"\0"] {
                let range = KeyRange::of_request(key, &[]);
                let all = !auth.is_enabled();
                prop_assert_eq!(
                    permission.check_read(&range).is_ok(),
                    all || may(&auth, user, key, Access::Read)
                );
                prop_assert_eq!(
                    permission.check_write(&range).is_ok(),
                    all || may(&auth, user, key, Access::Write)
                );
            }
        }
    }
}

fn enabled() -> Auth {
    let mut auth = Auth::default();
    for command in [
        user_add("root"),
        user_grant("root", "root"),
        Command::Enable,
    ] {
        apply(&mut auth, command);
    }
    auth
}

#[track_caller]
fn apply(auth: &mut Auth, command: Command) {
    assert_eq!(auth.apply(command.clone()), Ok(()), "{command:?}");
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

fn user_revoke(user: &str, role: &str) -> Command {
    Command::UserRevokeRole {
        user: user.into(),
        role: role.into(),
    }
}

fn role_add(role: &str) -> Command {
    Command::RoleAdd { role: role.into() }
}

fn role_grant(role: &str, key: &str, end: &str, access: Access) -> Command {
    Command::RoleGrantPermission {
        role: role.into(),
        keys: Keys {
            key: key.into(),
            range_end: end.into(),
        },
        access,
    }
}
