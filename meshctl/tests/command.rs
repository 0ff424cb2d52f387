//! The command as people and scripts run it, against real HTTP servers with canned reports.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads the clock to notice what hangs"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use topology::report::{
    AgentStatus, ClusterReport, ClusterState, DnsExplanation, ServiceExplanation, StoreReport,
};

#[test]
fn exits_with_0_when_all_is_well() {
    let mesh = Mesh::new(vec![serve(|_| ok(&agent("eu-node-1", true)))]);

    let output = mesh.run(&["status"]);

    assert_eq!(code(&output), 0, "{output:?}");
    let text = stdout(&output);
    assert!(
        text.starts_with("Mesh as cluster eu sees it: all is well\n"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn exits_with_1_and_says_what_is_not_well() {
    let mesh = Mesh::new(vec![serve(|_| ok(&agent("eu-node-1", false)))]);

    let output = mesh.run(&["status"]);

    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("- eu-node-1: not ready\n"),
        "{output:?}"
    );
}

#[test]
fn shows_a_daemon_that_does_not_run_as_one_row() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let mesh = Mesh::new(vec![
        serve(|_| ok(&agent("eu-node-1", true))),
        address.clone(),
    ]);

    let output = mesh.run(&["status"]);

    assert_eq!(code(&output), 1);
    let text = stdout(&output);
    let row = format!("{address}  unreachable: connection refused; is it running?\n");
    assert!(text.contains(&row), "{text}");
    assert!(text.contains("  eu-node-1  yes "), "{text}");
}

#[test]
fn shows_a_daemon_that_never_answers_as_one_row() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mesh = Mesh::new(vec![format!("http://{}", silent.local_addr().unwrap())]);

    let output = mesh.run(&["status"]);

    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("no answer within 3 s"),
        "{output:?}"
    );
}

#[test]
fn shows_an_answer_that_is_no_report_as_one_row() {
    let mesh = Mesh::new(vec![serve(|_| (200, "[]".to_owned()))]);

    let output = mesh.run(&["status"]);

    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("its answer is not understood"),
        "{output:?}"
    );
}

#[test]
fn waits_until_all_is_well() {
    let mut asked = 0;
    let mesh = Mesh::new(vec![serve(move |_| {
        asked += 1;
        ok(&agent("eu-node-1", 2 < asked))
    })]);

    let output = mesh.run(&["status", "--wait"]);

    assert_eq!(code(&output), 0, "{output:?}");
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(progress, "waiting, 0 s: eu-node-1: not ready\n");
}

#[test]
fn gives_up_after_the_wait_duration() {
    let mesh = Mesh::new(vec![serve(|_| ok(&agent("eu-node-1", false)))]);

    let output = mesh.run(&["status", "--wait", "--wait-duration", "700ms"]);

    assert_eq!(code(&output), 1);
    assert!(stdout(&output).contains("not ready"), "{output:?}");
}

#[test]
fn writes_the_same_value_as_json_and_yaml() {
    let mesh = Mesh::new(vec![serve(|_| ok(&agent("eu-node-1", true)))]);

    let json: Value = serde_json::from_str(&stdout(&mesh.run(&["status", "-o", "json"]))).unwrap();
    let yaml: Value =
        serde_saphyr::from_str(&stdout(&mesh.run(&["-o", "yaml", "status"]))).unwrap();

    assert_eq!(json["well"], true);
    assert_eq!(json["agents"][0]["answer"]["node"], "eu-node-1");
    assert_eq!(json, yaml);
}

