//! Answers that follow the health of their targets.

use std::fs;
use std::time::Instant;

use super::process::{Authority, eventually};
use super::target::Target;
use super::{OVERRIDES, zone};

#[test]
fn answers_follow_the_health_of_targets_and_fail_open() {
    let (first, second) = Target::pair("shop.test");
    let port = first.port();
    let lua = format!(
        "shop 5 LUA A (\"ifurlup('http://shop.test:{port}/healthz', \"\n  \
         \"{{{{'127.0.0.11', '127.0.0.12'}}}}, {{selector='pickclosest', interval=1, timeout=1}})\")\n"
    );
    let authority = Authority::start(&zone(&lua), &[("--geo-overrides", OVERRIDES)]);
    let ask = || authority.dig(&["shop.example.test", "A", "+short", "+subnet=10.1.7.0/24"]);
    let (near, far) = ("127.0.0.11\n", "127.0.0.12\n");
    eventually("both targets are healthy", || ask() == near);

    let died = Instant::now();
    drop(first);
    eventually("the other target is answered", || ask() == far);
    println!(
        "answers changed {:?} after the target died (interval 1 s)",
        died.elapsed()
    );
    let explained = authority.get("/v1/explain/dns?name=shop.example.test&from=10.1.7.7");
    assert!(
        explained.contains("\"chosen\":true,\"because\":\"the only one that is usable\""),
        "{explained}"
    );

    drop(second);
    eventually("both targets are unhealthy", || {
        authority
            .get("/v1/status")
            .contains("every target of shop.example.test.")
    });
    let open = ask();
    assert!(
        [near, far].contains(&open.as_str()),
        "fails open, and answered {open:?}"
    );
    let metrics = authority.get("/metrics");
    assert!(
        metrics.contains("mesh_dns_authority_records_failing_open 1\n"),
        "{metrics}"
    );

    let _again = Target::at("127.0.0.12", port, "shop.test");
    eventually("the target is back", || ask() == far);
}

#[test]
fn health_outlives_a_restart_and_a_kill() {
    let (first, _second) = Target::pair("shop.test");
    let lua = format!(
        "port LUA A \"ifportup({}, {{'127.0.0.11'}})\"\n",
        first.port()
    );
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().to_str().unwrap();
    let health = |authority: &Authority| {
        let status: serde_json::Value = serde_json::from_str(&authority.get("/v1/status")).unwrap();
        (
            status["checks"][0]["health"].clone(),
            status["checks"][0]["since"].clone(),
        )
    };

    let authority = Authority::start(&zone(&lua), &[("--state-dir", directory)]);
    eventually("the target is healthy", || {
        health(&authority).0 == "healthy"
    });
    let before = health(&authority);
    assert_eq!(authority.stop(), 0);

    let authority = Authority::start(&zone(&lua), &[("--state-dir", directory)]);
    assert_eq!(health(&authority), before);
    drop(first);
    eventually("the target is unhealthy", || {
        health(&authority).0 == "unhealthy"
    });
    let file = state.path().join("health.json");
    let is_written = || fs::read_to_string(&file).unwrap().contains("unhealthy");
    eventually("that is written down", is_written);
    let before = health(&authority);
    // Dropping it is SIGKILL.
    drop(authority);

    let authority = Authority::start(&zone(&lua), &[("--state-dir", directory)]);
    assert_eq!(health(&authority), before);
}

#[test]
fn a_full_disk_costs_memory_and_nothing_else() {
    let (first, _second) = Target::pair("shop.test");
    let lua = format!(
        "port LUA A \"ifportup({}, {{'127.0.0.11', '127.0.0.12'}}, {{interval=1, timeout=1}})\"\n",
        first.port()
    );
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().to_str().unwrap();
    let flags = [("--state-dir", directory)];
    let authority = Authority::start_on_small_disk(state.path(), &zone(&lua), &flags);
    let file = authority.seen(&state.path().join("health.json"));
    let kept = || fs::read_to_string(&file).unwrap_or_default();
    eventually("health is written down", || kept().contains("healthy"));

    // The first file fills the disk, so that the next finds no room.
    drop(first);
    eventually("the disk is known to be full", || {
        authority
            .get("/v1/status")
            .contains("No space left on device")
    });
    let ask = || authority.dig(&["port.example.test", "A", "+short"]);
    assert_eq!(ask(), "127.0.0.12\n");
    // What is kept is the last that fitted, whole.
    assert!(
        !kept().contains("unhealthy") && kept().ends_with('}'),
        "{}",
        kept()
    );
    assert!(!file.with_extension("json.new").exists());
    assert_eq!(authority.stop(), 0);
}
