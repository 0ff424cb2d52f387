//! Exit codes and last words of a real process: `examples/smallest.rs`, started and signalled.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};

#[test]
fn ends_with_0_after_sigterm_and_sigint() {
    for signal in ["-TERM", "-INT"] {
        let mut process = Process::start(&[]);
        assert_eq!(process.ask("/ready"), r#"{"ready":true,"waiting":[]}"#);

        process.signal(signal);

        assert_eq!(process.end().0, Some(0), "{signal}");
    }
}

#[test]
fn ends_with_1_and_one_sentence_when_the_body_fails() {
    let (code, stderr) = Process::start(&["--end", "fail"]).end();

    assert_eq!(code, Some(1));
    assert_eq!(
        last_line(&stderr),
        "error: cannot do the work: the disk is full"
    );
}

#[test]
fn ends_with_1_when_a_task_panics_that_nobody_awaits() {
    let (code, stderr) = Process::start(&["--end", "panic"]).end();

    assert_eq!(code, Some(1));
    assert!(stderr.contains("the table is wrong"), "{stderr}");
    assert!(
        last_line(&stderr).starts_with("error: a task panicked"),
        "{stderr}"
    );
}

#[test]
fn ends_with_1_at_the_second_signal_without_waiting_for_the_drain() {
    let mut process = Process::start(&["--end", "hang"]);
    process.signal("-TERM");
    while process.ask("/ready") != r#"{"ready":false,"waiting":["the process is ending"]}"# {}

    process.signal("-INT");

    let (code, stderr) = process.end();
    assert_eq!(code, Some(1));
    assert_eq!(
        last_line(&stderr),
        "error: a second signal, SIGINT, cut the drain short"
    );
}

#[test]
fn ends_with_1_and_names_who_hangs_when_the_drain_takes_too_long() {
    let mut process = Process::start(&["--end", "hang"]);
    process.signal("-TERM");

    let (code, stderr) = process.end();

    assert_eq!(code, Some(1));
    assert_eq!(
        last_line(&stderr),
        "error: not everything ended within 10 s: still running are smallest"
    );
}

#[test]
fn ends_with_1_and_the_remedy_when_the_admin_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let output = smallest().args(["--admin", &address]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "error: address {address} is already in use; \
             stop what listens there or choose another with --admin\n"
        )
    );
}

#[test]
fn may_open_as_many_files_as_the_system_allows() {
    let path = smallest().get_program().to_owned();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -Sn 64 && exec \"$0\" \"$@\""])
        .arg(path);
    let process = Process::start_as(limited, &[]);

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();

    let files = limits.lines().find(|it| it.starts_with("Max open files"));
    let [.., soft, hard, _] = files.unwrap().split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{limits}");
    };
    assert_eq!(soft, hard);
    assert_ne!(soft, "64");
}

#[test]
fn ends_with_2_for_a_bad_flag() {
    let output = smallest().args(["--admin", "here"]).output().unwrap();

    assert_eq!(output.status.code(), Some(2));
}

/// A running `smallest`, which ends with the test.
struct Process {
    child: Child,
    stderr: BufReader<ChildStderr>,
    admin: SocketAddr,
}

impl Process {
    /// Returns once the process has said where its admin endpoint is.
    fn start(arguments: &[&str]) -> Self {
        Self::start_as(smallest(), arguments)
    }

    fn start_as(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["--admin", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let admin = line.trim().rsplit("admin=").next().unwrap();
        Self {
            admin: admin.parse().unwrap(),
            child,
            stderr,
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status();
        assert!(status.unwrap().success());
    }

    fn ask(&self, path: &str) -> String {
        let mut connection = TcpStream::connect(self.admin).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.rsplit("\r\n").next().unwrap().to_owned()
    }

    /// Waits for the end: the exit code, and what stderr said since the start.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo builds examples with the tests, and puts them beside the folder of this executable.
fn smallest() -> Command {
    let deps = std::env::current_exe().unwrap();
    let path = deps.ancestors().nth(2).unwrap().join("examples/smallest");
    assert!(path.exists(), "build it: cargo build -p daemon --examples");
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap()
}