#[test]
fn asks_the_agent_of_the_chosen_node_about_a_service() {
    let mesh = Mesh::new(vec![
        serve(|path| explaining_agent("eu-node-1", path)),
        serve(|path| explaining_agent("eu-node-2", path)),
    ]);

    let output = mesh.run(&["explain", "service", "shop/shop", "--node", "eu-node-2"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = stdout(&output);
    assert!(
        text.starts_with("Service shop/shop on node eu-node-2 of cluster eu\n"),
        "{text}"
    );

    let output = mesh.run(&["explain", "service", "shop/shop"]);
    assert!(
        stdout(&output).contains(" on node eu-node-1 "),
        "{output:?}"
    );

    let output = mesh.run(&["explain", "service", "shop/shop", "--node", "us-node-1"]);
    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        "error: no agent of the context file runs on node us-node-1; \
         they run on eu-node-1, eu-node-2\n"
    );
}

#[test]
fn asks_the_next_agent_when_one_is_ending() {
    let mesh = Mesh::new(vec![
        serve(|_| (503, r#"{"error":"the process is ending"}"#.to_owned())),
        serve(|path| explaining_agent("eu-node-2", path)),
    ]);

    let output = mesh.run(&["explain", "service", "shop/shop"]);

    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        stdout(&output).contains(" on node eu-node-2 "),
        "{output:?}"
    );
}

#[test]
fn waits_once_for_however_many_are_silent() {
    // Twenty after another would take a minute.
    let silent: Vec<TcpListener> = (0..20)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses = silent.iter().map(|it| it.local_addr().unwrap());
    let mesh = Mesh::new(addresses.map(|it| format!("http://{it}")).collect());

    let start = Instant::now();
    let output = mesh.run(&["explain", "service", "shop/shop"]);

    assert_eq!(code(&output), 1);
    assert!(start.elapsed() < Duration::from_secs(30), "{output:?}");
}

#[test]
fn passes_on_why_a_daemon_cannot_explain() {
    let mesh = Mesh::new(vec![serve(|path| explaining_agent("eu-node-1", path))]);

    let output = mesh.run(&["explain", "service", "shop/web"]);

    assert_eq!(code(&output), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.ends_with(": answered 404 Not Found: there is no service shop/web\n"),
        "{error}"
    );
}

#[test]
fn asks_for_an_answer_as_a_client_would_get_it() {
    let server = serve(|path| match path {
        "/v1/explain/dns?name=shop.global.example&type=A&from=2001%3Adb8%3A%3A1" => ok(&answer()),
        _ => (404, String::new()),
    });
    let mesh = Mesh::with("dns", vec![server]);

    let output = mesh.run(&[
        "explain",
        "dns",
        "shop.global.example",
        "a",
        "--from",
        "2001:db8::1",
    ]);

    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        stdout(&output).contains("NOERROR: 192.0.2.11\n"),
        "{output:?}"
    );
}

#[test]
fn asks_every_agent_for_another_key() {
    let begun = |path: &str| match path {
        "POST /v1/encrypt/rotate" => (
            200,
            r#"{"begun":true,"steps":"it takes a while"}"#.to_owned(),
        ),
        _ => ok(&agent("eu-node-1", true)),
    };
    let missing = |path: &str| match path {
        "POST /v1/encrypt/rotate" => (409, r#"{"error":"no key yet"}"#.to_owned()),
        _ => ok(&agent("eu-node-2", true)),
    };
    let mesh = Mesh::new(vec![serve(begun), serve(missing)]);

    let output = mesh.run(&["encrypt", "rotate"]);
    assert_eq!(code(&output), 1, "{output:?}");
    let text = stdout(&output);
    assert!(
        text.contains("begun\n") && text.contains("no key yet\n"),
        "{text}"
    );
    assert!(text.ends_with("\nit takes a while\n"), "{text}");

    let output = mesh.run(&["encrypt", "rotate", "--node", "eu-node-1", "-o", "json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(stdout(&output).contains(r#""begun": true"#), "{output:?}");
}

#[test]
fn exits_with_2_when_the_question_cannot_be_asked() {
    let mesh = Mesh::new(vec![serve(|_| ok(&agent("eu-node-1", true)))]);

    assert_eq!(code(&mesh.run(&["status", "--wait-duration", "5"])), 2);
    assert_eq!(code(&mesh.run(&["explain", "service", "shop"])), 2);
    assert_eq!(
        code(&mesh.run(&["explain", "dns", "shop.global.example"])),
        2
    );

    fs::write(mesh.context(), "agents: 7\n").unwrap();
    let output = mesh.run(&["status"]);
    assert_eq!(code(&output), 2);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: context file "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// A context file in a directory of its own.
struct Mesh {
    directory: TempDir,
}

impl Mesh {
    fn new(agents: Vec<String>) -> Self {
        Self::with("agents", agents)
    }

    fn with(role: &str, endpoints: Vec<String>) -> Self {
        let mesh = Self {
            directory: TempDir::new().unwrap(),
        };
        fs::write(
            mesh.context(),
            format!("cluster: eu\n{role}: {endpoints:?}\n"),
        )
        .unwrap();
        mesh
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context.yaml")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .env("CAUSEWAY_CONTEXT", self.context())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// Answers every request on a port of its own, for as long as the test runs, with the status and
/// the body that `answer` gives for the path, with the method before it unless it is GET. Returns the
/// server's address.
fn serve(mut answer: impl FnMut(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            reply(connection.unwrap(), &mut answer);
        }
    });
    address
}

fn reply(mut connection: TcpStream, answer: &mut impl FnMut(&str) -> (u16, String)) {
    let mut request = BufReader::new(connection.try_clone().unwrap());
    let mut first = String::new();
    let _ = request.read_line(&mut first);
    let mut line = first.clone();
    while line != "\r\n" && !line.is_empty() {
        line.clear();
        let _ = request.read_line(&mut line);
    }
    // A client that has heard enough from others leaves early, here and below.
    let asked = first.strip_prefix("GET ").unwrap_or(&first);
    let Some((path, _version)) = asked.rsplit_once(' ') else {
        return;
    };
    let (status, body) = answer(path);
    let length = body.len();
    let _ = write!(
        connection,
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let _ = connection.shutdown(std::net::Shutdown::Write);
    // Until the client has closed its side, so that nothing of the answer is lost.
    let _ = connection.read(&mut [0]);
}

fn explaining_agent(node: &str, path: &str) -> (u16, String) {
    match path {
        "/v1/status" => ok(&agent(node, true)),
        "/v1/explain/service/shop/shop" => ok(&service(node)),
        _ => (
            404,
            r#"{"error":"there is no service shop/web"}"#.to_owned(),
        ),
    }
}

fn ok<T: serde::Serialize>(report: &T) -> (u16, String) {
    (200, serde_json::to_string(report).unwrap())
}

fn agent(node: &str, ready: bool) -> AgentStatus {
    AgentStatus {
        node: node.parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        version: "0.1.0".to_owned(),
        ready,
        store: StoreReport {
            connected: true,
            since: 1_700_000_000_000,
            reason: String::new(),
        },
        clusters: vec![ClusterReport {
            name: "eu".parse().unwrap(),
            id: Some(1.try_into().unwrap()),
            state: ClusterState::Own,
            since: None,
            reason: String::new(),
            synced: true,
            nodes: 2,
            services: 1,
            identities: 4,
            endpoints: 6,
        }],
        tunnels: Vec::new(),
        encryption: None,
        services: 3,
        backends: 9,
        problems: Vec::new(),
    }
}

fn service(node: &str) -> ServiceExplanation {
    ServiceExplanation {
        service: topology::id::ServiceName::new("shop", "shop").unwrap(),
        cluster: "eu".parse().unwrap(),
        node: Some(node.parse().unwrap()),
        global: false,
        shared: false,
        affinity: topology::service::Affinity::None,
        frontends: ["10.111.0.10".parse().unwrap()].into(),
        ports: Vec::new(),
    }
}

fn answer() -> DnsExplanation {
    DnsExplanation {
        name: "shop.global.example".to_owned(),
        record_type: "A".to_owned(),
        response_code: "NOERROR".to_owned(),
        client: "2001:db8::1".parse().unwrap(),
        client_location: None,
        client_found_by: "nothing".to_owned(),
        answers: vec!["192.0.2.11".to_owned()],
        reason: "it is the only one".to_owned(),
        candidates: Vec::new(),
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}
