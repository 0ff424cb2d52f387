//! Serves one WireGuard interface from userspace, as `wireguard-go` does.

#![expect(
    clippy::print_stderr,
    reason = "a failure to start is told in one sentence to whoever started it"
)]

use std::process::ExitCode;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use anyhow::Context as _;
use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;
use wireguard::device::{Device, End};

use config::Config;

mod config;
mod detach;

fn main() -> ExitCode {
    let config = Config::parse();
    let outcome = if config.runs_in_foreground() {
        serve(&config)
    } else {
        detach::start_in_background(&config)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wireguard-device: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> anyhow::Result<()> {
    start_logging(config)?;
    if config.detached {
        detach::leave_session()?;
    }
    keep_keys_private();

    // Room for one: the first reason to stop is the only one needed.
    let (end, ended) = mpsc::sync_channel(1);
    watch_signals(end.clone())?;
    let device = Device::start(&config.interface, &config.uapi_dir, end)?;
    if config.detached {
        detach::report_ready()?;
    }

    let why = ended.recv().context("nobody is left to end the device")?;
    drop(device);
    match why {
        End::Asked | End::InterfaceGone => Ok(()),
        End::ThreadDied => anyhow::bail!("a thread died of a bug; its message is above"),
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("cannot use the log filter {:?}", config.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(())
}

/// Lets no other user see the keys, in a core dump or through the socket's file.
fn keep_keys_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "core dumps may contain keys");
    }
}

fn watch_signals(end: SyncSender<End>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                // A full channel means that the device is ending already.
                end.try_send(End::Asked).ok();
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}
