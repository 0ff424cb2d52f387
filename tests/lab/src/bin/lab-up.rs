//! Keeps a lab of three regions without any process in it, to try things out.
#![expect(clippy::print_stdout, reason = "what to try is the program's output")]

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use lab::{Lab, Plan, Pod};

/// Builds three empty regions, each with a pod on either node, until Ctrl-C.
#[derive(Debug, Parser)]
struct Options {}

fn main() -> ExitCode {
    let Options {} = Options::parse();
    lab::binaries::exit(run())
}

fn run() -> Result<()> {
    let mut plan = Plan::three_regions();
    for region in &mut plan.regions {
        region.pods = region.node_numbers().map(pod).collect();
    }
    let lab = Lab::start(plan, None)?;
    let enter = lab.enter_script();
    println!("up; try: {} eu-control ip route", enter.display());
    loop {
        // An interrupt ends the process, after it has cleaned up.
        thread::park();
    }
}

fn pod(node: u8) -> Pod {
    Pod {
        name: format!("pod-{node}"),
        node,
        suffix: 10,
        app: "pod".to_owned(),
    }
}
