//! Tells the story of three regions on real traffic, and judges what is left of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The story takes a minute or two; longer than this is a hang.
const STORY: Duration = Duration::from_secs(600);

/// How many processes a story has running before it is interrupted, out of some thirty.
const PROCESSES: usize = 20;

/// Both stories need the one lab that a machine has, so that they are one test.
#[test]
fn the_story_holds_and_leaves_nothing_behind() {
    interrupted_in_the_middle();
    told_to_the_end();
}

fn interrupted_in_the_middle() {
    let report = tempfile::tempdir().unwrap();
    let mut story = start(report.path());
    // Every node's daemons have threads of their own by then.
    lab::wait_for("most processes to run", STORY, || {
        let left = lab::leftovers();
        let processes = left.iter().filter(|it| it.starts_with("process "));
        Ok((PROCESSES <= processes.count()).then_some(()))
    })
    .unwrap();

    // `kill` is everywhere, and a signal by id needs no code that could hit another process.
    let signal = Command::new("kill")
        .args(["-INT", &story.id().to_string()])
        .status();
    assert!(signal.unwrap().success());

    let status = lab::wait_for("the story to end", STORY, || Ok(story.try_wait()?)).unwrap();
    assert_eq!(status.code(), Some(130), "by the convention of shells");
    assert_eq!(lab::leftovers(), Vec::<String>::new());
}

fn told_to_the_end() {
    let report = tempfile::tempdir().unwrap();
    let mut story = start(report.path());

    let status = lab::wait_for("the story to end", STORY, || Ok(story.try_wait()?)).unwrap();

    let json = fs::read_to_string(report.path().join("report.json")).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let steps = json["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 7, "the story ended with {status}:\n{json:#}");
    for step in steps {
        assert!(holds(step), "{step:#}");
    }
    let missed_a_goal = steps.iter().any(|it| it["ok"] == false);
    assert_eq!(
        status.success(),
        !missed_a_goal,
        "the exit code tells scripts"
    );
    let page = fs::read_to_string(report.path().join("index.html")).unwrap();
    assert!(page.contains("<svg"), "the page shows no timeline");
    assert_eq!(lab::leftovers(), Vec::<String>::new());
}

/// Whether everything came true, in whatever time: a busy machine may miss the goals that are times.
fn holds(step: &serde_json::Value) -> bool {
    let measures = step["measures"].as_array().unwrap();
    let mut judged = measures.iter().filter(|it| it["timed"] == false);
    step["failure"].is_null() && judged.all(|it| it["ok"] == true)
}

fn start(report: &Path) -> Child {
    Command::new(program())
        .arg("--report")
        .arg(report)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn program() -> PathBuf {
    lab::binaries::find("multi-region").unwrap()
}
