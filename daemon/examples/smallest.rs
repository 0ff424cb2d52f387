//! The smallest process of ours, and what the tests of the exit codes start.
//!
//! It is ready at once and waits for SIGTERM. `--end` makes it end in other ways.

use std::future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::routing::get;
use clap::{Parser, ValueEnum};
use daemon::Process;

#[derive(Parser)]
struct Config {
    /// How the process ends
    #[arg(long, default_value = "drain")]
    end: End,

    #[command(flatten)]
    daemon: daemon::Options,
}

#[derive(Clone, Copy, ValueEnum)]
enum End {
    /// Wait for SIGTERM, then end cleanly
    Drain,
    /// Fail at once
    Fail,
    /// Ignore SIGTERM
    Hang,
    /// Panic in a task that nobody awaits
    Panic,
}

fn main() -> ExitCode {
    let config = Config::parse();
    daemon::run("smallest", &config.daemon, async |process| {
        body(config.end, process).await
    })
}

async fn body(end: End, mut process: Process) -> anyhow::Result<()> {
    process.serve_admin([("/v1/status", get(async || "well"))]);
    match end {
        End::Drain => process.drain.started().await,
        End::Fail => fail().context("cannot do the work")?,
        End::Hang => future::pending().await,
        End::Panic => {
            drop(tokio::spawn(async { panic!("the table is wrong") }));
            // Were the panic overlooked, the process would end well.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

fn fail() -> anyhow::Result<()> {
    bail!("the disk\nis full")
}
