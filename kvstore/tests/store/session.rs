//! What happens to clients that are connected while users and roles change.

use etcd_client::{Client, Error, Permission, RoleRevokePermissionOptions, WatchOptions};
use tokio::time::timeout;
use tonic::Code;

use crate::access::{BY_PASSWORD, CONFIG, Cluster, STATE, check};
use crate::support::{HANG, Kind};

#[tokio::test(flavor = "multi_thread")]
async fn feels_grants_and_revocations_at_once_embedded() {
    feels_grants_and_revocations_at_once(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feels_grants_and_revocations_at_once_etcd() {
    feels_grants_and_revocations_at_once(Kind::Etcd).await;
}

async fn feels_grants_and_revocations_at_once(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let mut root = cluster.client("root").await;
    let mut clients = Vec::new();
    for user in ["remote", BY_PASSWORD] {
        clients.push(cluster.client(user).await);
    }
    let mut all = async |key: &str, permitted: bool| {
        for client in &mut clients {
            check(client.get(key, None).await, permitted, key);
            let put = client.put(key, "1", None).await;
            check(put, permitted && key == "both", key);
        }
    };

    all(STATE, true).await;
    revoke_state(&mut root).await;
    all(STATE, false).await;
    all(CONFIG, true).await;
    root.role_grant_permission("remote", Permission::read_write("both"))
        .await
        .unwrap();
    all("both", true).await;
    root.user_revoke_role("remote", "remote").await.unwrap();
    all(CONFIG, false).await;
    all("both", false).await;
    root.user_grant_role("remote", "remote").await.unwrap();
    all(CONFIG, true).await;
    root.role_delete("remote").await.unwrap();
    all(CONFIG, false).await;
    root.user_delete("remote").await.unwrap();
    let by_certificate = clients[0].get(CONFIG, None).await;
    check(by_certificate, false, "deleted");
    check_code(&clients[1].get(CONFIG, None).await, Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_a_token_with_the_password_embedded() {
    ends_a_token_with_the_password(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_a_token_with_the_password_etcd() {
    ends_a_token_with_the_password(Kind::Etcd).await;
}

async fn ends_a_token_with_the_password(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let mut root = cluster.client("root").await;
    let mut client = cluster.client(BY_PASSWORD).await;
    let mut certified = cluster.client("remote").await;
    check(client.get(CONFIG, None).await, true, "token");

    root.user_change_password("remote", "new").await.unwrap();

    check_code(&client.get(CONFIG, None).await, Code::Unauthenticated);
    check(certified.get(CONFIG, None).await, true, "certificate");
    let mut anybody = cluster.client("nobody").await.auth_client();
    let mut login = async |user: &str, password: &str| {
        let answer = anybody.authenticate(user.into(), password.into()).await;
        answer.map(|it| it.token().to_owned())
    };
    let token = login("remote", "new").await.unwrap();
    assert_ne!(token, login("remote", "new").await.unwrap());
    let mut wrong = vec![("remote", "old"), ("remote", ""), ("stranger", "new")];
    // etcd 3.4 tells whether a user has a password; the embedded server does not.
    if kind == Kind::Embedded {
        wrong.extend([("local-alpha", ""), ("local-alpha", "new")]);
    }
    for (user, password) in wrong {
        let refused = login(user, password).await;
        check_code(&refused, Code::InvalidArgument);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("invalid user ID or password"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_the_watches_of_whom_a_permission_is_taken() {
    let cluster = Cluster::start(Kind::Embedded).await;
    let mut root = cluster.local().await;
    let mut client = cluster.client("remote").await;
    let prefix = Some(WatchOptions::new().with_prefix());
    let mut watch = client.watch("cilium/state/", prefix).await.unwrap();
    watch.watch(CONFIG, None).await.unwrap();
    let mut next = async || timeout(HANG, watch.message()).await.unwrap().unwrap();
    let state = next().await.unwrap();
    let config = next().await.unwrap();
    assert!(state.created() && config.created() && !config.canceled());

    root.put(STATE, "1", None).await.unwrap();
    assert_eq!(next().await.unwrap().watch_id(), state.watch_id());
    revoke_state(&mut root).await;
    let end = next().await.unwrap();
    assert!(end.canceled() && end.watch_id() == state.watch_id());
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    assert_eq!(end.cancel_reason(), denied);

    // What came after is not told any more, and the other watch goes on.
    root.put(STATE, "2", None).await.unwrap();
    root.put(CONFIG, "1", None).await.unwrap();
    let event = next().await.unwrap();
    assert_eq!(event.watch_id(), config.watch_id());
    assert_eq!(event.events()[0].kv().unwrap().key_str().unwrap(), CONFIG);

    root.user_delete("remote").await.unwrap();
    let end = next().await.unwrap();
    assert!(end.canceled() && end.watch_id() == config.watch_id());
}

async fn revoke_state(root: &mut Client) {
    let options = RoleRevokePermissionOptions::new().with_prefix();
    root.role_revoke_permission("remote", "cilium/state/", Some(options))
        .await
        .unwrap();
}

#[track_caller]
fn check_code<T>(result: &Result<T, Error>, expected: Code) {
    match result {
        Err(Error::GRpcStatus(status)) => assert_eq!(status.code(), expected, "{status}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("permitted"),
    }
}
