//! Very many health checks, and what they cost. Not for every run: it takes a minute and a core.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use super::process::{Authority, eventually};
use super::zone;

const CHECKS: u32 = 100_000;
const INTERVAL: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);

/// Prints what share of one core goes into 100,000 TCP probes each ten seconds. `cargo test -p
/// dns-authority --release --test server -- --ignored --nocapture very_many_checks`
#[test]
#[ignore = "it measures, and takes a minute"]
fn very_many_checks() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process: accepting is all that the targets do.
    thread::spawn(move || listener.incoming().for_each(drop));
    let mut records = String::new();
    for index in 0..CHECKS {
        let [_, high, middle, low] = (index + 1).to_be_bytes();
        let options = format!("{{interval={}}}", INTERVAL.as_secs());
        writeln!(
            records,
            "c{index} LUA A \"ifportup({port}, {{'127.{high}.{middle}.{low}'}}, {options})\""
        )
        .unwrap();
    }

    let authority = Authority::start(&zone(&records), &[]);
    let unknown = "mesh_dns_authority_checks_unknown 0\n";
    eventually("all are known", || {
        authority.get("/metrics").contains(unknown)
    });
    // A scrape of so many targets is work too, and stays outside.
    let before = probes(&authority);
    let (busy, start) = (authority.busy(), Instant::now());
    thread::sleep(MEASURED);
    let (busy, took) = (authority.busy() - busy, start.elapsed());
    let count = probes(&authority) - before;
    println!(
        "{count} probes in {took:?}: {:.1} % of one core, {:.1} µs each",
        busy.as_secs_f64() / took.as_secs_f64() * 100.0,
        busy.as_secs_f64() * 1e6 / f64::from(count)
    );
    // Each once an interval, at most 5 % early.
    let expected = took.as_secs_f64() / INTERVAL.as_secs_f64() * f64::from(CHECKS);
    let share = f64::from(count) / expected;
    assert!(
        (0.97..1.08).contains(&share),
        "{share} of the expected probes"
    );
    let file = format!("/proc/{}/status", authority.id());
    let status = fs::read_to_string(file).unwrap();
    let memory = status.lines().find(|it| it.starts_with("VmHWM")).unwrap();
    println!("{memory}");
}

fn probes(authority: &Authority) -> u32 {
    let metrics = authority.get("/metrics");
    let prefix = "mesh_dns_authority_probes_total{outcome=\"success\"} ";
    let count = metrics.lines().find_map(|it| it.strip_prefix(prefix));
    count.unwrap().parse().unwrap()
}
