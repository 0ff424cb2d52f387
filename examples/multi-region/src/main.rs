//! Three regions on one machine, one command: starts them, drives traffic through failures, and
//! judges what the clients saw.
mod clients;
mod observer;
mod page;
mod progress;
mod region;
mod report;
mod story;
mod table;
mod telling;
mod timeline;
mod traffic;
mod wire;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io, thread};

use anyhow::{Context as _, Result};
use clap::Parser;
use lab::Lab;

use crate::report::Report;

/// Runs three regions - eu, us and ap - as network namespaces on this machine, joined by links with
/// the delays of the real cities, and tells a story of failures on real traffic.
///
/// Exits with 0 only if every step held, 1 if one did not, 2 for a wrong flag.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  examples/multi-region/run --keep\n\n\
    then try what it prints: meshctl, dig, wg and etcdctl inside the regions.")]
struct Options {
    /// Leave the mesh running after the story, until Ctrl-C, and print what to try.
    #[arg(long, env = "CAUSEWAY_KEEP")]
    keep: bool,
    /// Where the page, the report in JSON and the processes' logs go.
    #[arg(
        long,
        env = "CAUSEWAY_REPORT",
        value_name = "DIR",
        default_value = "target/multi-region"
    )]
    report: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            lab::end_if_interrupted();
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    show_what_the_lab_says();
    let directory = prepare(&options.report)?;
    let logs = directory.join("logs");
    let lab = Lab::start(region::plan(), Some(&logs))?;
    // Not before: until then they may be those of a run that is still going on.
    clear(&logs)?;

    let (report, running) = story::tell(&lab)?;
    telling::say(&format!(
        "\n{}",
        table::text(&report, io::stdout().is_terminal())
    ))?;
    write(&options.report, &report)?;
    if options.keep {
        telling::say(&hints(&lab)?)?;
        wait_for_the_end();
    }
    running.into_iter().try_for_each(region::Running::stop)?;
    Ok(report.holds())
}

/// What it removes, and that it cleans up.
fn show_what_the_lab_says() {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .without_time()
        .with_level(false)
        .with_target(false)
        .init();
}

/// Makes the directory of the report, and returns its full path.
fn prepare(report: &Path) -> Result<PathBuf> {
    let made = fs::create_dir_all(report).and_then(|()| fs::canonicalize(report));
    made.with_context(|| {
        format!(
            "cannot use {}; choose another with --report",
            report.display()
        )
    })
}

/// Removes the logs of an earlier run.
fn clear(logs: &Path) -> Result<()> {
    let cleared = fs::remove_dir_all(logs).and_then(|()| fs::create_dir(logs));
    cleared.with_context(|| format!("cannot clear {}", logs.display()))
}

fn write(directory: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    for (name, text) in [("report.json", json), ("index.html", page::render(report))] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    telling::say(&format!(
        "The page with the timeline: {}",
        directory.join("index.html").display()
    ))
}

/// What to try in the running mesh: every line works as it stands, in any directory.
fn hints(lab: &Lab) -> Result<String> {
    let enter = lab.enter_script().display().to_string();
    let meshctl = lab::binaries::find("meshctl")?.display().to_string();
    let region = &lab.plan().regions[0];
    let directory = lab.directory().join(&region.name).display().to_string();
    let control = region.control_address();
    Ok(format!(
        "\
The mesh is running; Ctrl-C ends it. Try, as root in another terminal:

  export CAUSEWAY_CONTEXT={directory}/context.yaml ETCDCTL_API=3
  {enter} eu-control {meshctl} status
  {enter} eu-control {meshctl} explain service shop/shop
  {enter} eu-control {meshctl} explain dns shop.global.example --from 10.2.1.20
  {enter} eu-control {meshctl} explain peer us/us-node-1
  {enter} eu-node-1/client dig @{control} shop.global.example
  {enter} eu-node-1/client curl http://{service}/
  {enter} eu-node-1 wg show
  {enter} eu-control etcdctl --endpoints {control}:2379 --cacert {directory}/ca.crt \\
    --cert {directory}/admin-eu.crt --key {directory}/admin-eu.key get --prefix --keys-only cilium/
",
        service = region.service_address(region::service().suffix),
    ))
}

/// Sleeps until Ctrl-C, which the lab answers by cleaning up and ending this process.
fn wait_for_the_end() -> ! {
    loop {
        thread::park();
    }
}

fn tell(message: &str) {
    // Standard error may be closed; there is nobody left to tell then.
    let _closed = writeln!(io::stderr(), "{message}");
}
