//! Debian's etcdctl, verb by verb, against the embedded server.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::support::{self, Embedded, HANG, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn finds_everything_it_expects_of_an_etcd() {
    let server = Embedded::start().await;
    let etcdctl = |arguments: &str| run(server.address, arguments);

    assert_eq!(etcdctl("put a/1 one"), "OK\n");
    assert_eq!(etcdctl("put a/2 two"), "OK\n");
    assert_eq!(etcdctl("put a/2 zwei --prev-kv"), "OK\na/2\ntwo\n");
    assert_eq!(etcdctl("get --prefix a/"), "a/1\none\na/2\nzwei\n");
    assert_eq!(
        etcdctl("get --prefix a/ --rev=3 --print-value-only"),
        "one\ntwo\n"
    );
    assert_eq!(
        etcdctl("get --prefix a/ --keys-only --order=DESCEND --limit=1"),
        "a/2\n\n"
    );
    assert_eq!(etcdctl("del a/1 --prev-kv"), "1\na/1\none\n");

    let status = etcdctl("endpoint status --write-out=table");
    assert!(
        status.contains(&server.address.to_string()) && status.contains("|  3.4.23 |"),
        "{status}"
    );
    let health = etcdctl("endpoint health");
    assert!(health.contains("is healthy"), "{health}");
    let members = etcdctl("member list");
    assert!(
        members.contains(&format!("started, test, , http://{}", server.address)),
        "{members}"
    );
    assert_eq!(etcdctl("alarm list"), "");
    assert!(etcdctl("defrag").contains("Finished defragmenting"));
    assert!(etcdctl("endpoint hashkv").contains(&server.address.to_string()));
    assert!(etcdctl("compact 3").contains("compacted revision 3"));
    assert!(
        fail(server.address, "get a/1 --rev=2")
            .contains("etcdserver: mvcc: required revision has been compacted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_a_single_member_cannot_do() {
    let server = Embedded::start().await;
    let refusal = |arguments: &str| fail(server.address, arguments);
    let members = run(server.address, "member list");
    let own = members.split(',').next().unwrap();
    let peer = "--peer-urls=http://127.0.0.1:1";

    let adding = "adding a member is not supported by this embedded store";
    for learner in ["", " --learner"] {
        let text = refusal(&format!("member add other {peer}{learner}"));
        assert!(text.contains(adding), "{text}");
    }
    let text = refusal(&format!("member update {own} {peer}"));
    let updating = "updating a member is not supported by this embedded store";
    assert!(text.contains(updating), "{text}");
    assert_eq!(run(server.address, "member list"), members);

    // Saved it can be, and begun with; what is inside is no file of etcd's.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshot").display().to_string();
    run(server.address, &format!("snapshot save {file}"));
    let text = refusal(&format!("snapshot status {file}"));
    assert!(text.contains("invalid database"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and judges the machine too"]
async fn passes_etcds_own_check_of_performance() {
    let server = Embedded::start().await;
    let report = run(server.address, "check perf");
    assert!(report.contains("PASS: Throughput"), "{report}");
    assert!(!report.contains("FAIL"), "{report}");
    assert_eq!(run(server.address, "get --prefix /"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_keeps_and_revokes_leases() {
    let server = Embedded::start().await;
    let etcdctl = |arguments: &str| run(server.address, arguments);

    let granted = etcdctl("lease grant 60");
    let lease = granted.split(' ').nth(1).unwrap();
    assert!(granted.contains("granted with TTL(60s)"), "{granted}");
    assert_eq!(
        etcdctl(&format!("put leased value --lease={lease}")),
        "OK\n"
    );
    assert!(
        etcdctl(&format!("lease timetolive {lease} --keys")).contains("attached keys([leased])")
    );
    assert!(etcdctl("lease list").contains(lease));
    assert!(
        etcdctl(&format!("lease keep-alive --once {lease}")).contains("keepalived with TTL(60)")
    );
    assert!(etcdctl(&format!("lease revoke {lease}")).contains("revoked"));
    assert_eq!(etcdctl("get leased"), "");
    assert!(
        fail(server.address, &format!("lease revoke {lease}"))
            .contains("etcdserver: requested lease not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_transactions() {
    let server = Embedded::start().await;
    run(server.address, "put key old");

    let script = "value(\"key\") = \"old\"\n\nput key new\nget key\n\nput key wrong\n\n";
    let output = run_with_input(server.address, "txn", script);

    assert_eq!(output, "SUCCESS\n\nOK\n\nkey\nnew\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_from_the_past_into_the_future() {
    let server = Embedded::start().await;
    run(server.address, "put w/1 one");
    let mut watching = tokio::process::Command::from(etcdctl(
        server.address,
        "watch --prefix w/ --rev=2 --prev-kv",
    ))
    .stdout(Stdio::piped())
    .kill_on_drop(true)
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();

    assert_eq!(next(&mut lines, 3).await, "PUT w/1 one");
    run(server.address, "put w/1 eins");
    assert_eq!(next(&mut lines, 5).await, "PUT w/1 one w/1 eins");
    run(server.address, "del w/1");
    assert_eq!(next(&mut lines, 5).await, "DELETE w/1 eins w/1 ");

    watching.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_into_another_server() {
    let (source, target) = (Embedded::start().await, Embedded::start().await);
    run(source.address, "put old 1");
    let mut mirror = tokio::process::Command::from(etcdctl(
        source.address,
        &format!("make-mirror {}", target.address),
    ))
    .stdout(Stdio::null())
    .kill_on_drop(true)
    .spawn()
    .unwrap();

    eventually("the past is mirrored", async || {
        run(target.address, "get old") == "old\n1\n"
    })
    .await;
    run(source.address, "put new 2");
    run(source.address, "del old");
    eventually("changes are mirrored", async || {
        run(target.address, "get new") == "new\n2\n" && run(target.address, "get old").is_empty()
    })
    .await;
    mirror.kill().await.unwrap();
}

/// So many lines, joined by blanks.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>, count: usize) -> String {
    let mut found = Vec::new();
    while found.len() < count {
        let line = timeout(HANG, lines.next_line())
            .await
            .expect("the watch hangs")
            .unwrap();
        found.push(line.expect("the watch ended"));
    }
    found.join(" ")
}

fn run(address: SocketAddr, arguments: &str) -> String {
    let output = etcdctl(address, arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl {arguments}: {errors}");
    // `endpoint health` reports on stderr.
    String::from_utf8(output.stdout).unwrap()
        + if arguments.contains("health") {
            &errors
        } else {
            ""
        }
}

fn fail(address: SocketAddr, arguments: &str) -> String {
    let output = etcdctl(address, arguments).output().unwrap();
    assert!(!output.status.success(), "etcdctl {arguments} should fail");
    String::from_utf8(output.stderr).unwrap()
}

fn run_with_input(address: SocketAddr, arguments: &str, input: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let stdin = std::fs::File::open(file.path()).unwrap();
    let output = etcdctl(address, arguments).stdin(stdin).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn etcdctl(address: SocketAddr, arguments: &str) -> Command {
    let mut command = support::etcdctl(address);
    command.args(arguments.split(' '));
    command
}
