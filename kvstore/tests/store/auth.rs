//! Users and roles: the same commands to the embedded server and to Debian's etcd, and the same
//! answers.

use std::fmt::Debug;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use etcd_client::{
    Client, Error, Permission, PermissionType, RoleRevokePermissionOptions, UserAddOptions,
};
use kvstore::config::EtcdConfig;
use kvstore::store::Store;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{self, Kind, Running, patient};

const COMMANDS: usize = 400;

/// Few, so that they meet.
const USERS: [&str; 5] = ["", "bob", "eve", "eve2", "root"];
const ROLES: [&str; 4] = ["", "reader", "root", "writer"];

/// Each key with one end: etcd 3.4 adds a second entry when another end follows under the same key.
const KEYS: [(&str, &str); 6] = [
    ("a", ""),
    ("b", "c"),
    ("c", "\0"),
    ("d", "a"),
    ("e/", "e0"),
    ("\0", "\0"),
];

#[derive(Clone, Debug)]
enum Command {
    Grant(&'static str, PermissionType, (&'static str, &'static str)),
    Revoke(&'static str, (&'static str, &'static str)),
    Role(Verb, &'static str),
    Roles,
    User(Verb, &'static str),
    UserRole(Verb, &'static str, &'static str),
    Users,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Add,
    Delete,
    Get,
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_users_and_roles_as_etcd_does() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let ours = Running::start(Kind::Embedded).await;
    let theirs = Running::start(Kind::Etcd).await;
    let addresses = [ours.address(), theirs.address()];

    // Anybody, while authentication is disabled; then root; then somebody who may do little.
    let anybody = [ours.client().await, theirs.client().await];
    compare(seed, &mut random, anybody.clone()).await;
    for mut client in anybody {
        let _ = client.user_delete("root").await;
        client.user_add("root", "pw", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
        let name = client.user_list().await;
        assert!(render(name).contains("user name is empty"));
    }
    compare(seed, &mut random, login(addresses, "root").await).await;
    for mut client in login(addresses, "root").await {
        let _ = client.user_delete("eve").await;
        let _ = client.role_add("reader").await;
        client.user_add("eve", "pw", None).await.unwrap();
        client.user_grant_role("eve", "reader").await.unwrap();
    }
    compare(seed, &mut random, login(addresses, "eve").await).await;
}

async fn compare(seed: u64, random: &mut SmallRng, [mut ours, mut theirs]: [Client; 2]) {
    for number in 0..COMMANDS {
        let command = command(random);
        let our_answer = run(&mut ours, &command).await;
        let their_answer = run(&mut theirs, &command).await;
        assert_eq!(
            our_answer, their_answer,
            "seed {seed}, command {number}: {command:?}"
        );
    }
}

async fn login(addresses: [SocketAddr; 2], user: &str) -> [Client; 2] {
    let connect = async |address: SocketAddr| {
        let text = format!("endpoints: ['http://{address}']\nusername: {user}\npassword: pw");
        let store = Store::Etcd(EtcdConfig::parse(&text, Path::new("test")).unwrap());
        store.connect(&patient()).await.unwrap()
    };
    [connect(addresses[0]).await, connect(addresses[1]).await]
}

fn command(random: &mut SmallRng) -> Command {
    let mut pick = |all: &[&'static str]| all[random.random_range(0..all.len())];
    let (user, role) = (pick(&USERS), pick(&ROLES));
    let keys = KEYS[random.random_range(0..KEYS.len())];
    let kinds = [
        PermissionType::Read,
        PermissionType::Write,
        PermissionType::Readwrite,
    ];
    let kind = kinds[random.random_range(0..3)];
    match random.random_range(0..100) {
        0..20 => Command::Grant(role, kind, keys),
        20..30 => Command::Revoke(role, keys),
        30..40 => Command::Role(Verb::Add, role),
        40..44 => Command::Role(Verb::Delete, role),
        44..54 => Command::Role(Verb::Get, role),
        54..56 => Command::Roles,
        56..68 => Command::User(Verb::Add, user),
        68..71 => Command::User(Verb::Delete, user),
        71..80 => Command::User(Verb::Get, user),
        80..92 => Command::UserRole(Verb::Add, user, role),
        92..98 => Command::UserRole(Verb::Delete, user, role),
        _ => Command::Users,
    }
}

async fn run(client: &mut Client, command: &Command) -> String {
    let no_password = || Some(UserAddOptions::new().with_no_pwd());
    match command.clone() {
        Command::Grant(role, kind, (key, end)) => {
            let permission = Permission::new(kind, key).with_range_end(end);
            render(
                client
                    .role_grant_permission(role, permission)
                    .await
                    .map(drop),
            )
        }
        Command::Revoke(role, (key, end)) => {
            let options = RoleRevokePermissionOptions::new().with_range_end(end);
            let answer = client.role_revoke_permission(role, key, Some(options));
            render(answer.await.map(drop))
        }
        Command::Role(Verb::Add, role) => render(client.role_add(role).await.map(drop)),
        Command::Role(Verb::Delete, role) => render(client.role_delete(role).await.map(drop)),
        Command::Role(Verb::Get, role) => {
            let answer = client.role_get(role).await;
            render(answer.map(|it| {
                let permissions = it.permissions();
                let shown = permissions.iter().map(|it| {
                    let (key, end) = (it.key().to_vec(), it.range_end().to_vec());
                    (it.get_type(), key, end)
                });
                shown.collect::<Vec<_>>()
            }))
        }
        Command::Roles => render(client.role_list().await.map(|it| it.roles().to_vec())),
        Command::User(Verb::Add, user) => {
            render(client.user_add(user, "", no_password()).await.map(drop))
        }
        Command::User(Verb::Delete, user) => render(client.user_delete(user).await.map(drop)),
        Command::User(Verb::Get, user) => {
            render(client.user_get(user).await.map(|it| it.roles().to_vec()))
        }
        Command::UserRole(Verb::Delete, user, role) => {
            render(client.user_revoke_role(user, role).await.map(drop))
        }
        Command::UserRole(_, user, role) => {
            render(client.user_grant_role(user, role).await.map(drop))
        }
        Command::Users => render(client.user_list().await.map(|it| it.users().to_vec())),
    }
}

fn render<T: Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(error) => panic!("{error}"),
    }
}

/// Every verb of etcdctl that concerns users and roles; what is after `<` is typed in.
const SCRIPT: &str = "
user list
role list
user add root:pw
user add --no-password eve
user add --interactive=false bob < b
user add bob:b
user add : --no-password
user get nobody
user delete nobody
role add reader
role add reader
role get reader
role get nothing
role grant-permission reader read a b
role grant-permission reader write c
role grant-permission reader readwrite --prefix d/
role grant-permission reader read x --from-key
role grant-permission reader read b a
role grant-permission reader walk y
role grant-permission nothing read a
role get reader
user grant-role eve reader
user grant-role eve reader
user grant-role bob reader
user grant-role eve nothing
user grant-role nobody reader
user get eve
user get eve --detail
auth enable
auth enable
user list
get a
put a 1
--user root:pw auth enable
--user root:pw put a 1
--user root:pw role list
--user root:pw role get root
--user root:pw user list
--user root:wrong user list
--user nobody:pw user list
--user root --password pw user list
--user bob:b get a
--user bob:b get a b
--user bob:b get a c
--user bob:b get a --from-key
--user bob:b get b
--user bob:b put a 2
--user bob:b put c 1
--user bob:b put d/1 1 --prev-kv
--user bob:b del c --prev-kv
--user bob:b del c
--user bob:b user get bob
--user bob:b user get eve
--user bob:b role get reader
--user bob:b role get root
--user bob:b role list
--user bob:b user list
--user bob:b user add new:new
--user bob:b user passwd --interactive=false bob < c
--user bob:b auth disable
--user root:pw user passwd --interactive=false bob < c
--user bob:b get a
--user bob:c get a
--user root:pw user delete root
--user root:pw role delete root
--user root:pw user revoke-role root root
--user root:pw role revoke-permission reader a
--user root:pw role revoke-permission reader a b
--user root:pw role revoke-permission reader --prefix d/
--user root:pw role revoke-permission reader x --from-key
--user bob:c get a
--user root:pw role get reader
--user root:pw user revoke-role bob reader
--user root:pw user revoke-role bob reader
--user root:pw role delete reader
--user root:pw role delete reader
--user root:pw user get eve
--user root:pw user delete bob
--user bob:c get a
auth disable
--user root:pw auth disable
--user root:pw auth disable
auth disable
user list
user delete root
";

#[tokio::test(flavor = "multi_thread")]
async fn serves_every_auth_verb_of_etcdctl_as_etcd_does() {
    let ours = Running::start(Kind::Embedded).await;
    let theirs = Running::start(Kind::Etcd).await;
    for line in SCRIPT.trim().lines() {
        let (our, their) = (ours.address(), theirs.address());
        let answers = [our, their].map(|it| etcdctl(it, line).replace(&it.to_string(), "ADDRESS"));
        println!("$ {line}\n{}", answers[1]);
        assert_eq!(answers[0], answers[1], "{line}");
    }
}

/// Exit code, output and errors, without the log lines.
fn etcdctl(address: SocketAddr, line: &str) -> String {
    let (arguments, input) = line.split_once(" < ").unwrap_or((line, ""));
    // A user without a name is no argument that a shell would split off.
    let arguments = arguments
        .split(' ')
        .map(|it| if it == ":" { "" } else { it });
    let mut child = support::etcdctl(address)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Most commands read nothing, and may be gone before they could.
    let _ = writeln!(child.stdin.take().unwrap(), "{input}");
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = errors.lines().filter(|it| !it.starts_with('{')).collect();
    format!(
        "exit code {:?}\n{}{}",
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        errors.join("\n")
    )
}
