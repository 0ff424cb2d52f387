//! Three regions on one machine, one command: starts them, drives traffic through failures, and
//! judges what the clients saw.
#![expect(
    clippy::print_stdout,
    reason = "the story's lines and table are the program's output"
)]

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
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let logs = prepare(&options.report)?;
    let lab = Lab::start(region::plan(), Some(&logs))?;
    if lab.swept() > 0 {
        println!(
            "removed {} things that an interrupted run had left",
            lab.swept()
        );
    }

    let (report, running) = story::tell(&lab)?;
    println!("\n{}", table::text(&report, io::stdout().is_terminal()));
    write(&options.report, &report)?;
    if options.keep {
        println!("{}", hints(&lab));
        wait_for_the_end();
    }
    running.into_iter().try_for_each(region::Running::stop)?;
    Ok(report.holds())
}

/// Makes room for the report; the logs of an earlier run go.
fn prepare(report: &Path) -> Result<PathBuf> {
    let logs = report.join("logs");
    let context = || {
        format!(
            "cannot use {}; choose another with --report",
            report.display()
        )
    };
    fs::create_dir_all(&logs).with_context(context)?;
    fs::remove_dir_all(&logs).with_context(context)?;
    fs::create_dir_all(&logs).with_context(context)?;
    fs::canonicalize(logs).with_context(context)
}

fn write(directory: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    for (name, text) in [("report.json", json), ("index.html", page::render(report))] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!(
        "The page with the timeline: {}",
        directory.join("index.html").display()
    );
    Ok(())
}

/// What to try in the running mesh.
fn hints(lab: &Lab) -> String {
    let enter = lab.enter_script().display().to_string();
    let region = &lab.plan().regions[0];
    let directory = lab.directory().join(&region.name).display().to_string();
    let control = region.control_address();
    format!(
        "\
The mesh is running; Ctrl-C ends it. Try, from another terminal:

  alias in-lab={enter}
  export CAUSEWAY_CONTEXT={directory}/context.yaml
  in-lab eu-control target/debug/meshctl status
  in-lab eu-control target/debug/meshctl explain service shop/shop
  in-lab eu-control target/debug/meshctl explain dns shop.global.example --from 10.2.1.20
  in-lab eu-control target/debug/meshctl explain peer us/us-node-1
  in-lab eu-node-1/client dig @{control} shop.global.example
  in-lab eu-node-1/client curl http://{service}/
  in-lab eu-node-1 wg show
  in-lab eu-control env ETCDCTL_API=3 etcdctl --endpoints https://{control}:2379 \\
    --cacert {directory}/ca.crt --cert {directory}/admin-eu.crt --key {directory}/admin-eu.key \\
    get --prefix cilium/
",
        service = region.service_address(region::service().suffix),
    )
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
